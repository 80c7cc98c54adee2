import numpy as np
import pytest

from monitor.stats.tail import tail_quantile


@pytest.mark.parametrize(("m", "k"), [(400, 20), (200, 10), (50, 10), (5, 4)])
def test_a_further_exponential_draw_lies_beyond_the_quantile_as_often_as_stated(
    m: int, k: int
) -> None:
    # A k + 1-th largest of 0, and a mean excess of 1 above it.
    draws = np.concatenate([-np.arange(m - k), np.linspace(0.1, 1.9, k)])
    quantile = tail_quantile(np.random.default_rng(4).permutation(draws), 1e-4)
    # A further one is above that with the first chance and, a mean of k being a gamma variable,
    # above the quantile with the second.
    assert (k + 1) / (m + 1) * (1 + quantile / k) ** -k == pytest.approx(1e-4)


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
