"""Cursors, counters, streams and the quarantine."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from monitor.records import Cursor, Rejection
from monitor.store.counters import add_counts, all_counts
from monitor.store.cursors import cursors_of, forget_partitions, save_cursor
from monitor.store.quarantine import quarantine, quarantined
from monitor.store.streams import (
    PartitionTimes,
    advance_watermarks,
    ensure_streams,
    known_streams,
    newest_times,
    note_partition_times,
    partition_watermarks,
    watermarks,
)
from tests.integration.store.builders import HOUR, MINUTE, NOW, START


def test_a_cursor_comes_back_as_it_was_saved_last(session: Session) -> None:
    save_cursor(session, Cursor("file", "a.jsonl", 10, at_end=False), NOW)
    save_cursor(session, Cursor("file", "a.jsonl", 2**40, at_end=True), NOW)
    save_cursor(session, Cursor("other", "a.jsonl", 5, at_end=False), NOW)
    assert cursors_of(session, "file") == {"a.jsonl": Cursor("file", "a.jsonl", 2**40, at_end=True)}


def test_partitions_that_are_gone_and_were_not_read_for_long_are_forgotten(
    session: Session,
) -> None:
    for source, partition, age in [
        ("file", "gone", HOUR),
        ("file", "there", HOUR),
        ("file", "young", 0 * HOUR),
        ("other", "gone", HOUR),
    ]:
        save_cursor(session, Cursor(source, partition, 1, at_end=True), NOW - age)
        note_partition_times(session, source, partition, {"a": (START, START)})
    assert forget_partitions(session, "file", {"there"}, NOW) == 1
    assert [(t.source, t.partition) for t in partition_watermarks(session)] == [
        *(("file", partition) for partition in cursors_of(session, "file")),
        ("other", "gone"),
    ]
    assert set(cursors_of(session, "file")) == {"there", "young"}
    assert set(cursors_of(session, "other")) == {"gone"}


def test_the_newest_time_of_a_stream_is_that_of_any_partition(session: Session) -> None:
    note_partition_times(session, "file", "p", {"a": (START, START + HOUR), "b": (START, START)})
    note_partition_times(session, "other", "q", {"a": (START, START + MINUTE)})
    assert newest_times(session) == {"a": START + HOUR, "b": START}


def test_counts_add_up_by_source_format_and_outcome(session: Session) -> None:
    add_counts(session, "file", "native", {"sampled": 2, "passed": 40})
    add_counts(session, "file", "native", {"sampled": 3})
    add_counts(session, "http", "native", {"sampled": 1, "refused": 0})
    add_counts(session, "http", "openai", {})
    assert all_counts(session) == [
        ("file", "native", "passed", 40),
        ("file", "native", "sampled", 5),
        ("http", "native", "sampled", 1),
    ]


def test_a_known_stream_keeps_the_time_it_was_first_seen(session: Session) -> None:
    ensure_streams(session, ["b"], NOW)
    ensure_streams(session, ["a", "b", "a"], NOW + HOUR)
    ensure_streams(session, [], NOW)
    assert known_streams(session) == ["b", "a"]


def test_a_watermark_never_goes_back(session: Session) -> None:
    ensure_streams(session, ["a", "b", "c"], NOW)
    found = []
    for shift in (5, 3, 7):
        advance_watermarks(session, {"a": START + shift * MINUTE, "b": START, "unknown": START})
        found.append(watermarks(session))
    advance_watermarks(session, {})
    assert found == [{"a": START + i * MINUTE, "b": START} for i in (5, 5, 7)]


def test_times_of_a_partition_only_widen(session: Session) -> None:
    at = [START + i * MINUTE for i in range(5)]
    note_partition_times(session, "file", "p", {"a": (at[1], at[2]), "b": (at[0], at[0])})
    note_partition_times(session, "file", "p", {"a": (at[2], at[3])})
    note_partition_times(session, "file", "p", {"a": (at[0], at[1])})
    note_partition_times(session, "other", "p", {"a": (at[4], at[4])})
    note_partition_times(session, "other", "p", {})
    assert partition_watermarks(session, "file") == [
        PartitionTimes("file", "p", "a", at[0], at[3]),
        PartitionTimes("file", "p", "b", at[0], at[0]),
    ]
    assert len(partition_watermarks(session)) == 3


def test_times_of_any_zone_come_back_as_the_same_instant_in_utc(session: Session) -> None:
    ensure_streams(session, ["a"], NOW)
    local = datetime(2026, 3, 1, 17, 30, 0, 123456, timezone(timedelta(hours=5, minutes=30)))
    advance_watermarks(session, {"a": local})
    (stored,) = watermarks(session).values()
    assert stored == local
    assert stored.tzinfo is UTC


def test_a_time_without_zone_is_refused(session: Session) -> None:
    naive = datetime(2026, 3, 1)  # noqa: DTZ001 - the very thing that must not get in
    with pytest.raises(StatementError, match="expected an aware time"):
        ensure_streams(session, ["a"], naive)


def test_the_quarantine_keeps_the_newest_and_drops_the_oldest(session: Session) -> None:
    for number in range(5):
        quarantine(session, "file", "p", [Rejection("json", f"line {number}")], NOW, keep=3)
    shown = [q.rejection.detail for q in quarantined(session, limit=10)]
    assert shown == ["line 4", "line 3", "line 2"]


def test_more_rejections_at_once_than_are_kept_leave_the_last(session: Session) -> None:
    many = [Rejection("json", f"line {number}") for number in range(10)]
    quarantine(session, "file", "p", many, NOW, keep=4)
    quarantine(session, "file", "p", [], NOW, keep=4)
    shown = [q.rejection.detail for q in quarantined(session, limit=10)]
    assert shown == ["line 9", "line 8", "line 7", "line 6"]


def test_what_no_database_can_hold_is_replaced_and_everything_else_kept(session: Session) -> None:
    odd = "a\x00b \ud83d c \U0001f600 \u202e עברית e\u0301"
    quarantine(session, "file", "p\x00", [Rejection("json", odd, odd)], NOW)
    (found,) = quarantined(session, limit=1)
    clean = "a\ufffdb \ufffd c \U0001f600 \u202e עברית e\u0301"
    assert (found.partition, found.rejection) == ("p\ufffd", Rejection("json", clean, clean))
