import numpy as np
import numpy.typing as npt
import pytest

from monitor.stats import (
    BurnIn,
    Direction,
    Null,
    ShareBurnIn,
    dependence,
    share_of_windows,
    windows_needed,
)
from monitor.stats.burn_in import alpha_supported
from tests.oracles import shares as oracle

POOL = 400
SIZES = np.array([25, 50, 100])


def null(variance: float = 1.0) -> Null:
    """Mean ``0.1 + 2/n`` and variance ``variance / n``, without noise."""
    shape = np.linspace(-1, 1, 20_001)
    shape /= shape.std(ddof=1)
    spread = np.sqrt(variance * (1 / SIZES - 1 / POOL))[:, None]
    return Null.of(SIZES, 0.1 + 2 / SIZES[:, None] + spread * shape, pool=POOL, whole=0.105)


def windows(
    count: int, seed: int, *, between: float = 0.0, centre: float = 0.0, n: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Healthy windows of varying n, off the null by ``centre`` and among themselves."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(25, 300, count) if n is None else np.full(count, n)
    spread = np.sqrt(1 / sizes + between)
    return sizes, 0.1 + 2 / sizes + centre + spread * rng.standard_normal(count)


def test_at_their_own_n_windows_stay_as_they_were() -> None:
    sizes, values = windows(50, seed=1, between=0.01, n=80)
    np.testing.assert_allclose(np.asarray(BurnIn.of(null(), sizes, values).at(80)), values)


@pytest.mark.parametrize("between", [0.0, 0.05])
@pytest.mark.parametrize("n", [30, 100, 600])
def test_at_another_n_windows_have_the_mean_and_spread_that_belong_there(
    n: int, between: float
) -> None:
    m = 20_000
    sizes, values = windows(m, seed=2, between=between, centre=0.3)
    draws = np.asarray(BurnIn.of(null(), sizes, values).at(n))
    variance = 1 / n + between
    # The variance beyond chance is estimated among windows of mean variance 0.011 by chance.
    error = (2 / m) ** 0.5 * (0.011 + between) / variance
    assert draws.mean() == pytest.approx(0.1 + 2 / n + 0.3, abs=4 * ((0.011 + between) / m) ** 0.5)
    assert draws.var() == pytest.approx(variance, rel=4 * error + 0.01)


def test_windows_differ_beyond_chance_by_what_chance_leaves_of_their_variance() -> None:
    burn_in = BurnIn.of(null(), np.array([50, 50]), np.array([1.14, 3.14]))
    assert burn_in.between == pytest.approx(2 - 1 / 50, rel=1e-3)


def test_windows_without_a_value_keep_their_place() -> None:
    sizes, values = windows(5, seed=3)
    values[2] = np.nan
    found = np.isnan(np.asarray(BurnIn.of(null(), sizes, values).at(60)))
    assert found.tolist() == [False, False, True, False, False]


def test_below_the_smallest_size_of_the_null_nothing_is_said() -> None:
    burn_in = BurnIn.of(null(), *windows(5, seed=3))
    assert [burn_in.at(n) is None for n in (24, 25)] == [True, False]


@pytest.mark.parametrize(("between", "expected"), [(0.0, 1.0), (0.03, 2.0)])
def test_dispersion_is_the_spread_in_units_of_chance(between: float, expected: float) -> None:
    m = 4_000
    found = BurnIn.of(null(), *windows(m, seed=4, between=between, n=100)).dispersion()
    assert found == pytest.approx(expected, rel=4 * (1 / (2 * m)) ** 0.5 + 0.01)


def test_dispersion_of_a_few_windows_takes_their_own_mean_into_account() -> None:
    found = BurnIn.of(null(), np.array([50, 50]), np.array([1.14, 3.14])).dispersion()
    assert found == pytest.approx((2 * 50) ** 0.5, rel=0.01)


def test_windows_of_a_signal_that_never_varies_stay_as_they_were() -> None:
    still = Null.of(SIZES, np.full((3, 9), 0.25), pool=POOL, whole=0.25)
    burn_in = BurnIn.of(still, np.full(4, 60), np.full(4, 0.5))
    assert (np.asarray(burn_in.at(99)).tolist(), burn_in.dispersion()) == ([0.5] * 4, 1.0)


@pytest.mark.parametrize("n", [50, 200])
def test_the_centre_is_as_sure_as_independent_windows_make_it(n: int) -> None:
    sizes, values = windows(400, seed=5, n=100, between=0.02)
    doubled = BurnIn.of(null(), np.repeat(sizes, 2), np.repeat(values, 2))
    independent = 800 / dependence(np.repeat(values, 2))
    expected = ((1 / n + doubled.between) / independent) ** 0.5
    assert doubled.centre_error(n) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("sizes", "values"),
    [
        ([50, 50, 50], [0.1, 0.2]),
        ([[50, 50]], [[0.1, 0.2]]),
        ([50, 50], [0.1, np.nan]),
        ([50, 50, 50], [0.1, 0.2, np.inf]),
        ([50, 9], [1, 2]),
    ],
)
def test_windows_that_make_no_burn_in_are_refused(sizes: list[int], values: list[float]) -> None:
    with pytest.raises(ValueError, match="windows"):
        BurnIn.of(null(), np.array(sizes), np.array(values))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_dependence_is_that_of_an_autoregressive_series(rho: float) -> None:
    noise = np.random.default_rng(6).standard_normal(50_000)
    series = np.empty_like(noise)
    last = 0.0
    for i, x in enumerate(noise):
        series[i] = last = rho * last + x
    assert dependence(series) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize(
    ("series", "expected"),
    [
        # Products by lag 8, 5, 2, -1, -4: two pairs, of sums 13 and 1.
        ([1, 1, 1, 1, -1, -1, -1, -1], 2 * 14 / 8 - 1),
        ([1, -1, 1, -1, 1, -1], 1.0),
        # Pairs of 9, 1 and 1; the third ends at lag 5, beyond the half.
        ([-1, -1, -1, 1, -1, 1, -1, 1, 1, 1], 2 * 10 / 10 - 1),
    ],
)
def test_dependence_sums_pairs_of_lags_in_the_first_half(
    series: list[float], expected: float, scale: float
) -> None:
    assert dependence(scale * np.array(series)) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.5, 0.1])  # whose mean is another number by rounding
@pytest.mark.parametrize("windows", [9, 50, 168])
def test_a_still_series_depends_on_nothing(windows: int, value: float) -> None:
    assert dependence(np.full(windows, value)) == 1.0


@pytest.mark.parametrize(
    ("alpha", "needed"), [(0.05, 40), (1 / 1280, 40), (1 / 5040, 158), (1 / 10080, 315)]
)
def test_rarer_alarms_need_more_windows(alpha: float, needed: int) -> None:
    assert windows_needed(alpha) == needed


@pytest.mark.parametrize("windows", [40, 158, 1000])
def test_what_windows_support_is_what_needs_them(windows: int) -> None:
    assert windows_needed(alpha_supported(windows) * (1 + 1e-9)) == windows


@pytest.mark.parametrize("pool", [60.0, 1e9])
def test_the_law_of_shares_knows_what_windows_differ_by(pool: float) -> None:
    rng, m, n = np.random.default_rng(7), 2_000, 100
    share = rng.beta(0.2 * pool, 0.8 * pool, m)
    law = share_of_windows(rng.binomial(n, share), np.full(m, n))
    mass = law.probabilities(n)
    mean = float((np.arange(n + 1) * mass).sum())
    found = float((np.square(np.arange(n + 1) - mean) * mass).sum())
    expected = n * 0.2 * 0.8 * (1 + (n - 1) / (pool + 1))
    assert found == pytest.approx(expected, rel=4 * (2 / m) ** 0.5)


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([3, 9, 4, 12], [20, 20, 20, 20]),
        ([3, 9, 4, 40], [20, 40, 10, 80]),
        ([5, 5, 5, 5], [20, 20, 20, 20]),  # alike, more than by chance: nothing beyond it
        ([20, 0, 20, 0], [20, 20, 20, 20]),  # all or nothing: as much as a law is given
    ],
)
def test_the_law_of_shares_has_the_moments_of_the_windows(
    counts: list[int], sizes: list[int]
) -> None:
    law, total = share_of_windows(np.array(counts), np.array(sizes)), sum(sizes)
    between = min(max(oracle.between(counts, sizes), 0.0), 0.5)
    of_mean = sum(n * (1 + (n - 1) * between) for n in sizes) / total**2
    found = (law.count / law.pool, 1 / law.pool)
    assert found == pytest.approx((sum(counts) / total, between + of_mean))


@pytest.mark.parametrize("count", [0, 50])
def test_shares_that_never_vary_are_as_sure_as_all_events_make_them(count: int) -> None:
    law = share_of_windows(np.full(10, count), np.full(10, 50))
    assert (law.count, law.pool) == (count * 10, 500)


def shares(counts: npt.NDArray[np.int64], n: int) -> ShareBurnIn:
    return ShareBurnIn.of(np.full(len(counts), n), counts / n)


def test_shares_are_judged_by_the_windows_themselves_where_these_resolve_alpha() -> None:
    # Two kinds of hours, and nothing between: no beta law has such levels.
    law = shares(np.repeat([10, 30], 50), 100)
    found = [
        law.decide(count, 100, direction=Direction.BOTH, alpha=0.05).is_drifting
        for count in (9, 10, 30, 31)
    ]
    assert found == [True, False, False, True]


@pytest.mark.parametrize(
    ("direction", "windows", "alpha"),
    [(Direction.HIGH, 100, 0.01), (Direction.BOTH, 200, 0.01), (Direction.LOW, 20, 0.05)],
)
def test_windows_resolve_alpha_where_one_more_would_be_the_most_extreme_so_often(
    direction: Direction, windows: int, alpha: float
) -> None:
    def is_by_windows(m: int) -> bool:
        law = shares(np.resize([10, 20, 30], m), 100)
        decision = law.decide(50, 100, direction=direction, alpha=alpha)
        return decision.threshold in {0.1, 0.3}

    assert (is_by_windows(windows - 1), is_by_windows(windows - 2)) == (True, False)


@pytest.mark.parametrize("direction", [Direction.HIGH, Direction.BOTH, Direction.LOW])
def test_beyond_what_windows_resolve_no_share_that_was_seen_is_an_alarm(
    direction: Direction,
) -> None:
    extreme, further = (10, 9) if direction is Direction.LOW else (90, 91)
    counts = np.full(3_000, 50)
    counts[7] = extreme
    law = shares(counts, 100)
    assert law.law.decide(extreme, 100, direction=direction, alpha=1e-4).is_drifting
    found = [
        law.decide(count, 100, direction=direction, alpha=1e-4).is_drifting
        for count in (extreme, further)
    ]
    assert found == [False, True]


@pytest.mark.parametrize("count", [35, 65])
def test_beyond_what_windows_resolve_their_law_judges_what_it_has_seen(count: int) -> None:
    law = shares(np.resize([40, 50, 60], 300), 100)
    found = law.decide(count, 100, direction=Direction.BOTH, alpha=1e-4)
    assert found == law.law.decide(count, 100, direction=Direction.BOTH, alpha=1e-4)


def test_the_mean_share_is_that_of_the_windows() -> None:
    assert shares(np.array([10, 20, 60]), 100).mean(50) == pytest.approx(0.3)


def test_a_share_of_one_event_has_a_null_and_one_of_none_has_not() -> None:
    windows = shares(np.array([10, 20, 60]), 100).windows
    assert [windows.at(n) is None for n in (0, 1)] == [True, False]


def test_shares_that_never_vary_still_allow_for_chance() -> None:
    law = shares(np.ones(60, dtype=np.int64), 100)
    rare = law.decide(2, 100, direction=Direction.HIGH, alpha=1e-3)
    assert not rare.is_drifting
    assert law.decide(12, 100, direction=Direction.HIGH, alpha=1e-3).is_drifting


def test_shares_are_of_whole_events() -> None:
    law = ShareBurnIn.of(np.array([100, 100]), np.array([0.29, 0.29]))  # 28.999999999999996 of 100
    assert law.law.count / law.law.pool == pytest.approx(0.29)


def test_a_window_without_a_share_says_nothing_of_it() -> None:
    values = np.array([0.1, np.nan, 0.2, 0.15])
    law = ShareBurnIn.of(np.array([50, 0, 50, 40]), values)
    assert law.law.count == pytest.approx(21 * law.law.pool / 140)
