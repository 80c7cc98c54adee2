"""Signals as sums: what each event of a window, each slice and the reference add to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monitor.records import Modality, Signal
from monitor.reference.artefact import Network, Reference
from monitor.reference.embedded import Embedded, Floats, Ints, Mask, Vectors
from monitor.reference.signals import COMPONENTS, View, lacking, views_of
from monitor.stats.attribution import rjsd_attribution
from monitor.stats.decision import DIRECTIONS, Direction
from monitor.stats.moments import SecondMoments


@dataclass(frozen=True, slots=True)
class Slice:
    """Events by their positions in the window; see ``SliceShare``."""

    label: str
    value: str | None
    rows: Ints


@dataclass(frozen=True, slots=True)
class SliceShare:
    """What the events with one value of a label add; ``value`` None is those without the label."""

    label: str
    value: str | None
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class SignalShares:
    """A signal split over the events that it was computed from, exactly.

    ``value`` is the sum of ``shares`` and of ``reference_shares``; the slices of any one label sum
    to that of ``shares``. A negative share of a divergence is an event that looks like the
    reference. Informations have no shares of the reference.
    """

    signal: Signal
    value: float
    events: Ints  # positions in the window
    shares: Floats
    slices: tuple[SliceShare, ...]
    reference_events: Ints  # positions in the whole reference
    reference_shares: Floats

    @property
    def reference_part(self) -> float:
        """What the events of the reference add together."""
        return float(self.reference_shares.sum())

    def ranked(self) -> Ints:
        """Positions in the window, those that push most towards drift first."""
        towards = -1 if DIRECTIONS[self.signal] is Direction.LOW else 1
        order: Ints = self.events[np.argsort(-towards * self.shares, kind="stable")]
        return order


def split_signals(
    window: Embedded,
    reference: Reference,
    slices: Sequence[Slice] = (),
    comparable: Mask | None = None,
) -> dict[Signal, SignalShares]:
    """Every signal that is a sum over events, where it has a value. One BLAS thread, please.

    ``comparable`` are the events that what asks the q of answers was computed from.
    """
    frozen = reference.frozen
    rows = np.arange(len(window)) if comparable is None else np.flatnonzero(comparable)
    views = views_of(frozen, window)
    asked = views if comparable is None else views_of(frozen, window.take(rows))
    found: dict[Signal, SignalShares] = {}
    for signal, split in _SPLITS.items():
        population, network = COMPONENTS[signal].population, COMPONENTS[signal].network
        view = (asked if network is Network.ANSWER else views)[population]
        if (
            lacking(frozen, population) is None
            and (network is None or network in frozen.networks)
            and len(view.events) >= frozen.smallest_window
        ):
            inside = np.flatnonzero(population.of(window))
            events = np.intersect1d(inside, rows) if network is Network.ANSWER else inside
            found[signal] = _summed(signal, events, split(view, reference), slices)
    return found


@dataclass(frozen=True, slots=True)
class _Parts:
    """Shares of the events of a window, and of the reference's with their positions."""

    window: Floats
    reference: Floats
    positions: Ints

    @classmethod
    def of_window(cls, terms: Tensor) -> "_Parts":
        return cls(_divided(terms), np.empty(0), np.empty(0, dtype=np.int64))


def _discrepancy(
    modality: Modality, rows: Callable[[Embedded], Vectors]
) -> Callable[[View, Reference], _Parts]:
    def split(view: View, reference: Reference) -> _Parts:
        p, known = reference.frozen.spectra[modality].density, reference.density
        z, of_reference = (torch.from_numpy(rows(side)) for side in (view.events, known))
        shares = rjsd_attribution(p, SecondMoments.of(z).density())
        positions = reference.density_positions
        return _Parts(
            _divided(shares.window_shares(z)),
            _divided(shares.reference_shares(of_reference)),
            positions[known.has_image] if modality is Modality.VISUAL else positions,
        )

    return split


def _output_gap(view: View, _: Reference) -> _Parts:
    z_y, z_target = (torch.from_numpy(z) for z in (view.events.z_y, view.events.z_target))
    shares = rjsd_attribution(view.responses.density, view.targets.density)
    return _Parts.of_window(shares.reference_shares(z_y) + shares.window_shares(z_target))


def _information(view: View, _: Reference) -> _Parts:
    return _Parts.of_window(view.answers.terms(torch.from_numpy(view.events.z_y)))


def _emi(view: View, _: Reference) -> _Parts:
    z_y, z_target = (torch.from_numpy(z) for z in (view.events.z_y, view.events.z_target))
    return _Parts.of_window(view.answers.terms(z_y) - view.answers.terms(z_target))


def _agreement(view: View, _: Reference) -> _Parts:
    return _Parts.of_window(view.paired.terms(torch.from_numpy(view.events.z_t_of_images)))


_SPLITS: Mapping[Signal, Callable[[View, Reference], _Parts]] = {
    Signal.VISUAL_DISCREPANCY: _discrepancy(Modality.VISUAL, lambda e: e.z_v),
    Signal.TEXTUAL_DISCREPANCY: _discrepancy(Modality.TEXTUAL, lambda e: e.z_t),
    Signal.RESPONSE_DISCREPANCY: _discrepancy(Modality.RESPONSE, lambda e: e.z_y),
    Signal.OUTPUT_GAP: _output_gap,
    Signal.MI_QUERY_RESPONSE: _information,
    Signal.EMI: _emi,
    Signal.IMAGE_TEXT_AGREEMENT: _agreement,
}


def split_shares(
    signal: Signal, events: Ints, shares: Floats, slices: Sequence[Slice]
) -> SignalShares:
    """A signal from what its events add, to which the reference adds nothing."""
    return _summed(signal, events, _Parts(shares, np.empty(0), np.empty(0, dtype=np.int64)), slices)


def _summed(signal: Signal, events: Ints, parts: _Parts, slices: Sequence[Slice]) -> SignalShares:
    by_slice = []
    for part in slices:
        inside = np.isin(events, part.rows)
        share = float(parts.window[inside].sum())
        by_slice.append(SliceShare(part.label, part.value, int(inside.sum()), share))
    return SignalShares(
        signal=signal,
        value=float(parts.window.sum() + parts.reference.sum()),
        events=events,
        shares=parts.window,
        slices=tuple(by_slice),
        reference_events=parts.positions,
        reference_shares=parts.reference,
    )


def _divided(terms: Tensor) -> Floats:
    plain: Floats = (terms / len(terms)).numpy()
    return plain
