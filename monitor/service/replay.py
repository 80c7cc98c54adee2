"""Historical logs through the very jobs of the daemon, without a clock."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from monitor.records import Measurement
from monitor.service.ingest_job import Source
from monitor.service.wiring import Jobs
from monitor.store.engine import Database
from monitor.store.pending import release_claims
from monitor.store.streams import advance_watermarks, partition_watermarks
from monitor.store.windows import MeasurementKey, measurements_between

PAGE = 2_000


class Replay:
    """Reads the files of one source to their end; its progress is in the database alone."""

    def __init__(
        self,
        *,
        database: Database,
        jobs: Jobs,
        source: Source[Any],
        length: timedelta,
        lateness: timedelta,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._source = source
        self._length = length
        self._lateness = lateness

    def run(
        self, *, should_stop: Callable[[], bool], report: Callable[[str, int, int], None]
    ) -> bool:
        """Read, embed and measure until nothing is left; False if told to stop before."""
        with self._database.begin() as session:
            release_claims(session)
        batches = samples = 0

        def embedded(count: int) -> None:
            nonlocal samples
            samples += count
            report("samples embedded", samples, 0)

        has_more = True
        while has_more and not should_stop():
            has_more = self._jobs.ingest.step()
            self._jobs.embed(embedded)
            self._jobs.measure()
            batches += 1
            report("batches", batches, 0)
        if should_stop():
            return False
        self._close_panes()
        self._jobs.embed(embedded)
        self._jobs.measure()
        return not should_stop()

    def spans(self) -> dict[str, tuple[datetime, datetime]]:
        """First and last event time of each stream in the files."""
        spans: dict[str, tuple[datetime, datetime]] = {}
        partitions = self._source.partitions()
        with self._database.read() as session:
            for row in partition_watermarks(session, self._source.name):
                if row.partition in partitions:
                    first, last = spans.get(row.stream, (row.first, row.last))
                    spans[row.stream] = min(first, row.first), max(last, row.last)
        return spans

    def measurements(self) -> Iterator[Measurement]:
        """Everything measured in the windows that hold an event of the files, oldest first."""
        for stream, (first, last) in self.spans().items():
            after: MeasurementKey | None = None
            while True:
                with self._database.read() as session:
                    page = measurements_between(
                        session,
                        stream,
                        first,
                        last + self._length + timedelta(microseconds=1),
                        limit=PAGE,
                        after=after,
                    )
                yield from (m for m in page if first < m.window.end and m.window.start <= last)
                if len(page) < PAGE:
                    break
                after = MeasurementKey.of(page[-1])

    def _close_panes(self) -> None:
        """The files are finished: every window that holds one of their events may be measured."""
        with self._database.begin() as session:
            after = self._length + self._lateness
            advance_watermarks(session, {s: last + after for s, (_, last) in self.spans().items()})
