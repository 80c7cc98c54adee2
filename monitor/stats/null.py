"""The distribution of a signal when nothing has drifted, at every ``n``."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHARE_OF_POOL = 4  # pseudo-windows of more than a quarter of the pool overlap too much
SLOPE_SIZES = 3  # the mean is straight in 1/n only over the largest sizes


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
    return np.unique(np.geomspace(smallest, largest, steps + 1).round().astype(np.int64))


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
    """Drift-free draws of one signal on a grid of ``n``; plain arrays, so that it can be stored.

    The draws come from one finite pool and share its deviation from the population: they scatter
    around the pool's own value, with variance ``v(n) - v(pool)``, while the difference of a new
    window from that value has variance ``v(n) + v(pool)``. ``at`` widens the draws accordingly,
    with ``v(n) = linear / n + quadratic / n²``, the Hoeffding decomposition of a statistic of
    degree two, fitted to the spread over the grid.
    """

    sizes: Ints  # (g,) ascending
    draws: Floats  # (g, m), each row ascending
    pool: int  # events the pseudo-windows were drawn from

    @classmethod
    def of(cls, sizes: Ints, draws: Floats, pool: int) -> Self:
        """Check and sort draws.

        Args:
            sizes: ``(g,)`` window sizes, ascending, all below ``pool``.
            draws: ``(g, m)`` values of the signal, finite, m >= 2.
            pool: size of the calibration part.

        Raises:
            ValueError: if shapes, order or values are not as stated.
        """
        sizes, draws = np.asarray(sizes, dtype=np.int64), np.asarray(draws, dtype=np.float64)
        if sizes.ndim != 1 or draws.shape[:-1] != sizes.shape or draws.size < 2 * len(sizes):
            raise ValueError(f"draws {draws.shape} do not belong to sizes {sizes.shape}")
        if not len(sizes) or sizes[0] < 1 or np.any(np.diff(sizes) <= 0) or sizes[-1] >= pool:
            raise ValueError(f"sizes must ascend from 1 to below the pool of {pool}")
        if not np.isfinite(draws).all():
            raise ValueError("null draws must be finite")
        return cls(sizes, np.sort(draws, axis=1), pool)

    def at(self, n: int) -> Floats | None:
        """Draws as they would be at ``n``, or None where ``n`` is too small to say.

        Between two sizes each quantile is interpolated in ``log n``. Bias and spread fall like
        ``1/n`` and ``n^(-1/2)``, both convex in ``log n``, so the chord lies on the outer side
        and the threshold errs towards silence. Beyond the last size the draws there are shifted
        along ``a + b / n`` and rescaled by the law of the variance, pool and all.

        Args:
            n: events in the window.

        Returns:
            ``(m,)`` ascending draws, or None below the smallest size.
        """
        if n < self.sizes[0]:
            return None
        if n > self.sizes[-1]:
            return self._beyond(n)
        widened = self._widened()
        upper = int(np.searchsorted(self.sizes, n))
        if self.sizes[upper] == n:
            return widened[upper]
        low, high = np.log(self.sizes[upper - 1 : upper + 1])
        share = (np.log(n) - low) / (high - low)
        between: Floats = (1 - share) * widened[upper - 1] + share * widened[upper]
        return between

    def _widened(self) -> tuple[Floats, ...]:
        mean = self.draws.mean(axis=1, keepdims=True)
        variance = self.draws.var(axis=1, ddof=1)
        total = variance + 2 * self._variance(np.array([self.pool]))
        factor = np.sqrt(np.divide(total, variance, out=np.ones_like(total), where=variance > 0))
        return tuple(mean + factor[:, None] * (self.draws - mean))

    def _beyond(self, n: int) -> Floats:
        last = self._widened()[-1]
        mean, spread = last.mean(), last.std(ddof=1)
        at_n, at_last, at_pool = self._variance(np.array([n, self.sizes[-1], self.pool]))
        slope, slope_stderr = self._slope()
        step = 1 / n - 1 / self.sizes[-1]
        scale = 1.0
        if spread > 0:
            scale = (at_n + at_pool) / (at_last + at_pool) + (slope_stderr * step / spread) ** 2
        moved: Floats = mean + slope * step + np.sqrt(scale) * (last - mean)
        return moved

    def _variance(self, n: Ints) -> Floats:
        """Fitted ``v(n)``: least squares on relative errors, both coefficients >= 0."""
        variance = self.draws.var(axis=1, ddof=1)
        seen = variance > 0
        if not seen.any():
            return np.zeros(len(n))
        powers = np.array([[1], [2]])
        within = (1.0 / self.sizes[seen] ** powers - 1.0 / self.pool**powers) / variance[seen]
        law: Floats = _nonnegative_fit(within) @ (1.0 / n**powers)
        return law

    def _slope(self) -> tuple[float, float]:
        """Slope of the mean in ``1/n`` over the largest sizes, and its standard error."""
        x = 1.0 / self.sizes[-SLOPE_SIZES:]
        y = self.draws[-SLOPE_SIZES:].mean(axis=1)
        variance = self.draws[-SLOPE_SIZES:].var(axis=1, ddof=1) / self.draws.shape[1]
        if len(x) == 1 or not variance.all():
            return 0.0, 0.0
        weight = 1 / variance
        centred = x - np.average(x, weights=weight)
        information = (weight * centred**2).sum()
        slope = (weight * centred * y).sum() / information
        return float(slope), float(information**-0.5)


def _nonnegative_fit(columns: Floats) -> Floats:
    """Coefficients >= 0 of the two rows of ``columns`` whose sum is nearest to 1 everywhere."""
    alone = columns.sum(axis=1) / np.square(columns).sum(axis=1)
    if columns.shape[1] == 1:  # one size cannot tell the two apart; 1/n is the cautious law
        return np.array([alone[0], 0.0])
    both = np.linalg.lstsq(columns.T, np.ones(columns.shape[1]), rcond=None)[0]
    if (both >= 0).all():
        return np.asarray(both, dtype=np.float64)
    return np.array([alone[0], 0.0]) if both[1] < 0 else np.array([0.0, alone[1]])
