"""What changes when another version judges: its data against the one in force, and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.records import ReferenceVersion, Sample, Signal, Verdict
from monitor.reference.artefact import Network, Reference
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.signals import single_threaded
from monitor.service.measure import Measurer, MeasureRules
from monitor.service.shelf import LoadedReference
from monitor.service.target_mix import TEACHER_TARGETS, comparable_targets
from monitor.stats.decision import alpha_per_test

MAX_LABEL_CHANGES = 20
COUNTED = ("exchanges", "images", "targets")
SEEN = 0.005  # of all exchanges: a smaller change of a share is not worth a line


@dataclass(frozen=True, slots=True)
class Replaced:
    """The version in force; not loaded where it is of other encoders."""

    version: ReferenceVersion
    loaded: LoadedReference | None


@dataclass(frozen=True, slots=True)
class SignalDiff:
    """One signal of a usual window of the new data, and what is normal before and after.

    ``value``, ``excess_ratio`` and ``verdict`` are by the version in force.
    """

    signal: Signal
    n: int
    value: float | None
    excess_ratio: float | None
    verdict: Verdict
    normal_before: float | None
    threshold_before: float | None
    normal_after: float | None
    threshold_after: float | None


@dataclass(frozen=True, slots=True)
class LabelDiff:
    """Share of one value of a label among the exchanges of either version."""

    label: str
    value: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Diff:
    """Both versions beside each other; without one in force only the new one."""

    before: str | None  # name@digest
    after: str
    counts: Mapping[str, tuple[int | None, int]]
    emi: tuple[float | None, float | None]  # of the references themselves, nats
    signals: tuple[SignalDiff, ...]
    labels: tuple[LabelDiff, ...]
    notes: tuple[str, ...]


def compare(
    reference: Reference,
    replaced: Replaced | None,
    samples: Sequence[Sample],
    usual: int,
    rules: MeasureRules,
) -> Diff:
    """What changes if a version takes the place of another, for windows of the ``usual`` size."""
    old = None if replaced is None else replaced.loaded
    facts_before = {} if replaced is None else replaced.version.facts
    signals = () if old is None else _signals(reference, old, samples, usual, rules)
    return Diff(
        before=None if replaced is None else replaced.version.identity,
        after=reference.identity,
        counts={
            name: (_count(facts_before, name), _count(reference.facts, name) or 0)
            for name in COUNTED
        },
        emi=(_emi(old.reference) if old else None, _emi(reference)),
        signals=signals,
        labels=_labels(facts_before, reference.facts),
        notes=tuple(_notes(reference, replaced, signals)),
    )


def _signals(
    reference: Reference,
    old: LoadedReference,
    samples: Sequence[Sample],
    usual: int,
    rules: MeasureRules,
) -> tuple[SignalDiff, ...]:
    alpha = alpha_per_test(
        rules.false_alarms_per_week,
        rules.length,
        signals=len(Signal),
        slices=len(rules.slice_labels),
    ).overall
    measurer, factor = Measurer(rules), rules.entropy_factor
    fresh = measurer.judged(samples, old)
    typical: Sequence[Sample] = fresh[:: max(1, len(fresh) // usual)]  # from all of the time
    typical, _ = comparable_targets(typical, old.reference.facts)
    with single_threaded():
        estimates = measurer.estimates(typical, old, measurer.novelty(typical, old))
        before = judge(old.reference, estimates, alpha, entropy_factor=factor)
        after = judge(reference, estimates, alpha, entropy_factor=factor)
    return tuple(_signal_diff(s, before[s], after[s]) for s in Signal if s in before)


def _signal_diff(signal: Signal, before: Judgement, after: Judgement) -> SignalDiff:
    return SignalDiff(
        signal=signal,
        n=before.n,
        value=before.value,
        excess_ratio=before.excess_ratio,
        verdict=before.verdict,
        normal_before=before.null_mean,
        threshold_before=before.threshold,
        normal_after=after.null_mean,
        threshold_after=after.threshold,
    )


def _labels(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[LabelDiff, ...]:
    """The shares that changed most, of labels that both versions know."""
    old, new = _shares(before), _shares(after)
    changes = [
        LabelDiff(label, value, old[label].get(value, 0.0), new[label].get(value, 0.0))
        for label in sorted(old.keys() & new.keys())
        for value in sorted(old[label].keys() | new[label].keys())
    ]
    seen = [c for c in changes if abs(c.after - c.before) >= SEEN]
    return tuple(sorted(seen, key=lambda c: -abs(c.after - c.before))[:MAX_LABEL_CHANGES])


def _shares(facts: Mapping[str, object]) -> dict[str, dict[str, float]]:
    labels, total = facts.get("labels"), _count(facts, "exchanges")
    if not isinstance(labels, Mapping) or not total:
        return {}
    return {
        label: {value: n / total for value, n in counts.items()} for label, counts in labels.items()
    }


def _count(facts: Mapping[str, object], name: str) -> int | None:
    match facts:
        case {"density": {**density}, "calibration": {**calibration}}:
            parts = density.get(name), calibration.get(name)
            return sum(n for n in parts if isinstance(n, int))
    return None


def _emi(reference: Reference) -> float | None:
    return None if reference.frozen.emi is None else reference.frozen.emi.value


def _notes(
    reference: Reference, replaced: Replaced | None, signals: Sequence[SignalDiff]
) -> list[str]:
    found = reference.facts.get("notes")
    notes = [str(note) for note in found] if isinstance(found, list) else []
    if replaced is None:
        notes.append(
            "no reference is in force for this stream, so there is nothing to compare with"
        )
    elif replaced.loaded is None:
        notes.append(
            f"{replaced.version.identity} was built with other encoders: its signals cannot be "
            "compared"
        )
    if any(s.signal is Signal.EMI and s.verdict is Verdict.DRIFTING for s in signals):
        notes.append("answers got worse in the new data: to accept it is to accept these answers")
    if reference.facts.get(TEACHER_TARGETS):
        notes.append(
            f"{reference.facts[TEACHER_TARGETS]:.0%} of its targets are the teacher's: EMI is then "
            "relative to the teacher"
        )
    if Network.ANSWER not in reference.frozen.networks:
        notes.append("it can tell whether the traffic changes, not whether answers get worse")
    return notes
