"""A case in words: since when, what, from whom, and then and now; the three questions apart."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.records import Measurement, Signal, Verdict
from monitor.service.case import RankedSlice
from monitor.service.verdict import about, in_words, reason_in_words
from monitor.store.history import Run

LOOKS = {
    Signal.VISUAL_DISCREPANCY: "images",
    Signal.TEXTUAL_DISCREPANCY: "texts",
    Signal.RESPONSE_DISCREPANCY: "responses",
}
TRAFFIC = {
    **{signal: f"the {what} look different" for signal, what in LOOKS.items()},
    Signal.IMAGE_TEXT_AGREEMENT: "images and texts fit each other less",
    Signal.IMAGE_SHARE: "another share of the exchanges has images",
    Signal.NOVELTY_VISUAL: "more images are of a new kind",
    Signal.NOVELTY_TEXTUAL: "more texts are of a new kind",
}
_WHAT = {
    **{signal: f"what is different about the {what}" for signal, what in LOOKS.items()},
    Signal.NOVELTY_VISUAL: "the images of a new kind",
    Signal.NOVELTY_TEXTUAL: "the texts of a new kind",
    Signal.EMI: "what EMI has lost",
}
_OF_IMAGES = (Signal.VISUAL_DISCREPANCY, Signal.NOVELTY_VISUAL)
_OF_TARGETS = (Signal.EMI,)
# What answers are told by, once the traffic is known to look as it did.
ANSWERS = (Signal.EMI, Signal.EMID, Signal.MI_QUERY_RESPONSE, Signal.OUTPUT_GAP)
NOTABLE = 0.3  # of the excess, for a slice to be named
_BOUND = "How bad could it be?"
_SAID_HERE = ("Has the traffic changed?", "Have the answers got worse?")
SURPLUS = 1.25  # times the portion of exchanges that the slice has


@dataclass(frozen=True, slots=True)
class Findings:
    """What the sentences are made of. ``slices`` are of the signal that the case is ranked by."""

    slice_key: str
    measurements: Mapping[Signal, Measurement]
    runs: Mapping[Signal, Run]
    ranked_by: Signal | None
    slices: Sequence[RankedSlice] = ()


def leading_signal(measurements: Mapping[Signal, Measurement]) -> Signal | None:
    """The signal that is most out; a change of the traffic before what follows from it.

    None where nothing could be judged.
    """
    looks = [s for s in LOOKS if s in measurements]
    others = [s for s in (*TRAFFIC, *ANSWERS) if s in measurements and s not in looks]
    for is_out in (_drifts, _is_slow):
        for group in (looks, others):
            out = [s for s in group if is_out(measurements[s])]
            if out:
                return max(out, key=lambda s: _excess(measurements[s]))
    logging = measurements.get(Signal.IMAGE_LOGGING)
    if logging is not None and (_drifts(logging) or _is_slow(logging)):
        return Signal.IMAGE_LOGGING
    known = [s for s in looks if measurements[s].excess_ratio is not None]
    return max(known, key=lambda s: _excess(measurements[s]), default=None)


def worst_first(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Drifting ones first, then the slow ones, the larger excess first; unknown ones last."""
    return sorted(
        measurements,
        key=lambda m: (
            not _drifts(m),
            not _is_slow(m),
            m.verdict is Verdict.INSUFFICIENT,
            -_excess(m),
        ),
    )


def verdict_in_words(found: Findings) -> tuple[str, ...]:
    """Sentences about one window, each about one of the three questions; a slice is named first."""
    logging, bound = _others(found)
    return (*about(found.slice_key), *logging, *_traffic(found), *_answers(found), *bound)


def _traffic(found: Findings) -> list[str]:
    known = {s: m for s in TRAFFIC if _is_known(m := found.measurements.get(s)) and m is not None}
    if not known:
        return [f"Whether the traffic has changed is unknown: {_reason(found.measurements)}."]
    out = [s for s in known if _drifts(known[s])]
    slow = [s for s in known if s not in out and _is_slow(known[s])]
    looks = [s for s in out if s in LOOKS]
    calm = [LOOKS[s] for s in LOOKS if s in known and s not in out and s not in slow]
    said = [_changed(found, since, signals) for since, signals in _by_start(found, looks)]
    if calm:
        said.append(f"The {_listed(calm)} {'do not' if looks else 'look as they did'}.")
    said += _worst_slice(found, LOOKS)
    rest = [s for s in out if s not in LOOKS]
    said += [_changed(found, since, signals) for since, signals in _by_start(found, rest)]
    said += _worst_slice(found, rest)
    said += [
        f"Slowly{_when(known[s].evidence_since, known[s])}, {TRAFFIC[s]}: no single window shows "
        "it, all of them together do."
        for s in slow
    ]
    return said or ["The traffic has not changed noticeably."]


def _changed(found: Findings, since: datetime, signals: Sequence[Signal]) -> str:
    clauses = [f"{TRAFFIC[s]} ({_times(found.measurements[s])})" for s in signals]
    return f"Since {_clock(since, found.measurements[signals[0]])} {_listed(clauses)}."


def _by_start(found: Findings, out: Sequence[Signal]) -> list[tuple[datetime, list[Signal]]]:
    groups: dict[datetime, list[Signal]] = {}
    for signal in out:
        run = found.runs.get(signal)
        since = run.since if run else found.measurements[signal].window.start
        groups.setdefault(since, []).append(signal)
    # What is most out is said first.
    return sorted(groups.items(), key=lambda g: -max(_excess(found.measurements[s]) for s in g[1]))


def _worst_slice(found: Findings, of: Collection[Signal]) -> list[str]:
    """Who is behind the signal that the slices are ranked by, if it is one of these."""
    signal = found.ranked_by
    if signal not in _WHAT or signal not in of or not found.slices:
        return []
    worst = found.slices[0]
    if worst.value is None or worst.part is None or not _drifts(found.measurements[signal]):
        return []
    if worst.part < NOTABLE or worst.part < SURPLUS * worst.portion:
        return []
    of_these = "exchanges"
    if signal in _OF_IMAGES:
        of_these += " with images"
    elif signal in _OF_TARGETS:
        of_these += " with targets"
    return [
        f"{100 * worst.part:.0f} % of {_WHAT[signal]} comes from "
        f"{worst.slice_key}, which is {100 * worst.portion:.0f} % of the {of_these}."
    ]


def _answers(found: Findings) -> list[str]:
    emi = found.measurements.get(Signal.EMI)
    if emi is None or not _is_known(emi):
        return [_answers_without_targets(found, emi)]
    now = f"EMI {_signed(emi.value)}{_error(emi.stderr)}"
    run = found.runs.get(Signal.EMI)
    if _drifts(emi):
        since = run.since if run else emi.window.start
        before = run.before.value if run and run.before else None
        was = "" if before is None else f"was {_signed(before)}, "
        return [
            f"Answers got worse since {_clock(since, emi)}: {now}, {was}{_normally(emi)} "
            f"({_times(emi)}).",
            *_worst_slice(found, ANSWERS),
        ]
    if _is_slow(emi):
        return [
            f"Answers get slowly worse{_when(emi.evidence_since, emi)}: {now}, {_normally(emi)}."
        ]
    return [f"Answers have not become noticeably worse: {now}, {_normally(emi)}."]


def _answers_without_targets(found: Findings, emi: Measurement | None) -> str:
    why = reason_in_words(emi.reason if emi is not None else None)
    told = found.measurements.get(Signal.MI_QUERY_RESPONSE)
    if told is not None and _drifts(told):
        return (
            f"Whether answers got worse is unknown ({why}), but they have less to do with their "
            f"queries than they used to ({_times(told)})."
        )
    return f"Whether answers got worse is unknown: {why}."


def _others(found: Findings) -> tuple[list[str], list[str]]:
    """What the summary of a window says besides: whether logging changed, and the bound."""
    said = in_words(list(found.measurements.values()), found.slice_key)
    said = [s for s in said if not s.startswith(_SAID_HERE) and s not in about(found.slice_key)]
    return [s for s in said if not s.startswith(_BOUND)], [s for s in said if s.startswith(_BOUND)]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _clock(time: datetime, m: Measurement) -> str:
    """Short where it is of the day on which the window ends."""
    form = "%H:%M UTC" if time.date() == m.window.end.date() else "%Y-%m-%d %H:%M UTC"
    return time.strftime(form)


def _when(time: datetime | None, m: Measurement) -> str:
    return "" if time is None else f" since {_clock(time, m)}"


def _times(m: Measurement) -> str:
    return "out" if m.excess_ratio is None else f"{m.excess_ratio:.1f} x threshold"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _error(stderr: float | None) -> str:
    return "" if stderr is None else f" ± {stderr:.2f}"


def _normally(m: Measurement) -> str:
    return f"normally {_signed(m.null_mean)}"


def _drifts(m: Measurement) -> bool:
    return m.verdict is Verdict.DRIFTING


def _is_slow(m: Measurement) -> bool:
    return bool(m.persistent) and not _drifts(m)


def _is_known(m: Measurement | None) -> bool:
    return m is not None and m.verdict is not Verdict.INSUFFICIENT


def _excess(m: Measurement) -> float:
    return m.excess_ratio if m.excess_ratio is not None else float("-inf")


def _reason(measurements: Mapping[Signal, Measurement]) -> str:
    reasons = (reason_in_words(m.reason) for m in measurements.values() if m.reason)
    return next(reasons, "nothing was measured")
