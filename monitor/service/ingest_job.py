"""Reads the sources batch by batch, and moves the watermarks of the streams."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self, TypeVar

import structlog

from monitor.records import Cursor
from monitor.service.intake import Batch, Intake
from monitor.service.telemetry import Telemetry
from monitor.store.cursors import cursors_of, forget_partitions
from monitor.store.engine import Database
from monitor.store.streams import (
    PartitionTimes,
    advance_watermarks,
    known_streams,
    newest_times,
    partition_watermarks,
)
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.reading import AS_LOGGED, Reading
from monitor.traffic.formats.wire import Format
from monitor.traffic.sources.lines import Batch as ReadBatch

log = structlog.get_logger()
BATCH_LINES = 20_000
BATCH_BYTES = 256 * 2**20
READ_BYTES = 2**20
# So long after its last line a log was rotated away, or what comes next completes no call.
QUIET = timedelta(hours=1)
GONE = timedelta(days=7)  # a log that is not there and was last read then does not come back
NEVER = datetime.min.replace(tzinfo=UTC)


class Partition(Protocol):
    """Part of a source that is read in order: a file, say."""

    @property
    def id(self) -> str:
        """What its cursor is kept under."""


P = TypeVar("P", bound=Partition)


class Source(Protocol[P]):
    """Where lines come from; one thread at a time uses it.

    Offsets are the source's own. A partition is begun at 0, and ``read`` may be asked to go back to
    any offset that it gave out before: what was read and then not committed is read again.
    """

    name: str
    has_files: bool  # its partitions are files, which are taken away in time

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def ready(self, cursors: Mapping[str, Cursor]) -> list[P]:
        """The partitions with something unread; ``cursors`` are all of this source."""

    def partitions(self) -> set[str]:
        """Ids of all there are now, read or not."""

    def problems(self) -> list[str]:
        """What could not be read and why, each once for as long as it lasts."""

    def read(self, partition: P, offset: int, max_lines: int, max_bytes: int, /) -> ReadBatch:
        """The next lines; none if that cannot be done at the moment."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A source with the format of its records."""

    source: Source[Any]  # it is given back the partitions that it called ready
    format_name: str
    reading: Reading = AS_LOGGED


class IngestJob:
    """Reads what is unread; always from the partition that is furthest behind in event time.

    A stream's watermark is the event time up to which its panes are closed. While something is
    unread it is the smallest event time that an unread partition has reached; when nothing is, the
    largest that any has, and, where ``follows_clock``, the time now.

    A partition that has been ``QUIET`` is done with: what still waits for the rest of its call is
    given out or refused, and nothing of it stays in memory. A file that is ``GONE`` is forgotten,
    as each look at the sources goes through all that are known.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        feeds: Sequence[Feed],
        intake: Intake,
        telemetry: Telemetry,
        follows_clock: bool,
    ) -> None:
        self._database = database
        self._clock = clock
        self._feeds = {feed.source.name: feed for feed in feeds}
        self._intake = intake
        self._telemetry = telemetry
        self._follows_clock = follows_clock
        self._formats: dict[tuple[str, str], Format] = {}
        self._read_at: dict[tuple[str, str], datetime] = {}
        self._tidied_at = NEVER

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Read until nothing is unread, or until told to stop."""
        while not should_stop() and self.step():
            pass

    def step(self) -> bool:
        """Read one batch and move the watermarks; False if there was nothing to read."""
        unread = self._unread()
        if len(unread) > 1:
            reached = self._reached()
            unread.sort(key=lambda item: reached.get((item[0], item[1].id), NEVER))
        # What cannot be read on at the moment, a line still being written say, is passed over.
        has_read = any(self._read(*item) for item in unread)
        if unread:
            unread = self._unread()
        left = {(name, partition.id) for name, partition, _ in unread}
        self._end_quiet(left)
        self._advance(left)
        self._tidy()
        return has_read and bool(unread)

    def _unread(self) -> list[tuple[str, Partition, int]]:
        found = []
        with self._database.read() as session:
            cursors = {name: cursors_of(session, name) for name in self._feeds}
        for name, feed in self._feeds.items():
            for partition in feed.source.ready(cursors[name]):
                cursor = cursors[name].get(partition.id)
                found.append((name, partition, cursor.offset if cursor else 0))
            for problem in feed.source.problems():
                log.warning("source_unreadable", source=name, problem=problem)
        return found

    def _reached(self) -> dict[tuple[str, str], datetime]:
        reached: dict[tuple[str, str], datetime] = {}
        with self._database.read() as session:
            for row in partition_watermarks(session):
                key = row.source, row.partition
                reached[key] = max(row.last, reached.get(key, NEVER))
        return reached

    def _read(self, name: str, partition: Partition, offset: int) -> bool:
        feed = self._feeds[name]
        key = name, partition.id
        if key not in self._formats:
            self._formats[key] = format_named(feed.format_name, feed.reading)
        reading = _Reading(feed.source, partition, offset, grows=self._follows_clock)
        receipt = self._intake.admit_run(reading.batches(), self._formats[key])
        log.debug("batch_admitted", source=name, **receipt.outcomes)
        self._read_at[key] = self._clock()
        return reading.offset != offset  # back, where a log has been begun anew

    def _end_quiet(self, unread: set[tuple[str, str]]) -> None:
        before = self._clock() - QUIET
        quiet = [key for key, at in self._read_at.items() if at < before and key not in unread]
        for key in quiet:
            self._intake.admit(Batch(*key, lines=(), is_last=True), self._formats[key])
            del self._formats[key], self._read_at[key]

    def _advance(self, unread: set[tuple[str, str]]) -> None:
        now = self._clock()
        with self._database.begin() as session:
            times = partition_watermarks(session) if unread else []
            self._tell_lags(now, times, unread)
            read_so_far = {(row.source, row.partition) for row in times}
            if unread - read_so_far:
                return  # a partition that nobody has looked into may hold any time
            closed_until = newest_times(session)
            if self._follows_clock and not unread:
                closed_until = {
                    stream: max(now, closed_until.get(stream, now))
                    for stream in known_streams(session)
                }
            closed_until |= _smallest(times, unread)
            advance_watermarks(session, closed_until)

    def _tidy(self) -> None:
        now = self._clock()
        if not self._follows_clock or now < self._tidied_at + QUIET:
            return
        self._tidied_at = now
        for name, feed in self._feeds.items():
            # None of them is there while a folder is not mounted.
            if feed.source.has_files and (present := feed.source.partitions()):
                with self._database.begin() as session:
                    forget_partitions(session, name, present, now - GONE)

    def _tell_lags(
        self, now: datetime, times: Sequence[PartitionTimes], unread: set[tuple[str, str]]
    ) -> None:
        newest: dict[tuple[str, str], datetime] = {}
        for row in times:
            key = row.source, row.partition
            newest[key] = max(row.last, newest.get(key, NEVER))
        for name in self._feeds:
            lags = [now - last for key, last in newest.items() if key in unread and key[0] == name]
            seconds = max((lag.total_seconds() for lag in lags), default=0.0)
            self._telemetry.source_lag.labels(name).set(max(seconds, 0.0))


def _smallest(times: Sequence[PartitionTimes], unread: set[tuple[str, str]]) -> dict[str, datetime]:
    """By stream, the time that the unread partition has reached which is furthest behind."""
    smallest: dict[str, datetime] = {}
    for row in times:
        if (row.source, row.partition) in unread:
            smallest[row.stream] = min(row.last, smallest.get(row.stream, row.last))
    return smallest


class _Reading:
    """One transaction's worth of a partition, read in pieces that stay in a core's cache."""

    def __init__(
        self, source: Source[Any], partition: Partition, offset: int, *, grows: bool
    ) -> None:
        self._source = source
        self._partition = partition
        self._start = offset
        self._grows = grows
        self.offset = offset

    def batches(self) -> Iterator[Batch]:
        lines = 0
        is_over = False
        while not is_over:
            start = self.offset
            read = self._source.read(self._partition, start, BATCH_LINES - lines, READ_BYTES)
            self.offset = read.next_offset
            lines += len(read.lines)
            yield Batch(
                source=self._source.name,
                partition=self._partition.id,
                lines=read.lines,
                rejections=read.rejections,
                offset=start,
                cursor=Cursor(self._source.name, self._partition.id, read.next_offset, read.at_end),
                is_last=read.at_end and not self._grows,
            )
            is_full = lines >= BATCH_LINES or self.offset - self._start >= BATCH_BYTES
            is_over = read.at_end or is_full or self.offset == start
