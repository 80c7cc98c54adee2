import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.records import Signal
from monitor.stats import (
    DIRECTIONS,
    Direction,
    alpha_per_test,
    calibrate_threshold,
    decide,
    p_value,
)

DRAWS = np.random.default_rng(1).gamma(4, size=200)
HOUR = timedelta(hours=1)


def test_every_signal_has_a_direction() -> None:
    assert set(DIRECTIONS) == set(Signal)


@pytest.mark.parametrize(("m", "alpha"), [(19, 0.05), (199, 0.05), (199, 0.01), (250, 0.013)])
def test_the_threshold_leaves_at_most_alpha_of_an_exchangeable_draw_above(
    m: int, alpha: float
) -> None:
    draws = np.random.default_rng(2).permutation(m).astype(float)
    above = (draws > calibrate_threshold(draws, alpha=alpha, n=50).value).sum()
    assert above + 1 <= (m + 1) * alpha + 1e-9


@pytest.mark.parametrize(("alpha", "rank"), [(0.3, 140), (0.05, 190), (0.01, 198), (0.005, 199)])
def test_the_threshold_is_the_stated_order_statistic(alpha: float, rank: int) -> None:
    draws = np.random.default_rng(3).permutation(np.arange(1.0, 200.0))
    assert calibrate_threshold(draws, alpha=alpha, n=50).value == rank


def test_two_draws_are_a_null() -> None:
    assert calibrate_threshold(np.array([2.0, 1.0]), alpha=0.5, n=50).value == 2


def test_a_null_of_several_sizes_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="two draws"):
        calibrate_threshold(np.ones((3, 4)), alpha=0.05, n=50)


def test_the_threshold_only_grows_as_alpha_shrinks() -> None:
    alphas = [0.2, 0.05, 0.01, 0.006, 0.005, 0.004, 1e-3, 1e-4, 1e-6]
    values = [calibrate_threshold(DRAWS, alpha=a, n=50).value for a in alphas]
    assert values == sorted(values)


def test_the_threshold_carries_what_it_was_made_for() -> None:
    threshold = calibrate_threshold(DRAWS, alpha=0.05, n=50)
    assert (threshold.alpha, threshold.n, threshold.m) == (0.05, 50, 200)


@pytest.mark.parametrize("draws", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_a_null_without_two_finite_draws_is_refused(draws: list[float]) -> None:
    with pytest.raises(ValueError, match="two draws"):
        calibrate_threshold(np.array(draws), alpha=0.05, n=50)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_an_alpha_that_is_no_probability_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        calibrate_threshold(DRAWS, alpha=alpha, n=50)


@pytest.mark.parametrize(
    ("value", "direction", "expected"),
    [
        (2.5, Direction.HIGH, 3 / 5),
        (2.5, Direction.LOW, 3 / 5),
        (9.0, Direction.HIGH, 1 / 5),
        (9.0, Direction.LOW, 1.0),
        (9.0, Direction.BOTH, 2 / 5),
        (4.0, Direction.HIGH, 2 / 5),
        (2.5, Direction.BOTH, 1.0),
    ],
)
def test_p_value_counts_the_draws_at_least_as_extreme(
    value: float, direction: Direction, expected: float
) -> None:
    assert p_value(np.array([1.0, 2.0, 3.0, 4.0]), value, direction) == expected


@given(value=st.floats(allow_nan=False, allow_infinity=False), d=st.sampled_from(Direction))
def test_p_value_is_never_zero_nor_above_one(value: float, d: Direction) -> None:
    assert 1 / 201 <= p_value(DRAWS, value, d) <= 1


@pytest.mark.parametrize("alpha", [0.05, 1e-3])
def test_low_is_high_in_the_mirror(alpha: float) -> None:
    high = decide(9.0, DRAWS, direction=Direction.HIGH, alpha=alpha, n=50)
    low = decide(-9.0, -DRAWS, direction=Direction.LOW, alpha=alpha, n=50)
    assert (-low.threshold, low.excess_ratio, low.p_value, low.is_drifting) == pytest.approx(
        (high.threshold, high.excess_ratio, high.p_value, high.is_drifting)
    )


@pytest.mark.parametrize(
    ("value", "direction", "drifting"),
    [
        (99, Direction.HIGH, True),
        (99, Direction.LOW, False),
        (99, Direction.BOTH, True),
        (-99, Direction.HIGH, False),
        (-99, Direction.LOW, True),
        (-99, Direction.BOTH, True),
        (4, Direction.BOTH, False),
    ],
)
def test_only_a_value_on_the_alarming_side_drifts(
    value: float, direction: Direction, *, drifting: bool
) -> None:
    decision = decide(value, DRAWS, direction=direction, alpha=0.01, n=50)
    assert decision.is_drifting is drifting


@pytest.mark.parametrize("direction", [Direction.HIGH, Direction.LOW])
@pytest.mark.parametrize("alpha", [0.05, 1e-3])
def test_excess_is_nought_at_the_null_mean_and_one_at_the_threshold(
    direction: Direction, alpha: float
) -> None:
    middle = decide(DRAWS.mean(), DRAWS, direction=direction, alpha=alpha, n=50)
    edge = decide(middle.threshold, DRAWS, direction=direction, alpha=alpha, n=50)
    assert (middle.excess_ratio, edge.excess_ratio, edge.is_drifting) == (0, 1, False)


def test_each_of_two_sides_gets_half_of_alpha() -> None:
    both = decide(9.0, DRAWS, direction=Direction.BOTH, alpha=0.1, n=50)
    high = decide(9.0, DRAWS, direction=Direction.HIGH, alpha=0.05, n=50)
    assert both.threshold == high.threshold


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("alpha", [0.05, 1e-4])
def test_a_value_equal_to_a_degenerate_null_is_in_control(
    direction: Direction, alpha: float
) -> None:
    decision = decide(0.1, np.full(200, 0.1), direction=direction, alpha=alpha, n=50)
    assert (decision.is_drifting, decision.p_value) == (False, 1.0)
    assert decision.excess_ratio == pytest.approx(0, abs=1e-6)


def test_a_value_beyond_a_degenerate_null_drifts_by_a_finite_excess() -> None:
    decision = decide(0.2, np.full(200, 0.1), direction=Direction.HIGH, alpha=1e-4, n=50)
    assert decision.is_drifting
    assert math.isfinite(decision.excess_ratio)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        decide(bad, DRAWS, direction=Direction.HIGH, alpha=0.05, n=50)


def test_a_null_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        decide(1.0, np.array([1.0, math.nan]), direction=Direction.HIGH, alpha=0.05, n=50)


def test_without_slices_each_level_of_evidence_gives_its_half_to_everything() -> None:
    alpha = alpha_per_test(1, HOUR, signals=10)
    assert (alpha.overall, alpha.per_slice) == (pytest.approx(1 / 3360), None)


@given(
    budget=st.floats(0.01, 2),
    hours=st.integers(1, 24),
    signals=st.integers(1, 20),
    slices=st.integers(1, 50),
)
def test_both_levels_of_a_week_spend_the_budget_half_on_everything_half_on_slices(
    budget: float, hours: int, signals: int, slices: int
) -> None:
    alpha = alpha_per_test(budget, hours * HOUR, signals=signals, slices=slices)
    tests = 2 * 7 * 24 / hours * signals
    spent = (alpha.overall * tests, (alpha.per_slice or 0) * slices * tests)
    assert spent == pytest.approx((budget / 2, budget / 2))


@pytest.mark.parametrize("slices", [0, 1])
def test_an_extravagant_budget_still_gives_a_probability(slices: int) -> None:
    alpha = alpha_per_test(1e6, HOUR, signals=1, slices=slices)
    assert (alpha.overall, alpha.per_slice) == (0.5, 0.5 if slices else None)


@pytest.mark.parametrize(
    ("budget", "length", "signals", "slices"),
    [
        (0, HOUR, 1, 0),
        (math.inf, HOUR, 1, 0),
        (1, timedelta(0), 1, 0),
        (1, HOUR, 0, 0),
        (1, HOUR, 1, -1),
    ],
)
def test_a_budget_that_cannot_be_spent_is_refused(
    budget: float, length: timedelta, signals: int, slices: int
) -> None:
    with pytest.raises(ValueError, match=r"expected|must be positive"):
        alpha_per_test(budget, length, signals=signals, slices=slices)
