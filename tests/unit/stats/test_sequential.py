from collections.abc import Sequence
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm

from monitor.stats import Evidence, ShareNull, accumulate, rank_score, share_score
from monitor.stats.sequential import CLEARED, STAKES

THRESHOLD = 1000.0


def after(scores: Sequence[float], threshold: float = THRESHOLD) -> Evidence:
    return reduce(lambda e, s: accumulate(e, [s], threshold), scores, Evidence())


@given(
    draws=st.lists(st.integers(0, 5), min_size=1, max_size=12),
)
def test_scores_of_a_pool_against_each_other_add_up_to_nothing(draws: list[int]) -> None:
    pool = np.array(draws, dtype=np.float64)
    scores = [rank_score(np.delete(pool, i), pool[i]) for i in range(len(pool))]
    assert sum(scores) == pytest.approx(0, abs=1e-9)


def test_the_largest_value_has_the_largest_score_that_its_null_can_give() -> None:
    assert rank_score(np.arange(99.0), 99.0) == 0.99
    assert rank_score(np.arange(99.0), -1.0) == -0.99


@pytest.mark.parametrize(("count", "pool", "n"), [(0, 200, 60), (4, 9, 25), (9, 9, 2)])
@pytest.mark.parametrize("tolerance", [-2.0, 0.0, 3.0])
def test_a_share_score_is_the_chance_of_fewer_less_that_of_more_at_the_moved_share(
    count: int, pool: int, n: int, tolerance: float
) -> None:
    moved = beta.ppf(norm.cdf(tolerance), count + 0.5, pool - count + 0.5)
    null, found = ShareNull(count, pool), range(n + 1)
    expected = [binom.cdf(k - 1, n, moved) - binom.sf(k, n, moved) for k in found]
    scores = [share_score(null, k, n, tolerance=tolerance) for k in found]
    assert scores == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "pool", "n"), [(0, 200, 60), (4, 400, 25), (150, 300, 200)])
@pytest.mark.parametrize("tolerance", [-2.0, 0.0, 3.0])
def test_a_share_score_has_no_expectation_at_the_moved_share(
    count: int, pool: int, n: int, tolerance: float
) -> None:
    null = ShareNull(count, pool)
    scores = np.array([share_score(null, k, n, tolerance=tolerance) for k in range(n + 1)])
    shares = np.linspace(0, 1, 2001)
    expected = np.array([binom.pmf(range(n + 1), n, p) @ scores for p in shares])
    moved = shares[np.abs(expected).argmin()]
    sigma = np.sqrt(max(count, 0.5) * (pool - count)) / pool**1.5
    assert expected[0] <= 0 <= expected[-1]
    assert (moved - count / pool) * np.sign(tolerance or 1) >= -1.5 * sigma


def test_a_tolerated_share_needs_more_events_for_the_same_score() -> None:
    null = ShareNull(10, 500)
    scores = [share_score(null, 6, 200, tolerance=t) for t in (-3.0, 0.0, 3.0)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0 > scores[2]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_evidence_is_the_mean_of_detectors_that_each_keep_the_recursion(
    scores: list[float],
) -> None:
    detectors = [
        reduce(lambda m, s, stake=stake: (m + 1) * (1 + stake * s), scores, 0.0)  # type: ignore[misc]  # mypy cannot see a default
        for stake in STAKES
    ]
    assert after(scores, threshold=1e12).value == pytest.approx(np.mean(detectors))


def test_a_fair_score_adds_one_window_to_the_expected_evidence() -> None:
    before = after([0.5, 0.7, -0.1])
    outcomes = [accumulate(before, [s], THRESHOLD).value for s in (-0.6, 0.6)]
    assert np.mean(outcomes) == pytest.approx(before.value + 1)


def test_a_window_that_cannot_be_judged_changes_nothing() -> None:
    before = after([0.5, 0.7])
    assert accumulate(before, [], THRESHOLD) == before


def test_both_sides_are_watched_at_once() -> None:
    evidence = reduce(lambda e, _: accumulate(e, [-0.9, 0.8], THRESHOLD), range(30), Evidence())
    assert evidence.is_persistent
    assert max(evidence.bets[: len(STAKES)]) < 1


def test_a_lasting_small_shift_becomes_persistent_and_says_when_it_began() -> None:
    evidence = after([-1.0] * 20 + [0.4] * 60)
    assert evidence.is_persistent
    assert evidence.windows == 60


def test_before_the_first_window_there_is_no_evidence() -> None:
    assert Evidence().value == 0


def test_evidence_that_reaches_the_threshold_is_persistent() -> None:
    assert after([0.0, 0.0], threshold=2.0).is_persistent  # each window adds 1 to each bet


@pytest.mark.parametrize(("value", "windows"), [(1.0, 0), (1.1, 4), (1.9, 4)])
def test_a_run_lasts_while_more_is_left_than_a_window_brings(value: float, windows: int) -> None:
    before = Evidence((2 * value - 1,) * 2, windows=3)
    after_it = accumulate(before, [-0.75], THRESHOLD)  # gains of 3/4 and 1/4
    assert (after_it.value, after_it.windows) == (pytest.approx(value), windows)


def test_a_persistent_shift_outlasts_a_low_threshold() -> None:
    persistent = after([0.9] * 50, threshold=10)
    worn = accumulate(persistent, [-1.0], threshold=10)
    worn = accumulate(worn, [-1.0], threshold=10)
    assert 0.5 <= worn.value <= 1
    assert worn.is_persistent


def test_evidence_is_cut_to_the_threshold() -> None:
    assert after([0.9] * 500).value == pytest.approx(THRESHOLD)


def test_what_has_passed_clears_and_everything_starts_anew() -> None:
    persistent = after([0.9] * 50)
    trail = [persistent]
    for _ in range(30):
        trail.append(accumulate(trail[-1], [-0.5], THRESHOLD))
    cleared = trail.index(Evidence())
    assert [e.is_persistent for e in trail[:cleared]] == [True] * cleared
    assert trail[cleared - 1].value >= CLEARED * THRESHOLD


def test_one_good_window_does_not_clear_a_persistent_shift() -> None:
    assert accumulate(after([0.9] * 50), [-0.5], THRESHOLD).is_persistent


def test_a_run_without_evidence_begins_again_with_the_next_window() -> None:
    assert after([0.5, -0.99, -0.99, 0.4]).windows == 1
