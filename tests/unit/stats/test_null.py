import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from monitor.stats import Null, null_sizes, pseudo_windows

SIZES = np.array([25, 50, 100])
POOL = 400


def null(
    mean: tuple[float, float] = (0.1, 2.0),
    spread: tuple[float, float] = (1.0, 0.0),
    *,
    sizes: npt.NDArray[np.int64] = SIZES,
    m: int = 200_000,
) -> Null:
    """Null that follows its laws exactly: mean ``a + b/n``, variance ``c/n + d/n²``.

    So many draws that the allowance for their noise is below 4 % of the variance.
    """
    shape = np.linspace(-1, 1, m)
    shape /= shape.std(ddof=1)
    linear, quadratic = spread
    variance = linear * (1 / sizes - 1 / POOL) + quadratic * (1 / sizes**2 - 1 / POOL**2)
    draws = mean[0] + mean[1] / sizes[:, None] + np.sqrt(variance)[:, None] * shape
    return Null.of(sizes, draws, pool=POOL, whole=mean[0] + mean[1] / POOL)


def moments(null: Null, n: int) -> tuple[float, float]:
    draws = null.at(n)
    assert draws is not None
    return float(draws.mean()), float(draws.var(ddof=1))


@given(pool=st.integers(0, 100_000), smallest=st.integers(1, 400))
def test_sizes_ascend_by_at_most_a_factor_of_two_to_a_quarter_of_the_pool(
    pool: int, smallest: int
) -> None:
    sizes = null_sizes(pool, smallest).tolist()
    assert all(a < b <= 2 * a + 1 for a, b in itertools.pairwise(sizes))
    assert sizes[:1] + sizes[-1:] == ([smallest, pool // 4] if pool // 4 >= smallest else [])


@pytest.mark.parametrize(
    ("pool", "smallest", "sizes"),
    [
        (1600, 25, [25, 50, 100, 200, 400]),
        (400, 30, [30, 55, 100]),  # the root of 3,000 is 54.8
        (120, 30, [30]),
        (119, 30, []),
        (400, 0, []),
    ],
)
def test_sizes_are_as_few_as_steps_of_two_allow(pool: int, smallest: int, sizes: list[int]) -> None:
    assert null_sizes(pool, smallest).tolist() == sizes


def test_pseudo_windows_repeat_no_event() -> None:
    windows = pseudo_windows(50, 20, 30, np.random.default_rng(1))
    assert [len(set(w)) for w in windows.tolist()] == [20] * 30


def test_pseudo_windows_reach_every_event_of_the_pool() -> None:
    windows = pseudo_windows(50, 20, 60, np.random.default_rng(1))
    assert np.unique(windows).tolist() == list(range(50))


def test_a_window_may_be_all_of_its_pool_or_one_event() -> None:
    whole, single = (pseudo_windows(3, n, 1, np.random.default_rng(1)) for n in (3, 1))
    assert (sorted(whole[0].tolist()), single.shape) == ([0, 1, 2], (1, 1))


def test_pseudo_windows_come_from_their_generator_alone() -> None:
    first, again = (pseudo_windows(50, 20, 3, np.random.default_rng(7)) for _ in range(2))
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize("n", [0, 51])
def test_windows_that_the_pool_cannot_fill_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        pseudo_windows(50, n, 3, np.random.default_rng(1))


@pytest.mark.parametrize("n", [0, 1, 24])
def test_below_the_smallest_size_there_is_no_null(n: int) -> None:
    assert null().at(n) is None


@pytest.mark.parametrize("sizes", [[100], [25, 50, 100], [25, 35, 50, 70, 100]])
@pytest.mark.parametrize("n", [100, 400, 1200])
def test_the_mean_follows_its_law_on_the_grid_and_beyond_the_pool(n: int, sizes: list[int]) -> None:
    lawful = null(sizes=np.array(sizes), m=9)
    assert moments(lawful, n)[0] == pytest.approx(0.1 + 2 / n, rel=1e-9)
    assert lawful.mean(n) == pytest.approx(0.1 + 2 / n, rel=1e-9)


def entropy_lost(n: float, dim: int) -> float:
    """Mean entropy that ``n`` random directions in ``dim`` lack; it bends at ``n = dim`` (Page)."""
    small, large = sorted((n, dim))
    return float(np.log(dim) - np.log(small) + small / (2 * large))


@pytest.mark.parametrize("dim", [1, 30, 60, 90, 150, 300, 1000])
@pytest.mark.parametrize("n", [30, 37, 60, 71, 85, 120, 140, 170, 250, 300])
def test_between_sizes_the_mean_follows_the_bend_of_a_divergence(n: int, dim: int) -> None:
    sizes = np.append(SIZES, POOL // 2)
    means = np.array([entropy_lost(size, dim) for size in sizes])
    bent = Null.of(sizes, means[:, None] + [-1e-3, 1e-3], pool=POOL, whole=entropy_lost(POOL, dim))
    step = np.log(2) * n * (entropy_lost(n, dim) - entropy_lost(n * 1.001, dim)) / (n * 1e-3)
    assert moments(bent, n)[0] == pytest.approx(entropy_lost(n, dim), abs=0.03 * step)


@pytest.mark.parametrize("spread", [(1.0, 0.0), (0.0, 30.0), (0.5, 20.0)])
@pytest.mark.parametrize("n", [25, 50, 100, 150, 400, 1200])
def test_the_variance_is_that_of_a_window_plus_that_of_the_pool(
    n: int, spread: tuple[float, float]
) -> None:
    def law(size: int) -> float:
        return spread[0] / size + spread[1] / size**2

    assert moments(null(spread=spread), n)[1] == pytest.approx(law(n) + law(POOL), rel=0.04)


def random_null(m: int) -> Null:
    draws = np.random.default_rng(5).gamma(2, size=(3, m)) / SIZES[:, None]
    return Null.of(SIZES, draws, pool=POOL, whole=0.01)


def test_draws_at_a_size_are_widened_by_twice_the_variance_of_the_pool() -> None:
    drawn = random_null(m=6)
    (of_pool,) = drawn.variance(np.array([POOL]))
    expected = drawn.draws[1].var(ddof=1) + 2 * of_pool
    assert moments(drawn, 50)[1] == pytest.approx(expected)


@pytest.mark.parametrize("n", [25, 30, 50, 80, 100])
def test_between_sizes_each_quantile_lies_on_the_chord_in_log_n(n: int) -> None:
    drawn = random_null(m=6)

    def deviations(size: int) -> npt.NDArray[np.float64]:
        return np.sort(np.asarray(drawn.at(size))) - drawn.mean(size)

    left, right = (25, 50) if n < 50 else (50, 100)
    share = np.log(n / left) / np.log(right / left)
    expected = (1 - share) * deviations(left) + share * deviations(right)
    assert deviations(n) == pytest.approx(expected)


def test_the_variance_of_one_size_falls_as_one_over_n_raised_by_half_its_error() -> None:
    draws = np.array([[1.0, 2.0, 4.0, 4.0]])
    single = Null.of(np.array([100]), draws, pool=POOL, whole=0.0)
    linear = draws.var(ddof=1) / (1 / 100 - 1 / POOL)
    raised = linear * (1 + 0.5 * (2 / 4) ** 0.5)  # the relative error of a variance of four draws
    assert single.variance(np.array([20, 800])) == pytest.approx([raised / 20, raised / 800])


def test_two_sizes_are_too_few_to_tell_two_powers_of_n_apart() -> None:
    steep = Null.of(SIZES[:2], np.array([[0.0, 3.0], [0.0, 1.0]]), pool=POOL, whole=0.0)
    few, many = steep.variance(np.array([20, 800]))
    assert few / many == pytest.approx(800 / 20)


@pytest.mark.parametrize("n", [25, 100, 400, 1200])
def test_the_variance_is_raised_by_half_of_what_it_scatters(n: int) -> None:
    rng, trials, m = np.random.default_rng(6), 1500, 50
    spread = 0.5 * (1 / SIZES - 1 / POOL) + 20 * (1 / SIZES**2 - 1 / POOL**2)
    found = [
        Null.of(
            SIZES, spread[:, None] ** 0.5 * rng.standard_normal((3, m)), pool=POOL, whole=0.0
        ).variance(np.array([n]))[0]
        for _ in range(trials)
    ]
    raised = (np.mean(found) - (0.5 / n + 20 / n**2)) / np.std(found)
    # A mean of so many; and the error is scaled by the variances that were seen, so that larger
    # ones are raised by more: within a tenth.
    assert raised == pytest.approx(0.5, abs=4.5 / trials**0.5 + 0.1)


@pytest.mark.parametrize("power", [0.2, 1.0, 1.5, 2.0, 3.0])
def test_the_law_of_the_variance_has_no_negative_part(power: float) -> None:
    """As non-negative least squares finds it, whatever the power of n that the spread has."""
    variance = 1.0 / SIZES**power
    shape = np.linspace(-1, 1, 100_001)
    draws = np.sqrt(variance)[:, None] * shape / shape.std(ddof=1)
    sizes = np.array([10, 25, 60, 100])
    columns = [(1 / SIZES**p - 1 / POOL**p) / variance for p in (1.0, 2.0)]
    (linear, quadratic), _ = nnls(np.transpose(columns), np.ones(3))
    found = Null.of(SIZES, draws, pool=POOL, whole=0.0).variance(sizes)
    assert found == pytest.approx(linear / sizes + quadratic / sizes**2, rel=0.05)


def test_a_size_at_which_nothing_varied_does_not_hide_that_others_do() -> None:
    draws = np.array([[1.0, 2.0, 3.0], [1.0, 1.5, 2.0], [1.0, 1.0, 1.0]])
    still = Null.of(SIZES, draws, pool=POOL, whole=1.0)
    others = Null.of(SIZES[:2], draws[:2], pool=POOL, whole=1.0)
    assert still.variance(np.array([70])) == pytest.approx(others.variance(np.array([70])))


@pytest.mark.parametrize("n", [25, 50, 100])
def test_the_centre_is_off_by_the_error_of_the_pool_and_that_of_few_draws(n: int) -> None:
    drawn = random_null(m=6)
    (of_pool,) = drawn.variance(np.array([POOL]))
    expected = (of_pool + moments(drawn, n)[1] / 6) ** 0.5
    assert drawn.centre_error(n) == pytest.approx(expected)


@pytest.mark.parametrize("spread", [(1.0, 0.0), (0.0, 30.0)])
@pytest.mark.parametrize("n", [26, 35, 49, 51, 70, 99])
def test_between_sizes_the_null_is_no_narrower_than_its_law(
    n: int, spread: tuple[float, float]
) -> None:
    linear, quadratic = spread
    law = linear * (1 / n + 1 / POOL) + quadratic * (1 / n**2 + 1 / POOL**2)
    assert moments(null(spread=spread), n)[1] >= law


@pytest.mark.parametrize("n", [25, 70, 100, 150, 1200])
def test_few_draws_make_the_null_wider_than_many(n: int) -> None:
    assert moments(null(m=50), n)[1] > moments(null(), n)[1]


def test_the_null_has_no_jump_at_the_largest_size() -> None:
    at_last, after = null(m=200).at(100), null(m=200).at(101)
    assert after == pytest.approx(at_last, abs=2e-3)


@pytest.mark.parametrize(("n", "nearest"), [(25, 0), (34, 0), (37, 1), (60, 1), (100, 2), (999, 2)])
def test_draws_keep_the_order_of_their_pseudo_windows_at_the_nearest_size(
    n: int, nearest: int
) -> None:
    random = np.random.default_rng(3).gamma(2, size=(3, 200)) / SIZES[:, None]
    measured = Null.of(SIZES, random, pool=POOL, whole=0.01)
    assert np.argsort(np.asarray(measured.at(n))).tolist() == np.argsort(random[nearest]).tolist()


def test_one_size_is_enough_and_keeps_to_the_cautious_law() -> None:
    single = null(sizes=np.array([100]))
    assert moments(single, 200)[1] == pytest.approx(1 / 200 + 1 / POOL, rel=0.04)


def test_a_degenerate_null_stays_degenerate_at_every_n() -> None:
    still = Null.of(SIZES, np.full((3, 200), 0.25), pool=POOL, whole=0.25)
    values = [set(np.asarray(still.at(n)).tolist()) for n in (25, 60, 100, 1000)]
    assert values == [{0.25}] * 4


def test_a_null_survives_being_stored_as_arrays() -> None:
    one = null()
    again = Null.of(one.sizes, one.draws, pool=one.pool, whole=one.whole)
    assert np.array_equal(np.asarray(again.at(70)), np.asarray(one.at(70)))


@pytest.mark.parametrize(
    ("sizes", "draws", "whole"),
    [
        ([[25, 50]], np.zeros((1, 2, 9)), 0.0),
        ([25, 50], np.zeros((2, 2, 9)), 0.0),
        ([25, 50], np.zeros((3, 9)), 0.0),
        ([25, 50], np.zeros((2, 1)), 0.0),
        ([50, 25], np.zeros((2, 9)), 0.0),
        ([25, 25], np.zeros((2, 9)), 0.0),
        ([0, 25], np.zeros((2, 9)), 0.0),
        ([25, 400], np.zeros((2, 9)), 0.0),
        ([], np.zeros((0, 9)), 0.0),
        ([25, 50], np.array([[0, 1], [np.nan, 1]]), 0.0),
        ([25, 50], np.zeros((2, 9)), np.nan),
    ],
)
def test_draws_that_make_no_null_are_refused(
    sizes: npt.ArrayLike, draws: npt.NDArray[np.float64], whole: float
) -> None:
    with pytest.raises(ValueError, match=r"draws|sizes"):
        Null.of(np.array(sizes, dtype=np.int64), draws, pool=POOL, whole=whole)


def test_windows_may_be_of_one_event_and_draws_of_neighbouring_sizes() -> None:
    assert Null.of(np.array([1, 2]), np.eye(2), pool=3, whole=0.0).smallest == 1
