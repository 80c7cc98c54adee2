"""Interval and predictive law of a share, from their definitions."""

import math

from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import beta, binom


def clopper_pearson(count: int, n: int, confidence: float) -> tuple[float, float]:
    """The shares at which a one-sided binomial test stops rejecting the count."""
    tail = (1 - confidence) / 2
    low = brentq(lambda p: binom.sf(count - 1, n, p) - tail, 1e-12, 1 - 1e-12) if count else 0.0
    high = brentq(lambda p: binom.cdf(count, n, p) - tail, 1e-12, 1 - 1e-12) if count < n else 1.0
    return float(low), float(high)


def predictive(k: int, n: int, count: int, pool: int) -> float:
    """Probability of k of n, the binomial averaged over Jeffreys' posterior of the share."""
    posterior = beta(count + 0.5, pool - count + 0.5)

    def weighted(p: float) -> float:
        return float(math.comb(n, k) * p**k * (1 - p) ** (n - k) * posterior.pdf(p))

    value, _ = quad(weighted, 0, 1, epsabs=1e-12, limit=400, points=[posterior.mean()])
    return float(value)


def between(counts: list[int], sizes: list[int]) -> float:
    """Kleinman's moment estimate of ``r`` in ``Var p_i = r p (1 - p)``, weights ``w_i = n_i``."""
    w = sum(sizes)
    p = sum(counts) / w
    s = sum(n * (k / n - p) ** 2 for k, n in zip(counts, sizes, strict=True))
    by_chance = sum(n / n * (1 - n / w) for n in sizes)
    room = sum(n * (1 - n / w) for n in sizes)
    return (s - p * (1 - p) * by_chance) / (p * (1 - p) * (room - by_chance))
