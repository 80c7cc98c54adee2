import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from monitor.stats import Direction, ShareNull, novelty_threshold, share
from tests.oracles import shares as oracle


def test_at_most_one_percent_of_the_reference_lies_above_its_threshold() -> None:
    distances = np.random.default_rng(1).exponential(size=1037)
    above = (distances > novelty_threshold(distances)).mean()
    assert 0.009 <= above <= 0.01


def test_the_threshold_of_one_distance_is_that_distance() -> None:
    assert novelty_threshold(np.array([0.4])) == 0.4


@pytest.mark.parametrize("distances", [[], [0.1, np.nan]])
def test_no_distance_or_a_broken_one_has_no_threshold(distances: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one distance"):
        novelty_threshold(np.array(distances))


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (0, 30), (1, 30), (12, 30), (30, 30)])
def test_interval_inverts_the_binomial_test(count: int, n: int) -> None:
    found = share(count, n)
    assert (found.low, found.high) == pytest.approx(
        oracle.clopper_pearson(count, n, 0.95), abs=1e-9
    )
    assert (found.value, found.n) == (count / n, n)


@pytest.mark.parametrize(("count", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_a_count_that_is_none_is_refused(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="count"):
        share(count, n)
    with pytest.raises(ValueError, match="count"):
        ShareNull(count, n)
    with pytest.raises(ValueError, match="count"):
        ShareNull(1, 2).decide(count, n, direction=Direction.HIGH, alpha=0.01)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, np.nan])
def test_an_alpha_that_is_no_probability_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        ShareNull(1, 2).decide(1, 2, direction=Direction.HIGH, alpha=alpha)


@pytest.mark.parametrize(("count", "pool"), [(0, 40), (3, 40), (40, 40)])
def test_predictive_law_is_the_binomial_averaged_over_the_posterior(count: int, pool: int) -> None:
    expected = [oracle.predictive(k, 12, count, pool) for k in range(13)]
    assert ShareNull(count, pool).probabilities(12) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("count", "pool"), [(0, 40), (3, 40), (40, 40)])
def test_the_mean_share_is_that_of_the_predictive_law(count: int, pool: int) -> None:
    null = ShareNull(count, pool)
    assert null.mean(9) == pytest.approx(null.probabilities(9) @ np.arange(10) / 9)


@pytest.mark.parametrize(("count", "pool"), [(0, 40), (3, 40), (40, 40)])
def test_shares_vary_by_chance_as_the_binomial_does(count: int, pool: int) -> None:
    null = ShareNull(count, pool)
    expected = [binom.var(n, null.mean(n)) / n**2 for n in (1, 7, 200)]
    assert null.variance(np.array([1, 7, 200])) == pytest.approx(expected)


@pytest.mark.parametrize("k", [0, 4, 12])
def test_a_p_value_is_the_predictive_chance_of_as_many_doubled_for_two_sides(k: int) -> None:
    null = ShareNull(10, 40)
    chances = [oracle.predictive(j, 12, 10, 40) for j in range(13)]
    low, high = sum(chances[: k + 1]), sum(chances[k:])
    found = [null.decide(k, 12, direction=d, alpha=0.01).p_value for d in Direction]
    assert found == pytest.approx([high, low, min(1.0, 2 * min(low, high))], abs=1e-7)


def test_predictive_law_of_a_large_reference_is_the_binomial() -> None:
    law = ShareNull(300_000, 1_000_000).probabilities(2)
    assert law == pytest.approx([0.49, 0.42, 0.09], abs=1e-5)


@given(
    count=st.integers(0, 60),
    n=st.integers(1, 300),
    alpha=st.floats(1e-6, 0.4),
    direction=st.sampled_from(Direction),
)
def test_the_predictive_chance_of_an_alarm_is_at_most_alpha(
    count: int, n: int, alpha: float, direction: Direction
) -> None:
    null = ShareNull(count, 60)
    alarms = [null.decide(k, n, direction=direction, alpha=alpha).is_drifting for k in range(n + 1)]
    assert null.probabilities(n)[alarms].sum() <= alpha * (1 + 1e-9)


@given(count=st.integers(0, 60), k=st.integers(0, 80), direction=st.sampled_from(Direction))
def test_an_alarm_is_a_p_value_of_at_most_alpha(count: int, k: int, direction: Direction) -> None:
    decision = ShareNull(count, 60).decide(k, 80, direction=direction, alpha=0.01)
    assert decision.is_drifting == (decision.p_value <= 0.01)


@pytest.mark.parametrize(
    ("count", "direction", "drifting"),
    [
        (60, Direction.HIGH, True),
        (60, Direction.LOW, False),
        (60, Direction.BOTH, True),
        (2, Direction.HIGH, False),
        (2, Direction.LOW, True),
        (2, Direction.BOTH, True),
        (30, Direction.BOTH, False),
    ],
)
def test_only_a_share_on_the_alarming_side_drifts(
    count: int, direction: Direction, *, drifting: bool
) -> None:
    decision = ShareNull(300, 1000).decide(count, 100, direction=direction, alpha=0.001)
    assert decision.is_drifting is drifting


def test_a_share_of_a_thousand_unheard_of_events_has_a_positive_p_value() -> None:
    decision = ShareNull(0, 10**7).decide(1000, 1000, direction=Direction.HIGH, alpha=0.01)
    assert 0 < decision.p_value < 1e-300


def test_one_event_of_a_common_kind_never_drifts() -> None:
    decision = ShareNull(50, 100).decide(1, 1, direction=Direction.BOTH, alpha=0.01)
    assert not decision.is_drifting


def test_excess_is_one_at_the_largest_quiet_share() -> None:
    null = ShareNull(30, 1000)
    decisions = [null.decide(k, 200, direction=Direction.HIGH, alpha=0.01) for k in range(201)]
    largest_quiet = [d for d in decisions if not d.is_drifting][-1]
    assert largest_quiet.excess_ratio == 1


@pytest.mark.parametrize(
    ("null", "direction", "threshold"),
    [
        (ShareNull(50, 100), Direction.HIGH, 4 / 3),  # three of three are no alarm
        (ShareNull(50, 100), Direction.LOW, -1 / 3),
    ],
)
def test_where_no_share_can_be_an_alarm_the_threshold_is_one_event_beyond(
    null: ShareNull, direction: Direction, threshold: float
) -> None:
    found = null.decide(1, 3, direction=direction, alpha=0.01).threshold
    assert found == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("null", "direction", "first_alarm"),
    [(ShareNull(1, 1000), Direction.HIGH, 1 / 30), (ShareNull(999, 1000), Direction.LOW, 29 / 30)],
)
def test_where_the_first_event_is_an_alarm_the_threshold_is_halfway_to_it_from_the_mean(
    null: ShareNull, direction: Direction, first_alarm: float
) -> None:
    found = null.decide(15, 30, direction=direction, alpha=0.05).threshold
    assert found == pytest.approx((null.mean(30) + first_alarm) / 2)


@pytest.mark.parametrize(
    ("null", "direction", "count"),
    [(ShareNull(0, 1), Direction.HIGH, 2), (ShareNull(1, 1), Direction.LOW, 7)],
)
def test_a_share_on_the_harmless_side_of_the_mean_is_no_alarm_at_any_level(
    null: ShareNull, direction: Direction, count: int
) -> None:
    decision = null.decide(count, 9, direction=direction, alpha=0.49)  # its p-value is 0.481
    assert decision.p_value < 0.49
    assert decision.excess_ratio < 0
    assert decision.threshold == pytest.approx(null.mean(9))


@pytest.mark.parametrize(
    ("null", "n", "direction"),
    [
        (ShareNull(1000, 1000), 200, Direction.BOTH),  # every event has an image: no more can have
        (ShareNull(0, 1000), 200, Direction.BOTH),
        (ShareNull(0, 1000), 30, Direction.HIGH),  # no novelty where one event would be an alarm
    ],
)
def test_a_share_as_in_the_whole_reference_has_an_excess_near_zero(
    null: ShareNull, n: int, direction: Direction
) -> None:
    decision = null.decide(n * null.count // null.pool, n, direction=direction, alpha=0.05)
    assert abs(decision.excess_ratio) < 0.15
