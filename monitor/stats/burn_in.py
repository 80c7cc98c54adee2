"""The distribution of a signal over past healthy windows, whole ones as they came."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from monitor.stats.decision import Decision, Direction, decide, judge
from monitor.stats.novelty import ShareNull
from monitor.stats.null import Floats, Ints

# How far beyond what windows have shown a threshold may lie: the tail model is within 1.4 of its
# promise at 50 times as rare as 200 draws resolve.
REACH = 32
WINDOWS_MIN = 40  # fewer say too little of their own spread


def windows_needed(alpha: float) -> int:
    """Healthy windows without which a threshold at ``alpha`` is refused.

    Args:
        alpha: accepted false-alarm probability of one signal of one window, in (0, 1).
    """
    return max(WINDOWS_MIN, int(np.ceil(1 / (REACH * alpha))))


def alpha_supported(windows: int) -> float:
    """Smallest ``alpha`` that so many healthy windows support; see ``windows_needed``."""
    return 1 / (REACH * windows)


class ByChance(Protocol):
    """What a signal is at any ``n`` where windows differ by chance alone."""

    @property
    def smallest(self) -> int:
        """Events below which nothing is said."""

    def mean(self, n: int) -> float:
        """Expectation in a window of ``n`` events."""

    def variance(self, n: Ints) -> Floats:
        """Variance in windows of so many events, ``(k,)``."""


@dataclass(frozen=True, slots=True)
class BurnIn:
    """Healthy windows of one signal, carried to any ``n`` by the law that chance alone has.

    ``value_i = mean(n_i) + centre + deviation_i`` with ``Var deviation_i = v(n_i) + between``:
    ``mean`` and ``v`` are those of resampling, ``centre`` is what its finite pool is off by,
    ``between`` is what windows differ beyond chance: bursts, rhythm, equal requests. ``at`` gives
    each deviation the spread that it would have at another ``n``; at the windows' own ``n`` they
    stay as they were, so an order statistic keeps its promise for any law of exchangeable windows.
    """

    by_chance: ByChance
    sizes: Ints  # (k,) events of each window
    off: Floats  # (k,) value less the mean by chance at its n, NaN where a window had no value
    between: float  # variance

    @classmethod
    def of(cls, by_chance: ByChance, sizes: Ints, values: Floats) -> Self:
        """Compare windows with the law that they are to replace.

        Args:
            by_chance: the signal's null by resampling, or the law of a share.
            sizes: ``(k,)`` events per window, at least ``by_chance.smallest`` for a value.
            values: ``(k,)``, NaN for a window without a value, at least two others.

        Raises:
            ValueError: if shapes, sizes or values are not as stated.
        """
        sizes, values = np.asarray(sizes, dtype=np.int64), np.asarray(values, dtype=np.float64)
        if sizes.ndim != 1 or sizes.shape != values.shape:
            raise ValueError(f"windows of sizes {sizes.shape} have values {values.shape}")
        known = np.isfinite(values)
        if known.sum() < 2 or np.isinf(values).any():  # noqa: PLR2004 - a spread takes two
            raise ValueError("a burn-in needs at least two windows with a value, all finite")
        if (sizes[known] < by_chance.smallest).any():
            raise ValueError(f"windows of fewer than {by_chance.smallest} events have no null")
        off = values.copy()
        distinct, place = np.unique(sizes[known], return_inverse=True)
        off[known] -= np.array([by_chance.mean(int(n)) for n in distinct])[place]
        expected = by_chance.variance(sizes[known]).mean()
        between = max(0.0, float(off[known].var(ddof=1) - expected))
        return cls(by_chance, sizes, off, between)

    @property
    def known(self) -> Floats:
        """What the windows that had a value were off by, in order of time."""
        return self.off[np.isfinite(self.off)]

    def at(self, n: int) -> Floats | None:
        """What the windows would have shown at ``n``, in their order.

        Args:
            n: events in the window to be judged.

        Returns:
            ``(k,)``, NaN where a window had no value; None below the smallest size.
        """
        if n < self.by_chance.smallest:
            return None
        (at_n,) = self.by_chance.variance(np.array([n])) + self.between
        own = self.by_chance.variance(self.sizes) + self.between
        scale = np.ones_like(own)
        np.divide(at_n, own, out=scale, where=own > 0)
        there: Floats = self.mean(n) + np.sqrt(scale) * (self.off - self.known.mean())
        return there

    def mean(self, n: int) -> float:
        """Mean of ``at(n)``, windows without a value left out."""
        return self.by_chance.mean(n) + float(self.known.mean())

    def centre_error(self, n: int) -> float:
        """Standard error of the mean of ``at(n)``, by as many windows as are independent."""
        (at_n,) = self.by_chance.variance(np.array([n])) + self.between
        independent = len(self.known) / dependence(self.known)
        return float(np.sqrt(at_n / independent))

    def dispersion(self) -> float:
        """Spread of the windows in units of what chance gives; 1 where that is all."""
        expected = self.by_chance.variance(self.sizes[np.isfinite(self.off)]).mean()
        return float(self.known.std(ddof=1) / np.sqrt(expected)) if expected > 0 else 1.0


def dependence(series: Floats) -> float:
    """``1 + 2 Σ ρ_k`` of a series, how many of its values say as much as an independent one.

    The sum ends at the first pair of lags whose autocorrelations add up to nothing positive, or
    at half of the series.

    Args:
        series: ``(k,)`` in order of time, k >= 2.

    Returns:
        Factor by which the variance of the mean exceeds that of independent values, >= 1.

    Source:
        Geyer (1992), "Practical Markov chain Monte Carlo", the initial positive sequence.
    """
    if series.min() == series.max():  # what is left of it when centred is rounding
        return 1.0
    centred = series - series.mean()
    k = len(centred)

    def product(lag: int) -> float:
        return float(centred[lag:] @ centred[: k - lag])

    total = 0.0
    for lag in range(0, k // 2 - 1, 2):
        pair = product(lag) + product(lag + 1)
        if pair <= 0:
            break
        total += pair / product(0)
    return max(1.0, 2 * total - 1)


def counts_of(shares: Floats, sizes: Ints) -> Ints:
    """Whole events behind shares of so many."""
    return np.rint(shares * sizes).astype(np.int64)


def share_of_windows(counts: Ints, sizes: Ints) -> ShareNull:
    """Law of a share over past healthy windows, with what they differ beyond chance.

    Beta-binomial: between windows the share varies with variance ``p (1 - p) / (pool + 1)``, where
    ``pool`` is found by moments from Pearson's statistic ``Σ (k - n p)² / (n p (1 - p))``, and
    is no larger than all events together, which leaves the uncertainty of ``p`` in the law.

    Args:
        counts: ``(k,)`` events of each window that have the property.
        sizes: ``(k,)`` events of each window, >= 1.

    Returns:
        Law of the share in one further window.

    Source:
        Method of moments as in Kleinman (1973), "Proportions with extraneous variance".
    """
    total = int(sizes.sum())
    p = counts.sum() / total
    if not 0 < p < 1:
        return ShareNull(float(counts.sum()), float(total))
    pearson = float((np.square(counts - sizes * p) / (sizes * p * (1 - p))).sum())
    by_chance = len(sizes) - 1
    typical = float(np.square(sizes).sum()) / total  # size of the window that an event is in
    beyond = (pearson - by_chance) / max(total - typical - by_chance, 1.0)
    between = min(max(beyond, 0.0), 0.5)
    of_mean = (1 - between + between * typical) / total
    pool = 1 / (between + of_mean)
    return ShareNull(float(p * pool), float(pool))


@dataclass(frozen=True, slots=True)
class ShareBurnIn:
    """Healthy windows of a share: as they were where they resolve alpha, else by their law.

    A share of few events has so few levels that an exponential tail through the largest of them
    means nothing. Beyond what the windows resolve the threshold is that of ``share_of_windows``,
    and no window that was seen is an alarm.
    """

    law: ShareNull
    windows: BurnIn

    @classmethod
    def of(cls, sizes: Ints, values: Floats) -> Self:
        """From events and shares of windows, ``(k,)`` each; NaN for a window without a value."""
        known = np.isfinite(values)
        law = share_of_windows(counts_of(values[known], sizes[known]), sizes[known])
        return cls(law, BurnIn.of(law, sizes, values))

    def mean(self, n: int) -> float:
        """Mean share."""
        return self.windows.mean(n)

    def decide(self, count: int, n: int, *, direction: Direction, alpha: float) -> Decision:
        """Judge ``count`` of ``n`` events of a window; as ``ShareNull.decide``."""
        draws = self.windows.at(n)
        by_law = self.law.decide(count, n, direction=direction, alpha=alpha)
        if draws is None:
            return by_law
        seen = draws[np.isfinite(draws)]
        sides = 2 if direction is Direction.BOTH else 1
        if alpha / sides * (len(seen) + 1) >= 1:
            return decide(count / n, seen, direction=direction, alpha=alpha, n=n)
        edge = float(seen.max() if by_law.threshold > by_law.null_mean else seen.min())
        if abs(edge - by_law.null_mean) <= abs(by_law.threshold - by_law.null_mean):
            return by_law
        return judge(count / n, by_law.null_mean, edge, by_law.p_value)
