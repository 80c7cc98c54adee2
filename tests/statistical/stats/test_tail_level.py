"""Level of the tail model: the chance that a new draw lies beyond the quantile of a null."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from monitor.stats.tail import tail_quantile

pytestmark = pytest.mark.statistical

NULLS = 40_000


def levels(law: Any, m: int, alpha: float) -> tuple[float, float]:
    """Mean level over many nulls of ``m`` draws, exact given each, and its standard error."""
    draws = law.rvs((NULLS, m), random_state=np.random.default_rng(m))
    beyond = law.sf(np.array([tail_quantile(null, alpha) for null in draws]))
    return float(beyond.mean()), float(beyond.std(ddof=1) / NULLS**0.5)


@pytest.mark.parametrize(("m", "alpha"), [(200, 1e-3), (200, 1e-4), (400, 1e-4)])
def test_the_level_is_exact_for_an_exponential_tail(m: int, alpha: float) -> None:
    level, stderr = levels(stats.expon(), m, alpha)
    assert level == pytest.approx(alpha, abs=5 * stderr)


@pytest.mark.parametrize("law", [stats.norm(), stats.gamma(20), stats.gamma(4)])
@pytest.mark.parametrize(("m", "alpha"), [(200, 1e-3), (200, 1e-4), (400, 1e-4)])
def test_the_level_is_at_most_alpha_for_log_concave_laws(law: Any, m: int, alpha: float) -> None:
    level, stderr = levels(law, m, alpha)
    assert level <= alpha + 5 * stderr
