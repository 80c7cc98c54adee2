from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.web.timeline import MAX_SPANS, MAX_WINDOWS, Span, _runs, _span, _thinned

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def every(count: int) -> list[datetime]:
    return [START + i * timedelta(minutes=15) for i in range(count)]


def runs(marks: Sequence[bool]) -> list[tuple[int, int]]:
    starts = every(len(marks))
    return _runs(starts, [s for s, mark in zip(starts, marks, strict=True) if mark])


def test_successive_windows_are_one_run() -> None:
    assert runs([True, True, False, True, False]) == [(0, 1), (3, 3)]
    assert runs([False, False]) == []
    assert runs([]) == []


@given(st.lists(st.booleans(), max_size=60))
def test_runs_cover_exactly_what_is_marked(marks: list[bool]) -> None:
    covered = {i for first, last in runs(marks) for i in range(first, last + 1)}
    assert covered == {i for i, mark in enumerate(marks) if mark}


def test_a_drift_begins_with_what_the_calm_window_before_it_did_not_hold() -> None:
    starts = every(6)
    assert _span(starts, HOUR, 2, 5) == Span(starts[1] + HOUR, starts[5] + HOUR)
    assert _span(starts, HOUR, 0, 0) == Span(starts[0], starts[0] + HOUR)
    assert _span([START, START + 3 * HOUR], HOUR, 1, 1).start == START + 3 * HOUR


def test_few_windows_are_all_shown() -> None:
    assert _thinned(every(MAX_WINDOWS), []) == every(MAX_WINDOWS)


@given(count=st.integers(MAX_WINDOWS + 1, 9000), seed=st.integers(0, 1000))
def test_of_many_windows_the_last_and_the_ends_of_drifts_are_among_few(
    count: int, seed: int
) -> None:
    starts = every(count)
    first = seed % (count - 3)
    shown = _thinned(starts, [(first, first + 2)])
    assert len(shown) <= MAX_WINDOWS + 2
    assert {starts[-1], starts[first], starts[first + 2]} <= set(shown)
    assert shown == sorted(shown)


def test_of_endless_drifts_the_newest_are_marked() -> None:
    starts = every(9000)
    drifts = [(i, i) for i in range(1, 9000, 2)]
    shown = _thinned(starts, drifts)
    assert {starts[i] for i, _ in drifts[-MAX_SPANS:]} <= set(shown)
    assert len(shown) <= MAX_WINDOWS + MAX_SPANS
