"""New thresholds: what they are from, what they can resolve, and how they compare."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy.typing as npt

from monitor.commands.terminal import Report, put_json, put_table, say, simple_table
from monitor.errors import CalibrationError
from monitor.records import Signal
from monitor.reference.artefact import Reference
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.embedded import CALIBRATION, PARTS
from monitor.reference.recalibration import Observed, redrawn, with_burn_in
from monitor.reference.signals import Estimate
from monitor.service.calibration import History, Promise, lacking_windows
from monitor.settings import Settings
from monitor.stats.burn_in import alpha_supported
from monitor.stats.null import SHARE_OF_POOL

RESAMPLING, BURN_IN = "resampling", "burn-in"
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """New thresholds, with what they are from; nothing is ``observed`` by resampling."""

    arrays: Arrays
    facts: Mapping[str, object]
    observed: Mapping[Signal, Observed]
    sizes: Mapping[Signal, int]  # at which thresholds are shown
    words: Sequence[str]


def by_resampling(
    settings: Settings, arrays: Arrays, draws: int | None, promise: Promise, report: Report
) -> Found:
    held, least = (
        int((arrays["part"] == PARTS.index(CALIBRATION)).sum()),
        settings.windows.min_samples,
    )
    if held < SHARE_OF_POOL * least:
        raise CalibrationError(
            f"windows of {least} need {SHARE_OF_POOL} times as many exchanges held out, the "
            f"reference has {held}; lower windows.min_samples or build a larger reference"
        )
    draws = draws or settings.reference.null_draws
    drawn = redrawn(
        arrays,
        draws=draws,
        seed=settings.reference.seed,
        smallest_window=least,
        workers=os.cpu_count() or 1,
        progress=report,
    )
    return Found(
        arrays=drawn,
        facts={"from": RESAMPLING, "draws": draws, "exchanges": held},
        observed={},
        sizes=dict.fromkeys(Signal, held // SHARE_OF_POOL),
        words=[
            f"thresholds are from {draws:,} draws of the {held:,} exchanges held out, which "
            f"resolve 1 alarm in {draws + 1:,} windows; {_asked(promise)}"
            + (", beyond that by the tail model" if promise.alpha * (draws + 1) < 1 else "")
        ],
    )


def from_windows(arrays: Arrays, history: History, promise: Promise, stream: str) -> Found:
    promise.require(history)
    needed = promise.windows_needed
    calibrated, observed = with_burn_in(arrays, history.estimates, needed=needed)
    k, first, last = len(history.windows), history.windows[0].start, history.windows[-1].end
    sizes = {signal: int(median(e[signal].n for e in history.estimates)) for signal in Signal}
    words = [
        f"thresholds are from {k:,} windows of {stream}, {first:%Y-%m-%d %H:%M} to "
        f"{last:%Y-%m-%d %H:%M}, which resolve 1 alarm in {k + 1:,} windows and, by the tail "
        f"model, 1 in {1 / alpha_supported(k):,.0f}; {_asked(promise)}"
    ]
    wide = [o for o in observed if o.is_dispersed]
    if wide:
        shown = ", ".join(f"{o.signal} {o.dispersion:.1f}" for o in wide)
        words.append(
            "these windows differ more than chance, in spreads that resampling gives: "
            f"{shown}; by resampling they would alarm more often than stated"
        )
    if lacking := [s for s in lacking_windows(history, needed) if f"null/{s}/sizes" in arrays]:
        words.append(f"too few windows have {', '.join(lacking)}: by resampling as before")
    return Found(
        arrays=calibrated,
        facts={
            "from": BURN_IN,
            "stream": stream,
            "windows": k,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "signals": {o.signal.value: asdict(o) for o in observed},
        },
        observed={o.signal: o for o in observed},
        sizes=sizes,
        words=words,
    )


def _asked(promise: Promise) -> str:
    return (
        f"alerts.false_alarms_per_week of {promise.false_alarms_per_week:g} over {len(Signal)} "
        f"signals takes 1 in {1 / promise.alpha:,.0f}"
    )


def show(
    before: Reference,
    after: Reference,
    found: Found,
    promise: Promise,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    factor = settings.alerts.entropy_factor
    typical = _typical(after, found.sizes)
    old, new = (
        judge(reference, typical, promise.alpha, entropy_factor=factor)
        for reference in (before, after)
    )
    rows = [_row(signal, old.get(signal), judged, found) for signal, judged in new.items()]
    if as_json:
        for row in rows:
            put_json(row)
    else:
        put_table(simple_table(_COLUMNS, [[_cell(row[c]) for c in _COLUMNS] for row in rows]))
    for sentence in found.words:
        say(sentence)


_COLUMNS = ("signal", "from", "windows", "dispersion", "n", "null_mean", "threshold", "before")


def _row(signal: Signal, old: Judgement | None, new: Judgement, found: Found) -> dict[str, object]:
    observed = found.observed.get(signal)
    return {
        "signal": signal.value,
        "from": RESAMPLING if observed is None else BURN_IN,
        "windows": None if observed is None else observed.windows,
        "dispersion": None if observed is None else observed.dispersion,
        "dependence": None if observed is None else observed.dependence,
        "n": new.n,
        "null_mean": new.null_mean,
        "threshold": new.threshold,
        "before": None if old is None else old.threshold,
    }


def _typical(reference: Reference, sizes: Mapping[Signal, int]) -> dict[Signal, Estimate]:
    """A window in the middle of what is normal, in the order of the signals."""
    at = {s: max(sizes[s], reference.frozen.smallest_window) for s in Signal}
    centres = {s: null.mean(at[s]) for s, null in reference.nulls.items()}
    centres |= {s: law.mean(at[s]) for s, law in reference.share_nulls.items()}
    if (states := reference.states_null) is not None:
        centres[Signal.IMAGE_LOGGING] = states.mean(at[Signal.IMAGE_LOGGING])
    return {s: Estimate(at[s], centres[s]) for s in Signal if s in centres}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
