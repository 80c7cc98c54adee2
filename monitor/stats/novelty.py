"""Shares of events: novel ones, ones with images; their intervals and exact nulls."""

import math
import sys
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, betaln, gammaln

from monitor.stats.decision import Decision, Direction, judge
from monitor.stats.null import Floats, Ints

NOVELTY_LEVEL = 0.99
JEFFREYS = 0.5


@dataclass(frozen=True, slots=True)
class Share:
    """A share of ``n`` events with its confidence interval, all in ``[0, 1]``."""

    value: float
    low: float
    high: float
    n: int


def novelty_threshold(distances: Floats, level: float = NOVELTY_LEVEL) -> float:
    """Distance above which an event counts as novel: a percentile of leave-one-out distances.

    Args:
        distances: ``(n,)`` distance of each density-part event to its k-th nearest other one,
            itself left out: with itself in, every distance is one neighbour too small.
        level: percentile as a fraction.

    Returns:
        The smallest distance that at most ``1 - level`` of the events exceed.

    Raises:
        ValueError: if there is no distance or one is not finite.
    """
    if not len(distances) or not np.isfinite(distances).all():
        raise ValueError("novelty needs at least one distance, all finite")
    return float(np.quantile(distances, level, method="inverted_cdf"))


def share(count: int, n: int, *, confidence: float = 0.95) -> Share:
    """``count / n`` with the interval of Clopper and Pearson.

    Its coverage is at least ``confidence`` at every ``n`` and share; Wilson's falls short near 0,
    where novelty lives.

    Args:
        count: events that have the property.
        n: events in all, >= 1.
        confidence: coverage, in (0, 1).

    Returns:
        Share and interval, fractions.

    Raises:
        ValueError: unless ``0 <= count <= n`` and ``n >= 1``.

    Source:
        Clopper & Pearson (1934).
    """
    _check_count(count, n)
    tail = (1 - confidence) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return Share(count / n, low, high, n)


@dataclass(frozen=True, slots=True)
class ShareNull:
    """Predictive law of a share, given ``count`` of ``pool`` events of the calibration part.

    Beta-binomial with Jeffreys' prior: exact at every ``n``, with the uncertainty of a finite
    reference in it. Two numbers, so that it can be stored; no integers where they stand for what
    windows differed by: see ``share_of_windows``.
    """

    count: float
    pool: float

    def __post_init__(self) -> None:
        _check_count(self.count, self.pool)

    @property
    def smallest(self) -> int:
        """Events below which nothing is said."""
        return 1

    def variance(self, n: Ints) -> Floats:
        """Variance of the share of so many events around the mean, ``(k,)``."""
        mean = self.mean(1)
        by_chance: Floats = mean * (1 - mean) / n
        return by_chance

    def mean(self, n: int) -> float:  # noqa: ARG002 - the same at every n
        """Mean share."""
        return (self.count + JEFFREYS) / (self.pool + 2 * JEFFREYS)

    def probabilities(self, n: int) -> Floats:
        """Probability of 0..n events among ``n``: ``(n + 1,)``, sums to 1."""
        k = np.arange(n + 1)
        a, b = self.count + JEFFREYS, self.pool - self.count + JEFFREYS
        log_mass = betaln(k + a, n - k + b) - gammaln(k + 1) - gammaln(n - k + 1)
        mass = np.exp(log_mass - log_mass.max())
        predictive: Floats = mass / mass.sum()
        return predictive

    def decide(self, count: int, n: int, *, direction: Direction, alpha: float) -> Decision:
        """Judge ``count`` of ``n`` events of a window.

        The threshold is the largest share that is no alarm, so the probability of an alarm is at
        most ``alpha``; for both sides each gets ``alpha / 2``. Where no share can be an alarm it
        is the first impossible one, one event outside ``[0, 1]``, so that a share near its null
        mean has an excess ratio near 0 there too. Where the largest quiet share lies on the
        harmless side of the mean it is halfway from the mean to the first alarm.

        Args:
            count: events of the window that have the property.
            n: events in the window, >= 1.
            direction: which side is evidence of drift.
            alpha: accepted false-alarm probability, in (0, 1).

        Returns:
            Decision in shares; the p-value is exact and never 0.

        Raises:
            ValueError: unless ``0 <= count <= n``, ``n >= 1`` and ``0 < alpha < 1``.
        """
        _check_count(count, n)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
        mass = self.probabilities(n)
        mean = self.mean(n)
        at_least, at_most = mass[::-1].cumsum()[::-1], mass.cumsum()
        sides = 1
        if direction is Direction.BOTH:
            sides = 2
            direction = Direction.HIGH if count >= n * mean else Direction.LOW
        tail = at_least if direction is Direction.HIGH else at_most
        quiet = np.flatnonzero(tail > alpha / sides)
        outwards, last = (1, n) if direction is Direction.HIGH else (-1, 0)
        edge = int(quiet[-1] if direction is Direction.HIGH else quiet[0])
        threshold = (edge + outwards if edge == last else edge) / n
        if outwards * (threshold - mean) <= 0:
            threshold = _beyond(mean, (mean + (edge + outwards) / n) / 2, outwards)
        p = min(1.0, max(sides * float(tail[count]), sys.float_info.min))
        return judge(count / n, mean, threshold, p)


def _beyond(mean: float, threshold: float, outwards: int) -> float:
    # An alpha near 1/2 can put even the first alarm on the harmless side of the mean.
    nearest = math.nextafter(mean, outwards * math.inf)
    return outwards * max(outwards * threshold, outwards * nearest)


def _check_count(count: float, n: float) -> None:
    if n < 1 or not 0 <= count <= n:
        raise ValueError(f"expected 0 <= count <= n and n >= 1, got {count} of {n}")
