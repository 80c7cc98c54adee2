from datetime import datetime, timedelta
from random import Random

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from monitor.records import ALL, EPOCH, Measurement, Signal, Verdict, WindowId
from monitor.store.engine import Database
from monitor.store.panes import PaneState, count_exchanges, pane_states, touch_panes
from monitor.store.retention import forget_samples
from monitor.store.streams import ensure_streams
from monitor.store.tables import WindowRow
from monitor.store.windows import (
    MeasurementKey,
    _window_values,
    due_windows,
    latest_windows,
    measurements_between,
    measurements_of,
    record_window,
    settle_panes,
)
from tests.integration.store.builders import (
    HOUR,
    MINUTE,
    NOW,
    PANE,
    START,
    STREAM,
    candidate,
    keep,
    measurement,
    pane,
    summary,
    window,
)

SLIDE = 15 * MINUTE
Due = list[tuple[WindowId, int]]


def due(session: Session, closed_until: datetime, length: timedelta = HOUR) -> Due:
    return due_windows(session, STREAM, length, SLIDE, closed_until)


def measure(session: Session, windows: Due) -> None:
    for at, revision in windows:
        record_window(session, summary(at, revision=revision), [measurement(at)])


def starts(windows: Due) -> list[datetime]:
    return [at.start for at, _ in windows]


def due_by_definition(
    panes: list[PaneState],
    measured: dict[WindowId, int],
    length: timedelta,
    slide: timedelta,
    closed_until: datetime,
) -> Due:
    """Every window there ever was, one after the other."""
    found = []
    number = (panes[0].start - EPOCH - length) // slide
    while (start := EPOCH + number * slide) + length <= closed_until:
        at = WindowId(start, start + length)
        inside = [p for p in panes if at.start <= p.start < at.end]
        revision = sum(p.revision for p in inside)
        if any(p.seen for p in inside) and measured.get(at) != revision:
            found.append((at, revision))
        number += 1
    return found


def test_windows_that_ended_and_hold_something_are_due(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 1, (STREAM, pane(1)): 1})
    touch_panes(session, [(STREAM, pane(1))])
    found = due(session, START + HOUR)
    assert found == [
        (window(START - 45 * MINUTE), 3),
        (window(START - 30 * MINUTE), 3),
        (window(START - 15 * MINUTE), 3),
        (window(START), 3),
    ]


def test_a_window_that_ends_when_panes_are_closed_is_due_and_not_a_moment_before(
    session: Session,
) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 1})
    assert window() in [at for at, _ in due(session, START + HOUR)]
    assert window() not in [at for at, _ in due(session, START + HOUR - timedelta(microseconds=1))]


def test_a_pane_that_has_seen_nothing_makes_no_window_due(session: Session) -> None:
    touch_panes(session, [(STREAM, pane(0))])
    assert due(session, START + 2 * HOUR) == []


def test_a_measured_window_is_due_again_only_when_something_in_it_changed(
    session: Session,
) -> None:
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(24)})
    measure(session, due(session, START + 2 * HOUR))
    assert due(session, START + 2 * HOUR) == []
    touch_panes(session, [(STREAM, pane(4))])
    assert starts(due(session, START + 2 * HOUR)) == [
        START + shift * MINUTE for shift in (-30, -15, 0, 15)
    ]


def test_a_window_measured_at_an_outdated_revision_stays_due(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 1})
    found = due(session, START + HOUR)
    touch_panes(session, [(STREAM, pane(0))])
    measure(session, found)
    assert starts(due(session, START + HOUR)) == starts(found)


def test_settled_panes_are_looked_at_again_only_when_they_change(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(24)})
    measure(session, due(session, START + 2 * HOUR))
    settled = settle_panes(session, STREAM, HOUR, SLIDE, START + 2 * HOUR)
    # The other nine are part of a window that has not ended.
    assert settled == 15
    assert settle_panes(session, STREAM, HOUR, SLIDE, START + 2 * HOUR) == 0
    touch_panes(session, [(STREAM, pane(3))])
    assert len(due(session, START + 2 * HOUR)) == 4


def test_a_pane_under_a_due_window_is_not_settled(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 1})
    measure(session, due(session, START + HOUR)[1:])
    assert settle_panes(session, STREAM, HOUR, SLIDE, START + HOUR) == 0
    assert len(due(session, START + HOUR)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_what_is_due_is_what_the_definition_says(session: Session, seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - not for secrets
    length, slide = rng.choice([(12, 3), (12, 12), (6, 1), (3, 6), (4, 3)])
    length, slide = length * PANE, slide * PANE
    measured: dict[WindowId, int] = {}
    closed_until = START
    count_exchanges(session, {(STREAM, START): 1})
    for _ in range(30):
        closed_until += rng.randrange(12) * PANE
        low = rng.choice([0, (closed_until - START) // PANE - 6])
        for _ in range(rng.randrange(6)):
            start = pane(low + rng.randrange(20))
            count_exchanges(session, {(STREAM, start): rng.randrange(3)})
            touch_panes(session, [(STREAM, start)] * rng.randrange(2))
        found = due_windows(session, STREAM, length, slide, closed_until)
        panes = pane_states(session, STREAM, EPOCH, NOW + 365 * 24 * HOUR)
        assert found == due_by_definition(panes, measured, length, slide, closed_until)
        for at, revision in found:
            if rng.random() < 0.8:
                measured[at] = revision
                record_window(session, summary(at, revision=revision), [])
        if rng.random() < 0.5:
            settle_panes(session, STREAM, length, slide, closed_until)


def test_of_ninety_days_of_panes_only_those_that_changed_are_due(session: Session) -> None:
    n = 90 * 288
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(n)})
    found = due(session, pane(n))
    assert len(found) == 90 * 96
    session.execute(insert(WindowRow), [_window_values(summary(w, revision=r)) for w, r in found])
    settle_panes(session, STREAM, HOUR, SLIDE, pane(n))
    assert due(session, pane(n)) == []
    touch_panes(session, [(STREAM, pane(1000))])
    count_exchanges(session, {(STREAM, pane(n)): 1})
    over_the_touched = [at for at, _ in found if at.start <= pane(1000) < at.end]
    newest = window(pane(n) + SLIDE - HOUR)
    assert [at for at, _ in due(session, pane(n) + SLIDE)] == [*over_the_touched, newest]


def test_windows_that_lost_samples_are_never_due_again(session: Session) -> None:
    ensure_streams(session, [STREAM], NOW)
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in (0, 3, 6)})
    keep(session, candidate("old", 1, in_pane=3))
    forget_samples(session, NOW + MINUTE)
    assert starts(due(session, START + 2 * HOUR)) == [pane(6)]


def test_streams_are_due_apart(session: Session) -> None:
    count_exchanges(session, {("other", pane(0)): 1})
    assert due(session, START + HOUR) == []
    touch_panes(session, [(STREAM, pane(1))])
    assert due(session, START + HOUR) == []
    count_exchanges(session, {(STREAM, pane(1)): 1})
    assert [revision for _, revision in due(session, START + HOUR)] == [2] * 4


def test_a_window_is_due_though_one_of_another_length_was_measured(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 1})
    record_window(session, summary(window(START, 30 * MINUTE)), [])
    assert window() in [at for at, _ in due(session, START + HOUR)]


def test_settling_one_stream_settles_no_other(session: Session) -> None:
    for stream in (STREAM, "other"):
        count_exchanges(session, {(stream, pane(0)): 1})
    measure(session, due(session, START + HOUR))
    assert settle_panes(session, STREAM, HOUR, SLIDE, START + HOUR) == 1
    assert len(due_windows(session, "other", HOUR, SLIDE, START + HOUR)) == 4


def test_windows_of_other_streams_and_lengths_are_left_as_they_are(session: Session) -> None:
    at = window()
    others = [
        (STREAM, window(START, 2 * HOUR)),
        (STREAM, window(START - HOUR, 2 * HOUR)),
        ("other", at),
    ]
    for stream, other in others:
        of_other = summary(other, stream=stream, revision=9)
        record_window(session, of_other, [measurement(other, stream=stream)])
    for revision in (1, 2):
        assert record_window(session, summary(at, revision=revision), [measurement(at)]) is True
    for stream, one in [*others, (STREAM, at)]:
        assert measurements_of(session, stream, one) == [measurement(one, stream=stream)]


def test_measuring_again_replaces_the_rows(session: Session) -> None:
    ensure_streams(session, [STREAM], START)
    at = window()
    record_window(session, summary(at), [measurement(at), measurement(at, slice_key="tenant=a")])
    again = [measurement(at, value=None), measurement(at, signal=Signal.EMID, value=0.5)]
    assert record_window(session, summary(at, revision=2), again) is True
    assert record_window(session, summary(at, revision=2), again) is True
    assert measurements_of(session, STREAM, at) == again
    assert latest_windows(session) == [summary(at, revision=2)]


def test_an_older_revision_does_not_replace_a_newer_one(session: Session) -> None:
    at = window()
    record_window(session, summary(at, revision=5), [measurement(at, value=0.5)])
    assert record_window(session, summary(at, revision=4), [measurement(at, value=0.4)]) is False
    assert [m.value for m in measurements_of(session, STREAM, at)] == [0.5]


def test_a_measurement_comes_back_as_it_was(session: Session) -> None:
    at = window()
    full = Measurement(
        STREAM,
        "tenant=ä",
        Signal.EMID_BOUND,
        at,
        200,
        Verdict.IN_CONTROL,
        "coco@0123",
        value=0.1,
        stderr=1e-300,
        null_mean=-0.2,
        threshold=2**0.5,
        excess_ratio=0.3,
        p_value=0.0005,
        reason="because",
        terms=("visual", "textual"),
    )
    record_window(session, summary(at), [full])
    assert measurements_of(session, STREAM, at) == [full]


def test_the_newest_window_of_every_stream_is_found(session: Session) -> None:
    ensure_streams(session, [STREAM, "other", "silent"], START)
    for hours in (2, 0, 1):
        record_window(session, summary(window(START + hours * HOUR)), [])
    record_window(session, summary(window(), stream="other"), [])
    found = [(s.stream, s.window) for s in latest_windows(session)]
    assert found == [(STREAM, window(START + 2 * HOUR)), ("other", window())]


def recorded(session: Session) -> list[Measurement]:
    """Three hours of two streams, two slices and two signals."""
    made = []
    for hours in range(3):
        at = window(START + hours * HOUR)
        for stream in ("a", "b"):
            of_window = [
                measurement(at, stream=stream, slice_key=slice_key, signal=signal)
                for slice_key in (ALL, "tenant=x")
                for signal in (Signal.EMI, Signal.EMID)
            ]
            record_window(session, summary(at, stream=stream), of_window)
            made += of_window
    return made


def test_measurements_are_of_windows_that_end_within_the_span(session: Session) -> None:
    made = recorded(session)
    found = measurements_between(session, None, START + 2 * HOUR, START + 3 * HOUR, limit=99)
    assert found == [m for m in made if m.window.end == START + 2 * HOUR]


def test_measurements_are_chosen_by_every_condition(session: Session) -> None:
    made = recorded(session)
    found = measurements_between(
        session, "b", START, NOW, slice_key=ALL, signal=Signal.EMID, limit=99
    )
    assert found == [
        m for m in made if (m.stream, m.slice_key, m.signal) == ("b", ALL, Signal.EMID)
    ]


@pytest.mark.parametrize("size", [1, 5, 24])
def test_pages_together_are_the_whole(session: Session, size: int) -> None:
    made = recorded(session)
    pages: list[Measurement] = []
    after = None
    while page := measurements_between(session, None, START, NOW, limit=size, after=after):
        assert len(page) <= size
        pages += page
        after = MeasurementKey.of(page[-1])
    assert pages == made


def test_two_processes_that_measure_one_window_leave_one_result(database: Database) -> None:
    at = window()
    for value in (0.1, 0.2):
        with database.begin() as session:
            record_window(session, summary(at), [measurement(at, value=value)])
    with database.read() as session:
        assert [m.value for m in measurements_of(session, STREAM, at)] == [0.2]
