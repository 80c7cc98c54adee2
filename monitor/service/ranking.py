"""Slices of a window by how much more they add to a signal than their size explains."""

from collections.abc import Mapping

from monitor.records import Measurement, Modality, Signal, Verdict
from monitor.reference.shares import SignalShares, SliceShare
from monitor.service.case import RankedSlice
from monitor.stats.decision import DIRECTIONS, Direction

# Signals that are no sum over events, and the one whose shares explain them best.
STANDS_FOR: Mapping[Signal, tuple[Signal, ...]] = {
    Signal.NOVELTY_VISUAL: (Signal.VISUAL_DISCREPANCY,),
    Signal.NOVELTY_TEXTUAL: (Signal.TEXTUAL_DISCREPANCY,),
    Signal.IMAGE_SHARE: (Signal.TEXTUAL_DISCREPANCY,),
    Signal.IMAGE_LOGGING: (Signal.VISUAL_DISCREPANCY,),
    Signal.MI_QUERY_TARGET: (Signal.EMI,),
    Signal.EMID: (Signal.EMI,),
    Signal.EMID_BOUND_UNSCALED: (Signal.RESPONSE_DISCREPANCY,),
    Signal.EMID_BOUND: (Signal.RESPONSE_DISCREPANCY,),
    Signal.INPUT_BOUND: (Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY),
}
MODALITY: Mapping[Signal, Modality] = {
    Signal.VISUAL_DISCREPANCY: Modality.VISUAL,
    Signal.TEXTUAL_DISCREPANCY: Modality.TEXTUAL,
    Signal.RESPONSE_DISCREPANCY: Modality.RESPONSE,
    Signal.NOVELTY_VISUAL: Modality.VISUAL,
    Signal.NOVELTY_TEXTUAL: Modality.TEXTUAL,
    Signal.OUTPUT_GAP: Modality.RESPONSE,
    Signal.MI_QUERY_RESPONSE: Modality.RESPONSE,
    Signal.EMI: Modality.RESPONSE,
    Signal.IMAGE_TEXT_AGREEMENT: Modality.VISUAL,
}


def signal_to_rank_by(wanted: Signal | None, known: Mapping[Signal, SignalShares]) -> Signal | None:
    """The signal itself where it is a sum over events, else one that explains it, else any."""
    candidates = () if wanted is None else (wanted, *STANDS_FOR.get(wanted, ()))
    return next((s for s in (*candidates, Signal.TEXTUAL_DISCREPANCY, *known) if s in known), None)


def towards_drift(signal: Signal) -> int:
    """Sign that shares have which push the signal out of its normal range."""
    return -1 if DIRECTIONS[signal] is Direction.LOW else 1


def ranked_slices(
    split: SignalShares, measured: Measurement | None, most: int
) -> tuple[RankedSlice, ...]:
    """Slices of all labels, those first that add most beyond what their size explains.

    A value of a label that all events have explains nothing, however much they add.
    """
    n, whole = len(split.events), float(split.shares.sum())
    usual = _usual(split, measured)
    sign = towards_drift(split.signal)
    by_label: dict[str, list[SliceShare]] = {}
    for part in split.slices:
        if part.n:
            by_label.setdefault(part.label, []).append(part)
    found: list[tuple[float, RankedSlice]] = []
    for parts in by_label.values():
        excess = {p.value: sign * (p.share - p.n / n * usual) for p in parts}
        total = sum(x for x in excess.values() if x > 0)
        is_out = _is_out(measured) and total > 0
        for p in parts:
            surplus = sign * (p.share - p.n / n * whole)
            slice_ = RankedSlice(
                label=p.label,
                value=p.value,
                n=p.n,
                portion=p.n / n,
                share=p.share,
                excess=excess[p.value] if is_out else None,
                part=max(excess[p.value], 0.0) / total if is_out else None,
            )
            found.append((surplus, slice_))
    found.sort(key=lambda pair: (-pair[0], pair[1].label, pair[1].value or ""))
    return tuple(slice_ for _, slice_ in found[:most])


def _usual(split: SignalShares, measured: Measurement | None) -> float:
    """What the events of a healthy window of this size would add together.

    Of a divergence the window's part is taken to be as large a portion of it as it is here.
    """
    whole = float(split.shares.sum())
    if measured is None or measured.null_mean is None:
        return whole
    if not len(split.reference_shares):
        return measured.null_mean
    return whole * measured.null_mean / split.value if split.value else 0.0


def _is_out(m: Measurement | None) -> bool:
    return m is not None and (m.verdict is Verdict.DRIFTING or bool(m.persistent))
