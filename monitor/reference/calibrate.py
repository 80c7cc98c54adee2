"""What every signal looks like when nothing has drifted, and the verdict on a window."""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from monitor.records import Modality, Signal, Verdict
from monitor.reference.artefact import FrozenReference, Neighbourhood, Reference
from monitor.reference.bounds import Divergences
from monitor.reference.conditional import Progress, silent
from monitor.reference.embedded import Embedded, Floats, Ints, Mask, Population
from monitor.reference.signals import (
    BOUNDS,
    TOO_FEW_EVENTS,
    Estimate,
    View,
    components_of,
    lacking,
    limit_thread,
)
from monitor.stats.bound import GAP_WINDOW, VISUAL
from monitor.stats.club import MiEstimate
from monitor.stats.decision import DIRECTIONS, Decision, Direction, decide
from monitor.stats.novelty import ShareNull
from monitor.stats.null import Null, null_sizes
from monitor.stats.sequential import TOLERANCE, rank_score, share_score

STAGE = "nulls"
SIDES = {Direction.HIGH: (1,), Direction.LOW: (-1,), Direction.BOTH: (1, -1)}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One signal of one window: the fields of a measurement that the reference decides.

    ``value`` is None exactly when the verdict is ``insufficient``; then ``reason`` says why.
    ``scores`` are what the window adds to the evidence over windows, one for each watched side.
    """

    n: int
    verdict: Verdict
    value: float | None = None
    stderr: float | None = None
    null_mean: float | None = None
    threshold: float | None = None
    excess_ratio: float | None = None
    p_value: float | None = None
    reason: str | None = None
    terms: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    scores: tuple[float, ...] = ()


def draw_nulls(
    frozen: FrozenReference,
    calibration: Embedded,
    *,
    draws: int,
    seed: int,
    workers: int = 2,
    progress: Progress = silent,
) -> dict[Signal, Null]:
    """Null of every component, from pseudo-windows of events that neither P nor a q has seen.

    A draw is one order of all events. Its pseudo-window of n events of a population (all events,
    those with images, those with targets) are the first n of that population: a window's
    discrepancy of images is judged at its number of images, and what populations have in common
    in a window they have in a draw. The same seed gives the same draws whatever ``workers`` is.
    Each worker uses one BLAS thread.
    """
    pools = {
        population: calibration.take(population.of(calibration))
        for population in Population
        if lacking(frozen, population) is None
    }
    sizes = {p: _grid(len(pool), frozen.smallest_window) for p, pool in pools.items()}
    total, done = draws * sum(len(grid) for grid in sizes.values()), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(STAGE, done, total)

    rng = np.random.default_rng(seed)
    orders = np.array([rng.permutation(len(calibration)) for _ in range(draws)])
    nulls: dict[Signal, Null] = {}
    with ThreadPoolExecutor(workers, initializer=limit_thread) as threads:
        for population, pool in pools.items():
            firsts = _within(population.of(calibration), orders)
            rows = [firsts[:, :n] for n in sizes[population]]
            nulls |= _nulls_of(population, frozen, pool, rows, threads, advance)
    return nulls


def count_shares(
    frozen: FrozenReference, calibration: Embedded, neighbourhood: Neighbourhood
) -> dict[Signal, ShareNull]:
    """Laws of the shares, from how often the calibration part itself has the property."""
    n = len(calibration)
    laws = {Signal.IMAGE_SHARE: ShareNull(int(calibration.carries_image.sum()), n)}
    columns = {
        Signal.NOVELTY_VISUAL: (Modality.VISUAL, calibration.z_v),
        Signal.NOVELTY_TEXTUAL: (Modality.TEXTUAL, calibration.z_t),
    }
    for signal, (modality, z) in columns.items():
        threshold = frozen.novelty_thresholds.get(modality)
        distances = neighbourhood.distances(modality, z)
        if threshold is not None and distances is not None:
            laws[signal] = ShareNull(int((distances > threshold).sum()), len(z))
    return laws


def judge(
    reference: Reference,
    estimates: Mapping[Signal, Estimate],
    alpha: float,
    *,
    entropy_factor: float,
) -> dict[Signal, Judgement]:
    """Verdict on every signal, each against its null at its own ``n``.

    ``alpha`` is the accepted false-alarm probability of one signal of one window;
    ``entropy_factor`` the one that the estimates were made with.
    """
    nulls = _WindowNulls(reference, estimates, entropy_factor)
    return {
        signal: _judgement(estimate, nulls.decide(signal, alpha), nulls.scores(signal))
        for signal, estimate in estimates.items()
    }


def _grid(pool: int, smallest: int) -> list[int]:
    """``null_sizes``, and half of the pool.

    Between a quarter and the whole pool the mean of a divergence in hundreds of dimensions bends,
    which takes a size between them to be seen. Draws of half the pool overlap; ``Null`` allows for
    what that takes from their spread.
    """
    return sorted({*null_sizes(pool, smallest).tolist(), pool // 2})


def _within(mask: Mask, orders: Ints) -> Ints:
    """Each order of all events, as the order of those under the mask; rows count these alone."""
    position = np.cumsum(mask) - 1
    kept: Ints = position[orders[mask[orders]]].reshape(len(orders), -1)
    return kept


def _nulls_of(
    population: Population,
    frozen: FrozenReference,
    pool: Embedded,
    windows: list[Ints],
    threads: Executor,
    advance: Callable[[], None],
) -> dict[Signal, Null]:
    components = components_of(population, frozen)

    def values(view: View) -> list[float]:
        results = [component.compute(view) for component in components.values()]
        return [r.value if isinstance(r, MiEstimate) else r for r in results]

    everything = View(frozen, pool)
    whole = values(everything)
    drawn: list[list[float]] = []
    for row in threads.map(
        lambda rows: values(everything.take(rows)), (row for rows in windows for row in rows)
    ):
        drawn.append(row)
        advance()
    table = np.array(drawn).reshape(len(windows), -1, len(components))
    sizes = np.array([rows.shape[1] for rows in windows])
    return {
        signal: Null.of(sizes, table[:, :, k], pool=len(pool), whole=whole[k])
        for k, signal in enumerate(components)
    }


@dataclass(frozen=True, slots=True)
class _WindowNulls:
    """Nulls of all signals of one window, at the window's own numbers of events.

    Those of EMID and of the bounds are made from their components', draw by draw: a window's
    shares of images and targets are its own, so no draw of whole windows would fit it, but what is
    in one place of two nulls comes from the same events.
    """

    reference: Reference
    estimates: Mapping[Signal, Estimate]
    entropy_factor: float

    def decide(self, signal: Signal, alpha: float) -> Decision | None:
        """The decision on a signal, or None where there is no value or no null."""
        n, value = self.estimates[signal].n, self.estimates[signal].value
        if value is None:
            return None
        if signal is Signal.IMAGE_LOGGING:
            states = self.reference.states_null
            return None if states is None else states.decide(value, n, alpha=alpha)
        direction = DIRECTIONS[signal]
        if (share := self.reference.share_nulls.get(signal)) is not None:
            return share.decide(round(value * n), n, direction=direction, alpha=alpha)
        draws = self.draws(signal)
        if draws is None:
            return None
        return decide(value, _known(draws), direction=direction, alpha=alpha, n=n)

    def scores(self, signal: Signal) -> tuple[float, ...]:
        """Evidence of drift to each watched side, beyond what the reference may be off by."""
        estimate = self.estimates[signal]
        if estimate.value is None:
            return ()
        if signal is Signal.IMAGE_LOGGING:
            states = self.reference.states_null
            if states is None:
                return ()
            return (states.score(estimate.value, estimate.n, tolerance=TOLERANCE),)
        found = []
        for side in SIDES[DIRECTIONS[signal]]:
            if (share := self.reference.share_nulls.get(signal)) is not None:
                count = round(estimate.value * estimate.n)
                law = share if isinstance(share, ShareNull) else share.law
                score = share_score(law, count, estimate.n, tolerance=side * TOLERANCE)
                found.append(side * score)
            elif (draws := self.draws(signal, side * TOLERANCE)) is not None:
                found.append(side * rank_score(_known(draws), estimate.value))
        return tuple(found)

    def draws(self, signal: Signal, shift: float = 0.0) -> Floats | None:
        """Draws of a signal that is no share, moved by so many errors of their centre.

        NaN stands for a healthy window that had no value.
        """
        if signal in BOUNDS:
            return self._of_bound(signal, shift)
        if signal is Signal.EMID:
            emi, of_reference = self.draws(Signal.EMI, -shift), self.reference.frozen.emi
            return None if emi is None or of_reference is None else of_reference.value - emi
        null, n = self.reference.nulls.get(signal), self.estimates[signal].n
        draws = None if null is None else null.at(n)
        return draws if draws is None or null is None else draws + shift * null.centre_error(n)

    def _of_bound(self, signal: Signal, shift: float) -> Floats | None:
        terms, frozen = self.estimates[signal].terms, self.reference.frozen
        drawn = {
            "textual": self._of_divergence(Signal.TEXTUAL_DISCREPANCY, shift),
            "visual": self._of_divergence(Signal.VISUAL_DISCREPANCY, shift)
            if VISUAL in terms
            else None,
            "gap_window": self._of_divergence(Signal.OUTPUT_GAP, shift)
            if GAP_WINDOW in terms
            else None,
        }
        if drawn["textual"] is None:
            return None
        rows = _side_by_side({name: part for name, part in drawn.items() if part is not None})
        divergences = (
            Divergences(row.get("visual"), row["textual"], frozen.output_gap, row.get("gap_window"))
            for row in rows
        )
        return np.array([d.bounds(self.entropy_factor)[signal].value for d in divergences])

    def _of_divergence(self, signal: Signal, shift: float) -> Floats | None:
        # Widening a null for its finite pool can push its lowest draws below 0.
        draws = self.draws(signal, shift)
        return None if draws is None else draws.clip(min=0.0)


def _known(draws: Floats) -> Floats:
    known: Floats = draws[np.isfinite(draws)]
    return known


def _side_by_side(parts: Mapping[str, Floats]) -> list[dict[str, float]]:
    """The parts' draws of one and the same window, for every window that has all of them.

    Parts of which one is from resampling and one from burn-in have no windows in common: they rise
    and fall together, the widest of all couplings.
    """
    columns = np.array(list(_equally_long(parts.values())))
    rows = columns[:, np.isfinite(columns).all(axis=0)].T.tolist()
    return [dict(zip(parts, row, strict=True)) for row in rows]


def _equally_long(parts: Collection[Floats]) -> Iterable[Floats]:
    m = min(len(part) for part in parts)
    if all(len(part) == m for part in parts):
        return parts
    levels = (np.arange(m) + 0.5) / m
    return [np.quantile(_known(part), levels) for part in parts]


def _judgement(
    estimate: Estimate, decision: Decision | None, scores: tuple[float, ...]
) -> Judgement:
    if estimate.value is None or decision is None:
        reason = estimate.reason or TOO_FEW_EVENTS
        return Judgement(n=estimate.n, verdict=Verdict.INSUFFICIENT, reason=reason)
    return Judgement(
        n=estimate.n,
        verdict=Verdict.DRIFTING if decision.is_drifting else Verdict.IN_CONTROL,
        value=estimate.value,
        stderr=estimate.stderr,
        null_mean=decision.null_mean,
        threshold=decision.threshold,
        excess_ratio=decision.excess_ratio,
        p_value=decision.p_value,
        terms=estimate.terms,
        low=estimate.low,
        high=estimate.high,
        scores=scores,
    )
