"""Law of the largest change of a state's share, from its definition."""

import itertools
import math

from scipy.integrate import dblquad


def change(counts: list[int], known: list[int]) -> float:
    """How far the share of the state that moved most has moved."""
    return max(abs(k / sum(counts) - c / sum(known)) for k, c in zip(counts, known, strict=True))


def exceeds(value: float, n: int, known: tuple[int, int, int]) -> float:
    """P(change >= value) among n events, Dirichlet-multinomial with Jeffreys' prior."""
    a = [c + 0.5 for c in known]
    norm = math.gamma(sum(a)) / math.prod(math.gamma(x) for x in a)

    def posterior(q: float, p: float) -> float:
        return norm * p ** (a[0] - 1) * q ** (a[1] - 1) * (1 - p - q) ** (a[2] - 1)

    outcomes = [
        k
        for k in itertools.product(range(n + 1), repeat=3)
        if sum(k) == n and change(list(k), list(known)) >= value - 1e-9
    ]

    def chance(q: float, p: float) -> float:
        return sum(
            math.factorial(n)
            / math.prod(map(math.factorial, k))
            * p ** k[0]
            * q ** k[1]
            * (1 - p - q) ** k[2]
            for k in outcomes
        )

    found, _ = dblquad(
        lambda q, p: posterior(q, p) * chance(q, p), 0, 1, 0, lambda p: 1 - p, epsabs=1e-8
    )
    return float(found)
