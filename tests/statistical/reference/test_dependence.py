"""A reference tells whether its own exchanges depend on each other."""

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from monitor.reference.build import _dependent
from tests.populations import traffic

pytestmark = pytest.mark.statistical

N = 1000


def walked(ranks: np.ndarray, seed: int) -> list[str]:
    """Modalities found dependent when exchanges come in this order along their main direction."""
    pool = traffic(4 * N, seed=seed, dim=64)
    centred = pool.z_t - pool.z_t.mean(axis=0)
    by_rank = np.argsort(centred @ np.linalg.svd(centred, full_matrices=False)[2][0])
    rows = by_rank[(ranks * len(pool)).astype(np.int64)]
    return [m.value for m in _dependent(pool.take(rows))]


def autoregressive(rho: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(N) * (1 - rho**2) ** 0.5
    noise[0] /= (1 - rho**2) ** 0.5
    return norm.cdf(lfilter([1], [1, -rho], noise))


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_an_autoregressive_walk_through_topics_is_noticed_in_the_texts(rho: float) -> None:
    assert "textual" in walked(autoregressive(rho, seed=1), seed=2)


def test_a_daily_rhythm_of_topics_is_noticed_in_the_texts() -> None:
    rng = np.random.default_rng(3)
    hour = np.arange(N) / 250
    assert "textual" in walked((hour + rng.uniform(0, 1 / 3, N)) % 1, seed=4)


def test_independent_exchanges_are_not_called_dependent() -> None:
    found = [walked(np.random.default_rng(seed).random(N), seed) for seed in range(20)]
    assert found == [[]] * 20
