"""The one place where signals are computed, for real windows and for pseudo-windows alike."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Self

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # none published
from torch import Tensor

from monitor.records import Modality, Signal
from monitor.reference.artefact import FrozenReference, Network, spectrum
from monitor.reference.bounds import Divergences
from monitor.reference.conditional import QNetwork
from monitor.reference.embedded import Embedded, Floats, Ints, Population, Vectors
from monitor.reference.image_states import STATES, count_states
from monitor.stats.club import MiEstimate, Prediction, estimate_from_influence
from monitor.stats.emi import emid
from monitor.stats.influence import Side
from monitor.stats.novelty import share
from monitor.stats.rjsd import Spectrum, rjsd_from
from monitor.stats.states import largest_change

ONE_SIGMA = 0.6827
COVERAGE = 0.95  # of intervals
NORMAL_QUANTILE = 1.96

NO_IMAGES, NO_TARGETS = "no_images", "no_targets"
TOO_FEW_EVENTS = "too_few_events"
REFERENCE_LACKS_IMAGES = "reference_has_too_few_images"
REFERENCE_LACKS_TARGETS = "reference_has_too_few_targets"
LEARNED_NOTHING = {
    Network.ANSWER: "q_of_answers_has_learned_nothing",
    Network.PAIRING: "q_of_pairing_has_learned_nothing",
}
NO_DISTANCES = "no_distances"
NO_STATES = "no_image_states"
REFERENCE_LACKS_STATES = "reference_lacks_image_states"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The value of one signal of one window, or the reason why there is none.

    ``n`` counts the events that it was computed from; ``terms`` the parts of a bound; ``low`` to
    ``high`` is an interval of 95 %, where one is known. ``counts`` are those of ``STATES`` that
    ``image_logging`` was computed from.
    """

    n: int
    value: float | None = None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    terms: tuple[str, ...] = ()
    reason: str | None = None
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, mi: MiEstimate) -> Self:
        """An information with the interval of its standard error."""
        reach = NORMAL_QUANTILE * mi.stderr
        return cls(mi.n, mi.value, mi.stderr, low=mi.value - reach, high=mi.value + reach)


class View:
    """One population of a window against a reference; what signals share is computed once."""

    def __init__(self, frozen: FrozenReference, events: Embedded) -> None:
        self.frozen = frozen
        self.events = events
        self._origin: tuple[View, Tensor] | None = None

    def take(self, rows: Ints) -> "View":
        """A view of some of the events, for which no q is asked again."""
        part = View(self.frozen, self.events.take(rows))
        part._origin = self, torch.from_numpy(rows)
        return part

    @cached_property
    def images(self) -> Spectrum:
        """Spectrum of the images."""
        return spectrum(self.events.z_v)

    @cached_property
    def texts(self) -> Spectrum:
        """Spectrum of the query texts."""
        return spectrum(self.events.z_t)

    @cached_property
    def responses(self) -> Spectrum:
        """Spectrum of the responses."""
        return spectrum(self.events.z_y)

    @cached_property
    def response_side(self) -> Side:
        """The responses as one side of two divergences whose errors are asked for."""
        return Side(self.responses, torch.from_numpy(self.events.z_y))

    @cached_property
    def targets(self) -> Spectrum:
        """Spectrum of the targets."""
        return spectrum(self.events.z_target)

    @cached_property
    def response_influence(self) -> Tensor:
        """Per-event values of I(X; response)."""
        return self.answers.influence(torch.from_numpy(self.events.z_y))

    @cached_property
    def target_influence(self) -> Tensor:
        """Per-event values of I(X; target)."""
        return self.answers.influence(torch.from_numpy(self.events.z_target))

    @cached_property
    def answers(self) -> Prediction:
        """What q predicts for the answers."""
        if self._origin is not None:
            view, rows = self._origin
            return view.answers.take(rows)
        return _prediction(self.frozen.networks[Network.ANSWER], self.events.fused())

    @cached_property
    def paired(self) -> Prediction:
        """What q predicts for the texts of the images."""
        if self._origin is not None:
            view, rows = self._origin
            return view.paired.take(rows)
        return _prediction(self.frozen.networks[Network.PAIRING], self.events.z_v)

    def discrepancy(self, modality: Modality, current: Spectrum) -> float:
        """RJSD of one modality between reference and window, nats."""
        return rjsd_from(self.frozen.spectra[modality], current)

    def agreement(self) -> MiEstimate:
        """I(X_v; X_t) under the q trained on rightly paired events; all events have images."""
        texts = torch.from_numpy(self.events.z_t_of_images)
        return estimate_from_influence(self.paired.influence(texts))


@dataclass(frozen=True, slots=True)
class Component:
    """A signal that is computed from the events alone and has a null of its own."""

    population: Population
    compute: Callable[[View], float | MiEstimate]
    network: Network | None = None  # the one it asks


COMPONENTS: Mapping[Signal, Component] = {
    Signal.VISUAL_DISCREPANCY: Component(
        Population.IMAGES, lambda v: v.discrepancy(Modality.VISUAL, v.images)
    ),
    Signal.TEXTUAL_DISCREPANCY: Component(
        Population.ALL, lambda v: v.discrepancy(Modality.TEXTUAL, v.texts)
    ),
    Signal.RESPONSE_DISCREPANCY: Component(
        Population.ALL, lambda v: v.discrepancy(Modality.RESPONSE, v.responses)
    ),
    Signal.OUTPUT_GAP: Component(Population.TARGETS, lambda v: rjsd_from(v.responses, v.targets)),
    Signal.MI_QUERY_RESPONSE: Component(
        Population.ALL, lambda v: estimate_from_influence(v.response_influence), Network.ANSWER
    ),
    Signal.MI_QUERY_TARGET: Component(
        Population.TARGETS, lambda v: estimate_from_influence(v.target_influence), Network.ANSWER
    ),
    Signal.EMI: Component(
        Population.TARGETS,
        lambda v: estimate_from_influence(v.response_influence - v.target_influence),
        Network.ANSWER,
    ),
    Signal.IMAGE_TEXT_AGREEMENT: Component(Population.IMAGES, View.agreement, Network.PAIRING),
}
BOUNDS = (Signal.EMID_BOUND_UNSCALED, Signal.EMID_BOUND, Signal.INPUT_BOUND)


def evaluate(
    frozen: FrozenReference,
    window: Embedded,
    *,
    entropy_factor: float,
    known: Mapping[Signal, Estimate] | None = None,
    views: Mapping[Population, View] | None = None,
) -> dict[Signal, Estimate]:
    """Every signal of a window. The caller sets one BLAS thread: see ``single_threaded``.

    ``entropy_factor`` is H of ``emid_bound``, nats. Components that are ``known`` are not
    computed again; ``views`` are the window's, where somebody has made them already. Standard
    errors are those that come for free; ``evaluate_with_errors`` has them all.
    """
    known, views = known or {}, views or views_of(frozen, window)
    found = {
        signal: known.get(signal) or of_component(component, views[component.population])
        for signal, component in COMPONENTS.items()
    }
    found[Signal.EMID] = _emid(frozen, found[Signal.EMI])
    found.update(_bounds(frozen, found, entropy_factor))
    found[Signal.NOVELTY_VISUAL] = known.get(Signal.NOVELTY_VISUAL) or _novelty(
        frozen, Modality.VISUAL, window.novelty_v, len(window.z_v)
    )
    found[Signal.NOVELTY_TEXTUAL] = _novelty(
        frozen, Modality.TEXTUAL, window.novelty_t, len(window)
    )
    # As the reference counted: one without states knows only the images that were seen.
    with_image = window.has_image if frozen.image_states is None else window.carries_image
    found[Signal.IMAGE_SHARE] = _share(frozen, int(with_image.sum()), len(window))
    found[Signal.IMAGE_LOGGING] = logging_of(frozen, window)
    return found


def views_of(frozen: FrozenReference, window: Embedded) -> dict[Population, View]:
    """The populations of a window; those that are all of it are one and the same view."""
    whole = View(frozen, window)
    masks = {p: p.of(window) for p in Population}
    return {
        p: whole if mask.all() else View(frozen, window.take(mask)) for p, mask in masks.items()
    }


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for each matrix product and eigenproblem of the calling thread.

    Several that compete for busy cores take a hundred times as long. Threads may be in it at the
    same time and one within another; the others, and those that begin meanwhile, keep theirs.
    """
    _prepare_limits()
    with threadpool_limits(limits=1, user_api="openmp"):  # which counts for each thread by itself
        yield


def limit_thread() -> None:
    """The same for a thread of a pool, as long as it lives."""
    _prepare_limits()
    threadpool_limits(limits=1, user_api="openmp")


def _prepare_limits() -> None:
    torch.get_num_threads()  # PyTorch sets up a new thread here, or would later and undo the limit
    _limit_blas()


@cache
def _limit_blas() -> None:
    # NumPy's and FAISS's has one limit for all threads: lifted by one, it is lifted for the others.
    threadpool_limits(limits=1, user_api="blas")


def lacking(frozen: FrozenReference, population: Population) -> str | None:
    """Why the reference can say nothing about a population, or None if it can."""
    if population is Population.IMAGES and Modality.VISUAL not in frozen.spectra:
        return REFERENCE_LACKS_IMAGES
    if population is Population.TARGETS and frozen.output_gap is None:
        return REFERENCE_LACKS_TARGETS
    return None


def components_of(population: Population, frozen: FrozenReference) -> dict[Signal, Component]:
    """The components of a population for which the reference has what they ask."""
    return {
        signal: component
        for signal, component in COMPONENTS.items()
        if component.population is population
        and (component.network is None or component.network in frozen.networks)
    }


def logging_of(frozen: FrozenReference, window: Embedded) -> Estimate:
    """How far the share of any state of images moved; its one term is the state that grew most."""
    if frozen.image_states is None:
        return Estimate(len(window), reason=REFERENCE_LACKS_STATES)
    if window.image_state is None:
        return Estimate(len(window), reason=NO_STATES)
    counts, known = count_states(window.image_state), frozen.image_states
    n = int(counts.sum())
    if n == 0 or not known.any():
        return Estimate(n, reason=NO_IMAGES if n == 0 else REFERENCE_LACKS_IMAGES)
    if n < frozen.smallest_window:
        return Estimate(n, reason=TOO_FEW_EVENTS)
    change = counts / n - known / known.sum()
    moved = int(np.argmax(np.abs(change)))
    of_moved = _share(frozen, int(counts[moved]), n)
    value = largest_change(counts, known)
    # The interval is that of the share of the state that moved most.
    reach = np.array([of_moved.low, of_moved.high], dtype=np.float64) - counts[moved] / n
    low, high = sorted(value + np.sign(change[moved] or 1.0) * reach)
    return Estimate(
        n,
        value,
        of_moved.stderr,
        low=max(float(low), 0.0),
        high=float(high),
        terms=(STATES[int(np.argmax(change))].value,),
        counts=tuple(counts.tolist()),
    )


def of_component(component: Component, view: View) -> Estimate:
    """The value of one component of a view of its population."""
    n, population = len(view.events), component.population
    if n == 0 and population in _NONE:
        return Estimate(n, reason=_NONE[population])
    if (reason := lacking(view.frozen, population)) is not None:
        return Estimate(n, reason=reason)
    if component.network is not None and component.network not in view.frozen.networks:
        return Estimate(n, reason=LEARNED_NOTHING[component.network])
    if n < view.frozen.smallest_window:
        return Estimate(n, reason=TOO_FEW_EVENTS)
    result = component.compute(view)
    if isinstance(result, MiEstimate):
        return Estimate.of(result)
    return Estimate(n, result)


_NONE = {Population.IMAGES: NO_IMAGES, Population.TARGETS: NO_TARGETS}


def _emid(frozen: FrozenReference, emi: Estimate) -> Estimate:
    if emi.value is None or emi.stderr is None:
        return Estimate(emi.n, reason=emi.reason)
    if frozen.emi is None:
        return Estimate(emi.n, reason=REFERENCE_LACKS_TARGETS)
    return Estimate.of(emid(frozen.emi, MiEstimate(emi.value, emi.stderr, emi.n)))


def _bounds(
    frozen: FrozenReference, found: Mapping[Signal, Estimate], entropy_factor: float
) -> dict[Signal, Estimate]:
    visual, textual, gap = (
        found[signal]
        for signal in (Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY, Signal.OUTPUT_GAP)
    )
    if textual.value is None:
        return dict.fromkeys(BOUNDS, Estimate(textual.n, reason=textual.reason))
    parts = Divergences(visual.value, textual.value, frozen.output_gap, gap.value)
    bounds = parts.bounds(entropy_factor)
    absent = Estimate(textual.n, reason=gap.reason)
    return {
        signal: Estimate(textual.n, bound.value, terms=bound.terms)
        if (bound := bounds.get(signal))
        else absent
        for signal in BOUNDS
    }


def _novelty(
    frozen: FrozenReference, modality: Modality, distances: Floats | None, n: int
) -> Estimate:
    threshold = frozen.novelty_thresholds.get(modality)
    if n == 0 and modality is Modality.VISUAL:
        return Estimate(n, reason=NO_IMAGES)
    if threshold is None:
        return Estimate(n, reason=REFERENCE_LACKS_IMAGES)
    if distances is None:
        return Estimate(n, reason=NO_DISTANCES)
    return _share(frozen, int((distances > threshold).sum()), n)


def _share(frozen: FrozenReference, count: int, n: int) -> Estimate:
    if n < frozen.smallest_window:
        return Estimate(n, reason=TOO_FEW_EVENTS)
    # From the interval: the plug-in error of a share of 0 would be 0.
    sigma = share(count, n, confidence=ONE_SIGMA)
    interval = share(count, n, confidence=COVERAGE)
    stderr = (sigma.high - sigma.low) / 2
    return Estimate(n, sigma.value, stderr, low=interval.low, high=interval.high)


def _prediction(q: QNetwork, x: Vectors) -> Prediction:
    return Prediction.of(*q.at(x))
