"""Standard errors of divergences and bounds, from what each event of a window does to them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from monitor.records import Modality, Signal
from monitor.reference.artefact import FrozenReference
from monitor.reference.bounds import Divergences
from monitor.reference.embedded import Embedded, Vectors
from monitor.reference.signals import (
    COMPONENTS,
    NORMAL_QUANTILE,
    Estimate,
    View,
    evaluate,
    views_of,
)
from monitor.stats.bound import GAP_WINDOW, TEXTUAL, VISUAL, Bound
from monitor.stats.influence import Influence, Side, gap_influence, rjsd_influence
from monitor.stats.rjsd import Spectrum

_TERMS = {
    VISUAL: Signal.VISUAL_DISCREPANCY,
    TEXTUAL: Signal.TEXTUAL_DISCREPANCY,
    GAP_WINDOW: Signal.OUTPUT_GAP,
}


def evaluate_with_errors(
    frozen: FrozenReference,
    window: Embedded,
    *,
    entropy_factor: float,
    known: Mapping[Signal, Estimate] | None = None,
) -> dict[Signal, Estimate]:
    """``evaluate`` with standard errors and intervals of divergences and bounds too.

    They are those of the window given the reference. The events must be in no particular order.
    It takes up to twice as long.
    """
    views = views_of(frozen, window)
    found = evaluate(frozen, window, entropy_factor=entropy_factor, known=known, views=views)
    influences = {
        signal: _INFLUENCES[signal](views[COMPONENTS[signal].population])
        for signal in _INFLUENCES
        if found[signal].value is not None
    }
    for signal, influence in influences.items():
        found[signal] = _with_error(found[signal], influence.stderr)
    for signal, bound in _bounds(frozen, found, entropy_factor).items():
        found[signal] = _with_error(found[signal], _stderr(bound, found, influences, window))
    return found


def _of_window(view: View, modality: Modality, side: Side) -> Influence:
    return rjsd_influence(view.frozen.spectra[modality], side)


def _side(spectrum: Spectrum, z: Vectors) -> Side:
    return Side(spectrum, torch.from_numpy(z))


_INFLUENCES: Mapping[Signal, Callable[[View], Influence]] = {
    Signal.VISUAL_DISCREPANCY: lambda v: _of_window(
        v, Modality.VISUAL, _side(v.images, v.events.z_v)
    ),
    Signal.TEXTUAL_DISCREPANCY: lambda v: _of_window(
        v, Modality.TEXTUAL, _side(v.texts, v.events.z_t)
    ),
    Signal.RESPONSE_DISCREPANCY: lambda v: _of_window(v, Modality.RESPONSE, v.response_side),
    Signal.OUTPUT_GAP: lambda v: gap_influence(
        v.response_side, _side(v.targets, v.events.z_target)
    ),
}


def _bounds(
    frozen: FrozenReference, found: Mapping[Signal, Estimate], entropy_factor: float
) -> dict[Signal, Bound]:
    visual, textual, gap = (found[signal].value for signal in _TERMS.values())
    if textual is None:
        return {}
    return Divergences(visual, textual, frozen.output_gap, gap).bounds(entropy_factor)


def _stderr(
    bound: Bound,
    found: Mapping[Signal, Estimate],
    influences: Mapping[Signal, Influence],
    window: Embedded,
) -> float | None:
    """Every event counts with the sum of what it adds to all terms that it is in."""
    terms = {name: signal for name, signal in _TERMS.items() if name in bound.terms}
    slopes = bound.slopes({name: found[signal].value or 0.0 for name, signal in terms.items()})
    if slopes is None:
        return None
    total = np.zeros(len(window))
    for name, signal in terms.items():
        deviations = influences[signal].deviations.numpy()
        events = np.flatnonzero(COMPONENTS[signal].population.of(window))[: len(deviations)]
        total[events] += slopes[name] * deviations
    return float(np.linalg.norm(total))


def _with_error(estimate: Estimate, stderr: float | None) -> Estimate:
    if estimate.value is None or stderr is None:
        return estimate
    reach = NORMAL_QUANTILE * stderr
    low, high = max(estimate.value - reach, 0.0), estimate.value + reach
    return replace(estimate, stderr=stderr, low=low, high=high)
