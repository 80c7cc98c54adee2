import numpy as np
import pytest

from monitor.stats.tail import tail_quantile


def test_the_quantile_grows_as_alpha_shrinks() -> None:
    draws = np.random.default_rng(1).standard_normal(200)
    quantiles = [tail_quantile(draws, alpha) for alpha in (4e-3, 1e-3, 1e-4, 1e-6, 1e-12)]
    assert quantiles == sorted(set(quantiles))


def test_the_quantile_is_never_below_the_largest_draw() -> None:
    draws = np.append(np.zeros(199), 50.0)
    assert tail_quantile(draws, 1 / 202) >= 50


def test_the_quantile_moves_and_scales_with_the_draws() -> None:
    draws = np.random.default_rng(2).gamma(4, size=200)
    moved = tail_quantile(3 * draws + 7, 1e-4)
    assert moved == pytest.approx(3 * tail_quantile(draws, 1e-4) + 7, rel=1e-12)


@pytest.mark.parametrize("m", [2, 3, 11])
def test_few_draws_have_a_finite_quantile(m: int) -> None:
    draws = np.random.default_rng(3).standard_normal(m)
    assert draws.max() <= tail_quantile(draws, 1e-4) < np.inf


def test_equal_draws_have_their_value_as_quantile() -> None:
    assert tail_quantile(np.full(200, 0.3), 1e-4) == 0.3
