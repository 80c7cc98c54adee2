"""Whether a q has learned: hardly ever from unrelated pairs, always from related ones."""

import numpy as np
import pytest
from scipy.stats import binom

from monitor.reference.conditional import Pairs, QReport, assess, train_q
from monitor.reference.signals import single_threaded
from tests.populations import unit

pytestmark = pytest.mark.statistical

TOPICS = 8
SEEDS = 40
SIZES = ((60, 32), (240, 32), (120, 256))
# What two standard errors let through: 2.3 %, and never more.
ACCEPTED = 0.023


def pairs(n: int, dim: int, link: float, rng: np.random.Generator) -> Pairs:
    """Exchanges with a response and a target that say the same; ``link`` 0: about nothing asked."""
    to_x, to_y = np.random.default_rng(dim).standard_normal((2, TOPICS, dim))
    asked, other = rng.standard_normal((2, n, TOPICS))
    said = (link * asked + (1 - link**2) ** 0.5 * other) @ to_y + 3
    x = unit(asked @ to_x + 3 + rng.standard_normal((n, dim)))
    response, target = (unit(said + rng.standard_normal((n, dim))) for _ in range(2))
    exchange = np.arange(n)
    return Pairs(
        np.concatenate((x, x)),
        np.concatenate((response, target)),
        np.concatenate((exchange, exchange)),
    )


def report(n: int, dim: int, link: float, seed: int) -> QReport:
    rng = np.random.default_rng([seed, n, dim])
    known, unseen = pairs(n, dim, link, rng), pairs(120, dim, link, rng)
    with single_threaded():
        q = train_q(known.x, known.y, seed=seed, groups=known.groups)
    return assess(q.network, made_from=known, unseen=unseen)


@pytest.mark.parametrize(("n", "dim"), SIZES)
def test_unrelated_pairs_hardly_ever_pass_for_learned(n: int, dim: int) -> None:
    accepted = sum(report(n, dim, 0.0, seed).has_learned for seed in range(SEEDS))
    # Fails by chance once in ten thousand runs if the rate is as large as that.
    assert accepted <= binom.ppf(1 - 1e-4, SEEDS, ACCEPTED)


@pytest.mark.parametrize(("n", "dim"), SIZES)
@pytest.mark.parametrize("link", [0.5, 0.9])
def test_related_pairs_always_do(n: int, dim: int, link: float) -> None:
    assert all(report(n, dim, link, seed).has_learned for seed in range(8))
