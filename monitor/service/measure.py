"""One window measured: its samples against a reference, whole and by slice."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from monitor.records import (
    ALL,
    Measurement,
    Modality,
    Sample,
    Signal,
    Verdict,
    WindowId,
    floor_time,
)
from monitor.reference.artefact import Embedded
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.comparable import comparable_estimates
from monitor.reference.signals import Estimate, evaluate, single_threaded
from monitor.reference.uncertainty import evaluate_with_errors
from monitor.service.embedding import columns
from monitor.service.shelf import LoadedReference
from monitor.stats.decision import AlphaPerTest, alpha_per_test
from monitor.store.panes import PaneState
from monitor.traffic.sampling import uniform_threshold

OTHER = "other"
TOO_FEW = "too_few_samples"


@dataclass(frozen=True, slots=True)
class MeasureRules:
    """How traffic is cut and how sure an alarm must be."""

    pane: timedelta
    length: timedelta
    slide: timedelta
    lateness: timedelta
    min_samples: int
    per_pane: int
    slice_labels: Sequence[str]
    max_per_label: int
    false_alarms_per_week: float
    entropy_factor: float
    encoder_digest: str


@dataclass(frozen=True, slots=True)
class Novelty:
    """Distance of each sample to the reference, by sample id; ``fresh`` ones are to be stored."""

    visual: Mapping[int, float]
    textual: Mapping[int, float]
    fresh: Sequence[tuple[int, float | None, float | None]]


def uniform_sample(
    samples: Sequence[Sample], panes: Sequence[PaneState], per_pane: int
) -> list[Sample]:
    """The samples that are a uniform draw from the whole window, busy panes and quiet ones alike.

    ``seen`` alone does not tell that a pane dropped something: it counts what is sent twice.
    """
    threshold = uniform_threshold(
        pane.kept_max_priority if pane.seen > pane.kept >= per_pane else None for pane in panes
    )
    return [s for s in samples if threshold is None or s.priority <= threshold]


def count_image_states(samples: Sequence[Sample]) -> dict[str, int]:
    """How many images of the samples are in each state."""
    return dict(Counter(state.value for sample in samples for state in sample.image_states))


def slices_of(
    samples: Sequence[Sample], labels: Sequence[str], max_per_label: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Positions by slice. Of each label the most frequent values; the others together.

    Samples without the label belong to none of its slices. Ties go to the smaller name, so that
    replays agree.
    """
    slices: dict[str, npt.NDArray[np.int64]] = {}
    for label in labels:
        values = [sample.labels.get(label) for sample in samples]
        counts = Counter(value for value in values if value is not None)
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        named = set(ranked[:max_per_label])
        shown = [v if v is None or v in named else OTHER for v in values]
        for value in sorted({v for v in shown if v is not None}):
            slices[f"{label}={value}"] = np.flatnonzero([v == value for v in shown])
    return slices


class Measurer:
    """Measures windows under fixed rules; keeps nothing between them."""

    def __init__(self, rules: MeasureRules) -> None:
        self._rules = rules

    def usable(self, samples: Sequence[Sample]) -> list[Sample]:
        """Samples embedded by the encoders that run now."""
        digest = self._rules.encoder_digest
        return [s for s in samples if s.encoder_digest == digest and s.z_t is not None]

    def judged(self, samples: Sequence[Sample], reference: LoadedReference) -> list[Sample]:
        """The usable samples, less those that the reference was made from."""
        return [s for s in self.usable(samples) if not reference.made_from.holds(s)]

    def is_counted(self, window: WindowId) -> bool:
        """Whether it adds to the evidence over windows: those that do, do not overlap."""
        return window.start == floor_time(window.start, self._rules.length)

    def alpha(self, slices: int) -> AlphaPerTest:
        """Accepted false-alarm probability of one signal of a window with so many slices."""
        rules = self._rules
        return alpha_per_test(
            rules.false_alarms_per_week, rules.length, signals=len(Signal), slices=slices
        )

    def novelty(self, samples: Sequence[Sample], reference: LoadedReference) -> Novelty:
        """Distances to the reference's k-th nearest embeddings; searched once per sample."""
        usable = self.usable(samples)
        digest = reference.reference.digest
        known = [s for s in usable if s.novelty_reference == digest]
        todo = [s for s in usable if s.novelty_reference != digest]
        visual = {s.id: s.novelty_v for s in known if s.novelty_v is not None}
        textual = {s.id: s.novelty_t for s in known if s.novelty_t is not None}
        if todo:
            part = columns(todo, reference.reference.dim)
            nearest = reference.neighbourhood.distances
            with_image = (s.id for s in todo if s.z_v is not None)
            visual |= _by_id(with_image, nearest(Modality.VISUAL, part.z_v))
            textual |= _by_id((s.id for s in todo), nearest(Modality.TEXTUAL, part.z_t))
        fresh = [(s.id, visual.get(s.id), textual.get(s.id)) for s in todo]
        return Novelty(visual, textual, fresh)

    def estimates(
        self, samples: Sequence[Sample], reference: LoadedReference, novelty: Novelty
    ) -> Mapping[Signal, Estimate]:
        """Every signal of the whole window before any verdict; none where samples are too few.

        Samples that the reference was made from are left out.
        """
        judged = self.judged(samples, reference)
        if len(judged) < self._rules.min_samples:
            return {}
        events = _events(judged, reference.reference.dim, novelty)
        factor = self._rules.entropy_factor
        with single_threaded():
            return evaluate(reference.reference.frozen, events, entropy_factor=factor)

    def measure(
        self,
        stream: str,
        window: WindowId,
        samples: Sequence[Sample],
        reference: LoadedReference,
        novelty: Novelty,
    ) -> list[Measurement]:
        """Every signal of the whole window and of each of its slices.

        Samples that the reference was made from are left out.
        """
        rules = self._rules
        judged = self.judged(samples, reference)
        left_out = len(self.usable(samples)) - len(judged)
        slices = slices_of(judged, rules.slice_labels, rules.max_per_label)
        alpha = self.alpha(len(slices))
        blank = Measurement(
            stream=stream,
            slice_key=ALL,
            signal=Signal.EMI,
            window=window,
            n=0,
            verdict=Verdict.INSUFFICIENT,
            reference=reference.reference.identity,
        )
        events = _events(judged, reference.reference.dim, novelty)
        measured = self._judged(events, reference, alpha.overall, blank, left_out)
        for key, rows in slices.items():
            part = replace(blank, slice_key=key)
            measured += self._judged(
                events.take(rows), reference, alpha.per_slice or alpha.overall, part
            )
        return measured

    def _judged(
        self,
        events: Embedded,
        reference: LoadedReference,
        alpha: float,
        blank: Measurement,
        left_out: int = 0,
    ) -> list[Measurement]:
        n = len(events)
        blank = replace(blank, evidence_threshold=1 / alpha)
        if n < self._rules.min_samples:
            reason = f"{TOO_FEW}: {n} of {self._rules.min_samples}"
            if left_out:
                reason += f", besides {left_out} that the reference was made from"
            return [replace(blank, signal=signal, n=n, reason=reason) for signal in Signal]
        with single_threaded():
            estimates = evaluate_with_errors(
                reference.reference.frozen,
                events,
                entropy_factor=self._rules.entropy_factor,
                known=comparable_estimates(reference.reference, events, alpha=alpha),
            )
            judged = judge(
                reference.reference,
                estimates,
                alpha,
                entropy_factor=self._rules.entropy_factor,
            )
        return [_measurement(replace(blank, signal=signal), judged[signal]) for signal in Signal]


def _events(samples: Sequence[Sample], dim: int, novelty: Novelty) -> Embedded:
    visual = [novelty.visual.get(s.id, np.nan) for s in samples if s.z_v is not None]
    textual = [novelty.textual.get(s.id, np.nan) for s in samples]
    return columns(
        samples,
        dim,
        novelty_v=None if np.isnan(visual).any() else np.array(visual, dtype=np.float64),
        novelty_t=None if np.isnan(textual).any() else np.array(textual, dtype=np.float64),
    )


def _by_id(ids: Iterable[int], distances: npt.NDArray[np.float64] | None) -> dict[int, float]:
    return {} if distances is None else dict(zip(ids, distances.tolist(), strict=True))


def _measurement(blank: Measurement, judged: Judgement) -> Measurement:
    return replace(
        blank,
        n=judged.n,
        verdict=judged.verdict,
        value=judged.value,
        stderr=judged.stderr,
        null_mean=judged.null_mean,
        threshold=judged.threshold,
        excess_ratio=judged.excess_ratio,
        p_value=judged.p_value,
        reason=judged.reason,
        terms=judged.terms,
        low=judged.low,
        high=judged.high,
        scores=judged.scores,
    )
