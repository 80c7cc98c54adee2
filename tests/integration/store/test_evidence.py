"""Evidence is a function of the counted windows in order, however they came to be there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select
from sqlalchemy.orm import Session

from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.stats.sequential import Evidence, accumulate
from monitor.store.evidence import GAP, record_evidence, with_newest_evidence
from monitor.store.retention import forget_measurements
from monitor.store.streams import ensure_streams
from monitor.store.tables import EvidenceRow
from monitor.store.windows import measurements_between, measurements_of, record_window
from tests.integration.store.builders import HOUR, NOW, START, STREAM

THRESHOLD = 50.0


def window(hour: float) -> WindowId:
    return WindowId(START + hour * HOUR, START + (hour + 1) * HOUR)


def measured(hour: float, *scores: float, **more: object) -> Measurement:
    plain = Measurement(
        STREAM,
        ALL,
        Signal.EMI,
        window(hour),
        200,
        Verdict.IN_CONTROL,
        "coco@0123",
        value=0.1,
        evidence_threshold=THRESHOLD,
        scores=scores,
    )
    return replace(plain, **more)  # type: ignore[arg-type]  # fields by name


def count(session: Session, *measurements: Measurement, measured_at: datetime = NOW) -> None:
    """Record one window and count it."""
    first = measurements[0]
    at, reference = first.window, first.reference
    summary = WindowSummary(first.stream, at, reference, 1, 200, 200, 0, {}, measured_at)
    record_window(session, summary, measurements)
    record_evidence(session, measurements)


def found(session: Session, hour: float, **more: object) -> Measurement:
    (one,) = [
        m
        for m in measurements_of(session, STREAM, window(hour))
        if all(getattr(m, name) == value for name, value in more.items())
    ]
    return one


def expected(scores: Sequence[float]) -> Evidence:
    return reduce(lambda e, s: accumulate(e, [s], THRESHOLD), scores, Evidence())


def test_evidence_is_what_the_windows_say_one_after_the_other(session: Session) -> None:
    for hour, score in enumerate([0.5, 0.2, 0.9]):
        count(session, measured(hour, score))
    assert found(session, 2).evidence == pytest.approx(expected([0.5, 0.2, 0.9]).value)
    assert found(session, 2).evidence_threshold == THRESHOLD
    assert found(session, 2).persistent is False


SCORES = [0.4, -0.9, 0.8, 0.7, 0.9]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(SCORES))), again=st.lists(st.integers(0, 4), max_size=3))
def test_evidence_does_not_depend_on_the_order_in_which_windows_are_measured(
    session: Session, order: list[int], again: list[int]
) -> None:
    session.execute(delete(EvidenceRow))
    for hour in [*order, *again]:
        count(session, measured(hour, SCORES[hour]))
    evidence = [found(session, hour).evidence for hour in range(len(SCORES))]
    assert evidence == pytest.approx(
        [expected(SCORES[: hour + 1]).value for hour in range(len(SCORES))]
    )


def test_a_window_that_is_measured_again_counts_once_and_with_its_new_score(
    session: Session,
) -> None:
    for hour, score in enumerate([0.5, 0.2, 0.9]):
        count(session, measured(hour, score))
    count(session, measured(1, -0.6))
    assert found(session, 2).evidence == pytest.approx(expected([0.5, -0.6, 0.9]).value)


def test_a_persistent_shift_names_the_window_it_began_with(session: Session) -> None:
    for hour, score in enumerate([-1.0, -1.0, *[0.9] * 7]):
        count(session, measured(hour, score))
    last = found(session, 8)
    assert (last.persistent, last.evidence_since) == (True, window(2).start)


def test_another_reference_begins_a_run_of_its_own(session: Session) -> None:
    count(session, measured(0, 0.9))
    count(session, measured(1, 0.5, reference="coco@4567"))
    assert found(session, 1).evidence == pytest.approx(expected([0.5]).value)


def test_streams_do_not_mix(session: Session) -> None:
    for hour in range(3):
        count(session, measured(hour, 0.9))
        count(session, measured(hour, -0.3, stream="other"))
    count(session, measured(0, 0.8, stream="other"))
    assert found(session, 2).evidence == pytest.approx(expected([0.9] * 3).value)
    (other,) = measurements_of(session, "other", window(2))
    assert other.evidence == pytest.approx(expected([0.8, -0.3, -0.3]).value)
    (newest,) = with_newest_evidence(session, [measured(2.5)])
    assert newest.evidence == found(session, 2).evidence


def test_slices_and_signals_do_not_mix(session: Session) -> None:
    for hour in range(2):
        count(
            session,
            measured(hour, 0.9),
            measured(hour, 0.1, slice_key="tenant=a"),
            measured(hour, -0.3, signal=Signal.EMID),
        )
    by_scores = {
        0.9: found(session, 1, slice_key=ALL, signal=Signal.EMI),
        0.1: found(session, 1, slice_key="tenant=a"),
        -0.3: found(session, 1, signal=Signal.EMID),
    }
    assert {s: m.evidence for s, m in by_scores.items()} == {
        s: pytest.approx(expected([s, s]).value) for s in by_scores
    }


def test_a_slice_that_is_absent_for_a_while_carries_its_run_on(session: Session) -> None:
    count(session, measured(0, 0.9), measured(0, 0.9, slice_key="tenant=a"))
    count(session, measured(1, 0.9))
    count(session, measured(2, 0.9), measured(2, 0.5, slice_key="tenant=a"))
    rare = found(session, 2, slice_key="tenant=a")
    assert rare.evidence == pytest.approx(expected([0.9, 0.5]).value)


def test_a_window_that_cannot_be_judged_shows_the_evidence_before_it(session: Session) -> None:
    count(session, measured(0, 0.9))
    count(session, measured(1, verdict=Verdict.INSUFFICIENT, value=None))
    assert found(session, 1).evidence == pytest.approx(expected([0.9]).value)


def test_after_a_long_silence_a_run_begins_anew(session: Session) -> None:
    for hour in (0, GAP + 1):
        count(session, measured(hour, 0.9))
    assert found(session, GAP + 1).evidence == pytest.approx(expected([0.9, 0.9]).value)
    count(session, measured(2 * GAP + 3, 0.9))
    assert found(session, 2 * GAP + 3).evidence == pytest.approx(expected([0.9]).value)


def test_windows_that_cannot_be_judged_are_no_silence_in_whatever_order_they_are_measured(
    session: Session,
) -> None:
    count(session, measured(0, 0.9))
    for hour in range(1, GAP + 3):
        count(session, measured(hour, verdict=Verdict.INSUFFICIENT, value=None))
    count(session, measured(GAP + 3, 0.9))
    count(session, measured(0, 0.5))
    assert found(session, GAP + 3).evidence == pytest.approx(expected([0.5, 0.9]).value)


def test_windows_of_another_length_do_not_count_the_same_events_twice(session: Session) -> None:
    count(session, measured(0, 0.9))
    half = WindowId(START + HOUR / 2, START + HOUR)
    count(session, measured(0, 0.9, window=half))
    (same,) = measurements_of(session, STREAM, half)
    assert same.evidence == found(session, 0).evidence


def test_windows_of_two_lengths_that_begin_together_both_stay(session: Session) -> None:
    twice = WindowId(START, START + 2 * HOUR)
    count(session, measured(0, 0.9, window=twice))
    count(session, measured(0, 0.4))
    count(session, measured(1, 0.4))
    for at in (twice, window(0), window(1)):
        (one,) = measurements_of(session, STREAM, at)
        assert one.evidence == pytest.approx(expected([0.4]).value)


def test_a_window_that_is_not_counted_has_no_evidence_of_its_own(session: Session) -> None:
    count(session, measured(0, 0.9))
    summary = WindowSummary(STREAM, window(0.5), "coco@0123", 1, 200, 200, 0, {}, NOW)
    record_window(session, summary, [measured(0.5)])
    between = measurements_between(session, STREAM, START, NOW, limit=9)
    assert [m.evidence for m in between] == [pytest.approx(expected([0.9]).value), None]


def test_the_newest_window_shows_the_evidence_of_the_last_counted_one(session: Session) -> None:
    for hour in range(3):
        count(session, measured(hour, 0.9))
    (shown,) = with_newest_evidence(session, [measured(1.5)])
    assert shown.evidence == pytest.approx(expected([0.9] * 2).value)
    assert with_newest_evidence(session, [measured(1.5, reference="other@1")])[0].evidence is None


def test_evidence_is_forgotten_with_its_window_and_the_run_goes_on(session: Session) -> None:
    long_ago = NOW - timedelta(days=9)
    ensure_streams(session, [STREAM], NOW)
    count(session, measured(0, 0.9), measured_at=long_ago)
    count(session, measured(1, 0.9))
    forget_measurements(session, NOW - timedelta(days=1))
    count(session, measured(2, 0.9))
    left = session.scalars(select(EvidenceRow.window_start).order_by(EvidenceRow.window_start))
    assert list(left) == [window(1).start, window(2).start]
    assert found(session, 2).evidence == pytest.approx(expected([0.9] * 3).value)


def test_counting_a_window_reads_no_further_back_than_the_runs_that_it_goes_on_with(
    session: Session,
) -> None:
    slices = [ALL, *(f"tenant={i}" for i in range(10))]
    loaded: list[EvidenceRow] = []
    reads = []

    def note(row: EvidenceRow, _: object) -> None:
        loaded.append(row)

    event.listen(EvidenceRow, "load", note)
    for hour in range(9):
        loaded.clear()
        session.expunge_all()
        count(
            session,
            *(
                measured(hour, 0.5, signal=signal, slice_key=key)
                for signal in Signal
                for key in slices
            ),
        )
        reads.append(len(loaded))
    event.remove(EvidenceRow, "load", note)
    assert reads[8] == reads[3]
