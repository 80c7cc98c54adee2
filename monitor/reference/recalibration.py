"""Nulls of a reference: drawn from it, or those of past healthy windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import f

from monitor.records import Signal
from monitor.reference.artefact import FrozenReference, Neighbourhood
from monitor.reference.calibrate import count_shares, draw_nulls
from monitor.reference.chance import NULLS, seed_for
from monitor.reference.conditional import Progress, silent
from monitor.reference.embedded import DENSITY, PARTS, Arrays, Floats, Ints, parts_of
from monitor.reference.signals import COMPONENTS, Estimate, single_threaded
from monitor.reference.stored_nulls import BURN_IN, null_arrays, resampled_null, share_arrays
from monitor.stats.burn_in import BurnIn, ShareBurnIn, dependence

SHARES = (Signal.NOVELTY_VISUAL, Signal.NOVELTY_TEXTUAL, Signal.IMAGE_SHARE)
CHANCE = 1e-3  # of calling windows over-dispersed that are not, signal by signal

PastWindow = Mapping[Signal, Estimate]


@dataclass(frozen=True, slots=True)
class Observed:
    """What past healthy windows say about one signal.

    ``dispersion`` is their spread in units of what chance gives; ``is_dispersed`` that it is more
    than chance, so that resampling would alarm more often than stated. ``dependence`` is how many
    neighbouring windows say as much as one independent window.
    """

    signal: Signal
    windows: int
    dispersion: float
    is_dispersed: bool
    dependence: float


def redrawn(
    arrays: Arrays,
    *,
    draws: int,
    seed: int,
    smallest_window: int,
    workers: int,
    progress: Progress = silent,
) -> dict[str, npt.NDArray[Any]]:
    """The reference with all nulls drawn from its calibration part, as if for the first time.

    With the seed and the draws that it was built with they are the same again.
    """
    kept = {name: a for name, a in arrays.items() if name.split("/")[0] not in _CALIBRATED}
    kept["smallest_window"] = np.array([smallest_window])
    density, calibration = parts_of(kept)
    with single_threaded():
        frozen = FrozenReference.of(kept, density, calibration)
        positions = np.flatnonzero(kept["part"] == PARTS.index(DENSITY))
        neighbourhood = Neighbourhood.of(density, positions, folder=None)
        nulls = draw_nulls(
            frozen,
            calibration,
            draws=draws,
            seed=seed_for(seed, NULLS),
            workers=workers,
            progress=progress,
        )
        shares = count_shares(frozen, calibration, neighbourhood)
    return kept | null_arrays(nulls) | share_arrays(shares)


def with_burn_in(
    arrays: Arrays, windows: Sequence[PastWindow], *, needed: int
) -> tuple[dict[str, npt.NDArray[Any]], list[Observed]]:
    """The reference with past windows in the place of what was drawn, signal by signal.

    A signal that fewer than ``needed`` windows have a value for keeps what was drawn.
    """
    calibrated = {name: a for name, a in arrays.items() if not name.startswith(f"{BURN_IN}/")}
    found = []
    states = np.array([c for w in windows if (c := w[Signal.IMAGE_LOGGING].counts)])
    if len(states) >= needed:
        calibrated[f"{BURN_IN}/{Signal.IMAGE_LOGGING}/counts"] = states
        found.append(_states_observed(states))
    for signal in (*COMPONENTS, *SHARES):
        sizes, values = _columns(windows, signal)
        observed = _observed(calibrated, signal, sizes, values, needed)
        if observed is not None:
            calibrated[f"{BURN_IN}/{signal}/sizes"] = sizes
            calibrated[f"{BURN_IN}/{signal}/values"] = values
            found.append(observed)
    return calibrated, found


_CALIBRATED = {"null", "share", BURN_IN}


def _observed(
    arrays: Arrays, signal: Signal, sizes: Ints, values: Floats, needed: int
) -> Observed | None:
    known = np.isfinite(values)
    if known.sum() < needed:
        return None
    if f"null/{signal}/sizes" in arrays:
        null = resampled_null(arrays, signal)
        burn_in, sure = BurnIn.of(null, sizes, values), null.draws.shape[1]
    elif f"share/{signal}" in arrays:
        burn_in, sure = ShareBurnIn.of(sizes, values).windows, int(sizes[known].sum())
    else:
        return None
    return _compared(signal, burn_in, sure)


def _states_observed(counts: Ints) -> Observed:
    """Of ``(k, S)`` windows and states, by the most frequent state: it varies most by chance."""
    sizes, most = counts.sum(axis=1), int(counts.sum(axis=0).argmax())
    shares = ShareBurnIn.of(sizes, counts[:, most] / sizes).windows
    return _compared(Signal.IMAGE_LOGGING, shares, int(sizes.sum()))


def _compared(signal: Signal, burn_in: BurnIn, sure: int) -> Observed:
    k, dispersion = len(burn_in.known), burn_in.dispersion()
    limit = float(np.sqrt(f.isf(CHANCE, k - 1, sure - 1)))
    return Observed(signal, k, dispersion, dispersion > limit, dependence(burn_in.known))


def _columns(windows: Sequence[PastWindow], signal: Signal) -> tuple[Ints, Floats]:
    estimates = [window[signal] for window in windows]
    sizes: Ints = np.array([e.n for e in estimates], dtype=np.int64)
    values = [np.nan if e.value is None else e.value for e in estimates]
    return sizes, np.array(values, dtype=np.float64)
