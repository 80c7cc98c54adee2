from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, multinomial, norm

from monitor.stats import ShareNull, StatesNull, largest_change
from tests.oracles import states as oracle

COUNTS = st.lists(st.integers(0, 60), min_size=3, max_size=3).filter(any)
INLINE = np.array([500, 0, 0])
MIXED = np.array([180, 60, 0])


@given(counts=COUNTS, known=COUNTS)
def test_the_change_is_that_of_its_definition(counts: list[int], known: list[int]) -> None:
    found = largest_change(np.array(counts), np.array(known))
    assert found == pytest.approx(oracle.change(counts, known), abs=1e-11)


@given(counts=COUNTS, known=COUNTS)
def test_the_change_is_at_most_the_total_variation(counts: list[int], known: list[int]) -> None:
    k, c = np.array(counts), np.array(known)
    total_variation = np.abs(k / k.sum() - c / c.sum()).sum() / 2
    assert largest_change(k, c) <= total_variation + 1e-11


def test_events_that_moved_to_one_state_are_the_change() -> None:
    assert largest_change(np.array([40, 60, 0]), np.array([300, 0, 0])) == 0.6


@given(counts=COUNTS, known=COUNTS, order=st.permutations(range(3)))
def test_the_order_of_states_does_not_matter(
    counts: list[int], known: list[int], order: list[int]
) -> None:
    k, c = np.array(counts), np.array(known)
    assert largest_change(k[order], c[order]) == largest_change(k, c)


@given(parts=st.lists(COUNTS, min_size=1, max_size=5))
def test_counts_of_panes_in_any_split_add_up_to_the_window(parts: list[list[int]]) -> None:
    whole = np.array([sum(column) for column in zip(*parts, strict=True)])
    assert largest_change(np.sum(parts, axis=0), MIXED) == largest_change(whole, MIXED)


@pytest.mark.parametrize(
    ("counts", "known"),
    [
        ([0, 0], [1, 2]),
        ([1, 2], [0, 0]),
        ([1, 2], [1, 2, 3]),
        ([[1, 2]], [[1, 2]]),
        ([-1, 3], [1, 1]),
        ([1, 1], [-1, 3]),
    ],
)
def test_counts_that_are_none_are_refused(counts: list[int], known: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        largest_change(np.array(counts), np.array(known))


def test_one_event_of_each_side_is_enough() -> None:
    one = np.array([1, 0, 0])
    assert largest_change(one, one[::-1]) == 1.0
    assert StatesNull.of(one).shares == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [0.2, 0.4, 0.7])
@pytest.mark.parametrize("known", [(6, 2, 0), (4, 3, 3)])
def test_the_null_covers_that_of_the_joint_law_and_is_of_its_order(
    known: tuple[int, int, int], value: float
) -> None:
    exact = oracle.exceeds(value, 5, known)
    found = StatesNull.of(np.array(known)).decide(value, 5, alpha=0.01).p_value
    assert exact - 1e-6 <= found <= 3 * exact


def test_of_two_states_the_chance_is_twice_that_of_one_share() -> None:
    p = StatesNull.of(np.array([100, 100])).decide(0.25, 40, alpha=0.01).p_value
    mass = ShareNull(100, 200).probabilities(40)
    assert p == pytest.approx(2 * mass[np.abs(np.arange(41) / 40 - 0.5) >= 0.25].sum())


@given(value=st.integers(0, 200), alpha=st.floats(1e-9, 0.3))
def test_an_alarm_is_a_p_value_of_at_most_alpha(value: int, alpha: float) -> None:
    decision = StatesNull.of(INLINE).decide(value / 200, 200, alpha=alpha)
    assert decision.is_drifting == (decision.p_value <= alpha)


@given(alpha=st.floats(1e-4, 0.1), counts=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_of_a_few_events_an_alarm_is_a_p_value_of_at_most_alpha(
    alpha: float, counts: tuple[int, int]
) -> None:
    window = np.array([counts[0], counts[1], 1])
    change, n = largest_change(window, MIXED), int(window.sum())
    decision = StatesNull.of(MIXED).decide(change, n, alpha=alpha)
    assert decision.is_drifting == (decision.p_value <= alpha)


def test_a_change_that_no_window_can_show_has_a_positive_p_value() -> None:
    assert 0 < StatesNull.of(MIXED[:2]).decide(0.9, 50, alpha=0.01).p_value < 1e-300


def test_the_excess_of_the_threshold_is_one_and_of_the_mean_is_none() -> None:
    null = StatesNull.of(MIXED)
    decision = null.decide(0.0, 100, alpha=1e-4)
    assert null.decide(decision.threshold, 100, alpha=1e-4).excess_ratio == pytest.approx(1)
    assert null.decide(decision.null_mean, 100, alpha=1e-4).excess_ratio == pytest.approx(0)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_events_of_a_usual_kind_never_drift(n: int) -> None:
    assert not StatesNull.of(MIXED).decide(0.75, n, alpha=1e-4).is_drifting


def test_a_window_that_cannot_be_alarming_has_its_threshold_beyond_the_largest_change() -> None:
    assert StatesNull.of(np.array([3, 0])).decide(1.0, 2, alpha=1e-6).threshold == 1.5


@pytest.mark.parametrize(("value", "n", "alpha"), [(1.1, 9, 0.1), (0.1, 0, 0.1), (0.1, 9, 1.0)])
def test_what_is_no_change_no_window_or_no_level_is_refused(
    value: float, n: int, alpha: float
) -> None:
    with pytest.raises(ValueError, match=r"expected|alpha"):
        StatesNull.of(MIXED).decide(value, n, alpha=alpha)


def test_a_null_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="one event"):
        StatesNull.of(np.array([0, 0]))


@pytest.mark.parametrize("tolerance", [0.0, 2.5])
@pytest.mark.parametrize("known", [INLINE, MIXED])
@pytest.mark.parametrize("moved", [0, 2, 5])
def test_a_score_counts_what_moved_shares_would_change_as_much_or_more(
    known: np.ndarray, moved: int, tolerance: float
) -> None:
    n, pool = 20, known.sum()
    window = np.array([15 - moved, 5 + moved, 0])
    value = largest_change(window, known)
    tails = [0.0, 0.0]  # of as much, and of more
    for c in known.tolist():
        posterior = beta(c + 0.5, pool - c + 0.5)
        fewer, more = (posterior.ppf(norm.cdf(side * tolerance)) for side in (-1, 1))
        for k in range(n + 1):
            change = abs(k / n - c / pool)
            mass = binom.pmf(k, n, more if k / n >= c / pool else fewer)
            tails[0] += mass * (change >= value - 1e-9)
            tails[1] += mass * (change > value + 1e-9)
    expected = 1 - min(tails[0], 1) - min(tails[1], 1)
    found = StatesNull.of(known).score(value, n, tolerance=tolerance)
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_change_that_no_window_can_show_is_all_the_evidence_that_there_is() -> None:
    assert StatesNull.of(MIXED[:2]).score(0.9, 50, tolerance=2.5) == 1.0


def test_a_score_of_what_is_no_change_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        StatesNull.of(MIXED).score(1.1, 50, tolerance=2.5)


@pytest.mark.parametrize("tolerance", [0.0, 2.5])
@pytest.mark.parametrize("known", [INLINE, MIXED])
def test_a_score_has_no_positive_expectation_while_shares_are_the_reference_s(
    known: np.ndarray, tolerance: float
) -> None:
    null, n = StatesNull.of(known), 20
    shares = known / known.sum()
    expected = sum(
        multinomial.pmf([k, j, n - k - j], n, shares)
        * null.score(largest_change(np.array([k, j, n - k - j]), known), n, tolerance=tolerance)
        for k in range(n + 1)
        for j in range(n + 1 - k)
    )
    assert expected <= 1e-9


def test_a_larger_change_is_more_evidence_and_a_tolerated_one_less() -> None:
    null = StatesNull.of(MIXED)
    scores = [null.score(v, 100, tolerance=1.0) for v in (0.0, 0.05, 0.1, 0.3)]
    assert scores == sorted(scores)
    assert null.score(0.1, 100, tolerance=3.0) < null.score(0.1, 100, tolerance=0.0)


def test_windows_that_differ_beyond_chance_widen_the_threshold() -> None:
    rng = np.random.default_rng(5)
    shares = rng.beta(30, 10, size=60)
    bursts = np.array([[k := rng.binomial(100, p), 100 - k, 0] for p in shares])
    calm = np.array([[k := rng.binomial(100, 0.75), 100 - k, 0] for _ in shares])
    of_bursts, of_calm = (
        StatesNull.of_windows(MIXED, w).decide(0.0, 100, alpha=1e-4).threshold
        for w in (bursts, calm)
    )
    assert of_bursts > 1.2 * of_calm


def test_no_window_that_was_seen_is_an_alarm() -> None:
    windows = np.array([[99, 1, 0]] * 2_000 + [[20, 80, 0]])
    null = StatesNull.of_windows(INLINE, windows)
    assert replace(null, seen=0.0).decide(0.8, 100, alpha=1e-4).is_drifting
    assert not null.decide(0.8, 100, alpha=1e-4).is_drifting
    assert null.decide(0.81, 100, alpha=1e-4).is_drifting
