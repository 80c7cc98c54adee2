from dataclasses import replace
from datetime import timedelta

from sqlalchemy.orm import Session

from monitor.records import Measurement, Signal, Verdict, WindowId
from monitor.store.tables import EvidenceRow
from monitor.store.timeline import (
    drifting_starts,
    persistent_starts,
    points_of,
    starts_between,
    windows_between,
    worst_of_windows,
)
from monitor.store.windows import record_window
from tests.integration.store.builders import HOUR, START, STREAM, measurement, summary, window

END = START + 100 * HOUR


def hours(count: int) -> list[WindowId]:
    return [window(START + i * HOUR) for i in range(count)]


def out(m: Measurement, excess: float = 2.0) -> Measurement:
    return replace(m, verdict=Verdict.DRIFTING, excess_ratio=excess)


def calm(at: WindowId, signal: Signal = Signal.EMI) -> Measurement:
    m = measurement(at, signal=signal)
    return replace(m, verdict=Verdict.IN_CONTROL, excess_ratio=0.4)


def record(session: Session, at: WindowId, *measured: Measurement) -> None:
    record_window(session, summary(at), measured)


def test_windows_are_those_that_start_within_the_time(session: Session) -> None:
    first, second, third = hours(3)
    for at in (third, first, second):
        record(session, at)
    assert windows_between(session, STREAM, START, third.start) == [first, second]
    assert windows_between(session, "other", START, END) == []


def test_starts_come_with_the_length_of_the_last(session: Session) -> None:
    first, second = hours(2)
    record(session, first)
    record(session, WindowId(second.start, second.start + timedelta(minutes=30)))
    found = starts_between(session, STREAM, START, END)
    assert found == ([first.start, second.start], timedelta(minutes=30))
    assert starts_between(session, "other", START, END) == ([], timedelta(0))


def test_points_are_those_of_the_slice_in_the_chosen_windows_by_signal(session: Session) -> None:
    first, second, third = hours(3)
    for at in (first, second, third):
        record(
            session,
            at,
            measurement(at, signal=Signal.EMI, value=0.5),
            measurement(at, signal=Signal.VISUAL_DISCREPANCY, value=0.1),
            measurement(at, slice_key="tenant=a"),
        )
    found = points_of(session, STREAM, "all", [first.start, third.start])
    assert [(p.signal, p.window, p.value) for p in found] == [
        (Signal.EMI, first, 0.5),
        (Signal.EMI, third, 0.5),
        (Signal.VISUAL_DISCREPANCY, first, 0.1),
        (Signal.VISUAL_DISCREPANCY, third, 0.1),
    ]


def test_a_window_drifts_if_any_signal_of_the_slice_does(session: Session) -> None:
    first, second, third = hours(3)
    record(session, first, calm(first), out(measurement(first, signal=Signal.EMID)))
    record(session, second, calm(second), out(measurement(second, slice_key="tenant=a")))
    record(session, third, out(measurement(third)), out(measurement(third, signal=Signal.EMID)))
    assert drifting_starts(session, STREAM, "all", START, END) == [first.start, third.start]
    assert drifting_starts(session, STREAM, "all", START, third.start) == [first.start]
    assert drifting_starts(session, STREAM, "tenant=a", START, END) == [second.start]


def test_a_window_is_persistent_where_the_evidence_of_any_signal_stands(session: Session) -> None:
    first, second = hours(2)
    for at, slice_key, stands in (
        (first, "all", False),
        (second, "all", True),
        (first, "a=b", True),
    ):
        session.add(
            EvidenceRow(
                stream=STREAM,
                window_start=at.start,
                window_end=at.end,
                slice_key=slice_key,
                signal=Signal.EMI,
                reference="normal",
                scores=[1.0],
                threshold=10.0,
                bets=[1.0],
                windows=1,
                is_persistent=stands,
            )
        )
    session.flush()
    assert persistent_starts(session, STREAM, "all", START, END) == [second.start]


def test_the_worst_of_a_window_is_its_largest_excess_and_whether_it_drifts(
    session: Session,
) -> None:
    first, second = hours(2)
    record(session, first, out(measurement(first), 3.0), calm(first, Signal.EMID))
    record(session, second, calm(second), out(measurement(second, slice_key="tenant=a")))
    found = worst_of_windows(session, STREAM, START - HOUR)
    assert [(w.window, w.is_drifting) for w in found] == [(first, True), (second, False)]
    assert found[0].excess_ratio == 3.0
    assert [w.window for w in worst_of_windows(session, STREAM, START)] == [second]
