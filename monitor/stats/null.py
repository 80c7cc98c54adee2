"""The distribution of a signal when nothing has drifted, at every ``n``."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHARE_OF_POOL = 4  # pseudo-windows of more than a quarter of the pool overlap too much
SIZES_FOR_TWO_POWERS = 3  # with fewer, noise would decide; 1/n alone is the cautious law
# Standard errors that the fitted variance is raised by: with as noisy a variance a Student quantile
# lies as far out as a Gaussian one so raised, at 5 %. For rarer alarms the tail model is cautious.
CAUTION = 0.5


def null_sizes(pool: int, smallest: int) -> Ints:
    """Geometric grid of window sizes, at most a factor 2 apart, ending at ``pool // 4``.

    Args:
        pool: number of events in the calibration part of the reference.
        smallest: smallest window that gets a verdict, >= 1.

    Returns:
        Ascending sizes; empty where the pool is too small for even the smallest window.
    """
    largest = pool // SHARE_OF_POOL
    if smallest < 1 or largest < smallest:
        return np.empty(0, dtype=np.int64)
    steps = int(np.ceil(np.log2(largest / smallest)))
    return np.geomspace(smallest, largest, steps + 1).round().astype(np.int64)


def pseudo_windows(pool: int, n: int, m: int, rng: np.random.Generator) -> Ints:
    """Row numbers of ``m`` drift-free windows of ``n`` events out of a pool of ``pool``.

    Without replacement: repeated events make a window less diverse than any real one and the
    null too wide.

    Args:
        pool: number of events to draw from.
        n: events per window, at most ``pool``.
        m: number of windows.
        rng: source of chance.

    Returns:
        ``(m, n)`` row numbers, distinct within a row.

    Raises:
        ValueError: if ``n`` is larger than the pool.
    """
    if not 0 < n <= pool:
        raise ValueError(f"cannot draw windows of {n} events from a pool of {pool}")
    rows = np.empty((m, n), dtype=np.int64)
    for row in rows:
        row[:] = rng.choice(pool, n, replace=False, shuffle=False)
    return rows


@dataclass(frozen=True, slots=True)
class Null:
    """Drift-free draws of one signal on a grid of ``n``; plain numbers, so that it can be stored.

    The draws come from one finite pool and share its deviation from the population: they scatter
    around the pool's own value with variance ``v(n) - v(pool)``, while a new window lies around
    that value with variance ``v(n) + v(pool)``. ``at`` widens the draws accordingly, with
    ``v(n) = linear / n + quadratic / n²``, the Hoeffding decomposition of a statistic of degree
    two, fitted to the spread over the grid and taken a little high.
    """

    sizes: Ints  # (g,) ascending
    draws: Floats  # (g, m), a column per pseudo-window that grows along the sizes
    pool: int  # events the pseudo-windows were drawn from
    whole: float  # the signal of the whole pool, as if it were one window

    @classmethod
    def of(cls, sizes: Ints, draws: Floats, *, pool: int, whole: float) -> Self:
        """Check draws.

        Args:
            sizes: ``(g,)`` window sizes, ascending, all below ``pool``.
            draws: ``(g, m)`` values of the signal, finite, m >= 2, a column for each pseudo-window.
            pool: size of the calibration part.
            whole: value of the signal on all of the calibration part.

        Raises:
            ValueError: if shapes, order or values are not as stated.
        """
        sizes, draws = np.asarray(sizes, dtype=np.int64), np.asarray(draws, dtype=np.float64)
        if sizes.ndim != 1 or draws.shape[:-1] != sizes.shape or draws.size < 2 * len(sizes):
            raise ValueError(f"draws {draws.shape} do not belong to sizes {sizes.shape}")
        if not len(sizes) or sizes[0] < 1 or np.any(np.diff(sizes) <= 0) or sizes[-1] >= pool:
            raise ValueError(f"sizes must ascend from 1 to below the pool of {pool}")
        if not (np.isfinite(draws).all() and np.isfinite(whole)):
            raise ValueError("null draws must be finite")
        return cls(sizes, draws, pool, whole)

    @property
    def smallest(self) -> int:
        """Events below which nothing is said."""
        return int(self.sizes[0])

    def at(self, n: int) -> Floats | None:
        """Draws as they would be at ``n``, or None where ``n`` is too small to say.

        The mean is a cubic spline through the sizes and the whole pool, whose value is unbiased
        at ``n = pool``. A divergence in ``d`` dimensions falls as ``log n`` below ``d`` events and
        as ``1/n`` above, and a chord in either would miss the bend by more than the spread of the
        signal; ``log(1 + pool / n)`` bends the same way. Beyond the pool nothing is known of a
        bend to come, and the mean goes straight in ``1/n``: right for a pool of more than ``d``
        events, for a smaller one too high, which errs towards silence. Deviations from the mean
        are interpolated quantile by quantile in ``log n``, in which their fall, between
        ``n^(-1/2)`` and ``1/n``, is convex: the chord lies outside and errs towards silence.
        Beyond the last size they shrink by the law of the variance, pool and all.

        Args:
            n: events in the window.

        Returns:
            ``(m,)`` draws, each at the place of its pseudo-window at the nearest size, so that
            signals drawn from the same pseudo-windows can be put together draw by draw; None
            below the smallest size.
        """
        if n < self.smallest:
            return None
        at_n: Floats = self.mean(n) + self._deviations(n)[self._ranks(n)]
        return at_n

    def centre_error(self, n: int) -> float:
        """Standard error of the mean of ``at(n)``, the same for every window that it judges.

        From the finite pool, whose own deviation has variance ``v(pool)``, and from the number of
        draws.
        """
        (at_pool,) = self.variance(np.array([self.pool]))
        return float(np.sqrt(at_pool + self._deviations(n).var(ddof=1) / self.draws.shape[1]))

    def mean(self, n: int) -> float:
        """Mean of ``at(n)``."""
        sizes = np.append(self.sizes, self.pool)
        means = np.append(self.draws.mean(axis=1), self.whole)
        if n <= self.pool:
            # Negative, as a spline wants its places ascending.
            return float(CubicSpline(-np.log1p(self.pool / sizes), means)(-np.log1p(self.pool / n)))
        x, y = 1 / sizes[-2:], means[-2:]
        return float(y[1] + (y[0] - y[1]) * (1 / n - x[1]) / (x[0] - x[1]))

    def _ranks(self, n: int) -> Ints:
        nearest = int(np.abs(np.log(self.sizes / n)).argmin())
        ranks: Ints = self.draws[nearest].argsort(kind="stable").argsort(kind="stable")
        return ranks

    def _deviations(self, n: int) -> Floats:
        """Ascending deviations from the mean."""
        centred = np.sort(self.draws - self.draws.mean(axis=1, keepdims=True), axis=1)
        variance = centred.var(axis=1, ddof=1)
        at_n, at_last, at_pool = self.variance(np.array([n, self.sizes[-1], self.pool]))
        widening = np.ones_like(variance)
        np.divide(variance + 2 * at_pool, variance, out=widening, where=variance > 0)
        widened = np.sqrt(widening)[:, None] * centred
        if n > self.sizes[-1]:
            shrink = (at_n + at_pool) / (at_last + at_pool) if at_pool > 0 else 1.0
            beyond: Floats = np.sqrt(shrink) * widened[-1]
            return beyond
        right = int(np.searchsorted(self.sizes, n))
        left = max(right - 1, 0)
        share = np.interp(np.log(n), np.log(self.sizes[[left, right]]), [0, 1])
        between: Floats = (1 - share) * widened[left] + share * widened[right]
        return between

    def variance(self, n: Ints) -> Floats:
        """``v(n)``, that of windows around the value that the pool stands for, ``(k,)``.

        By least squares on relative errors, raised for its noise: see ``CAUTION``.
        """
        variance = self.draws.var(axis=1, ddof=1)
        seen = variance > 0
        if not seen.any():
            return np.zeros(len(n))
        powers = np.array([[1], [2]] if seen.sum() >= SIZES_FOR_TWO_POWERS else [[1]])
        within = (1.0 / self.sizes[seen] ** powers - 1.0 / self.pool**powers) / variance[seen]
        wanted = 1.0 / n**powers
        noise = 2 / self.draws.shape[1]  # relative variance of a sample variance
        covariance = noise * np.linalg.inv(within @ within.T)
        stderr = np.sqrt(np.einsum("pn,pq,qn->n", wanted, covariance, wanted))
        law: Floats = _nonnegative_fit(within) @ wanted + CAUTION * stderr
        return law


def _nonnegative_fit(columns: Floats) -> Floats:
    """Coefficients >= 0 of the rows of ``columns`` whose sum is nearest to 1 everywhere."""
    alone = columns.sum(axis=1) / np.square(columns).sum(axis=1)
    both = np.linalg.lstsq(columns.T, np.ones(columns.shape[1]), rcond=None)[0]
    if (both >= 0).all():
        return np.asarray(both, dtype=np.float64)
    return np.where(both < 0, 0.0, alone)
