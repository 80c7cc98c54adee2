"""From records to the database: counted, sampled and committed together with the cursor."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from threading import Lock

import structlog
from sqlalchemy.orm import Session

from monitor.errors import MonitorError
from monitor.records import Candidate, Cursor, LateTarget, Rejection, floor_time
from monitor.service.derived import with_derived
from monitor.service.embedding import ImageFiles
from monitor.service.privacy import Privacy
from monitor.store.counters import add_counts
from monitor.store.cursors import cursors_of, save_cursor
from monitor.store.engine import Database
from monitor.store.keeping import keep_candidates
from monitor.store.panes import PaneKey, count_exchanges
from monitor.store.quarantine import quarantine
from monitor.store.streams import (
    ensure_streams,
    known_streams,
    note_partition_times,
    partition_watermarks,
)
from monitor.store.targets import samples_named, set_targets
from monitor.store.teacher import plan_asks
from monitor.traffic.formats.wire import Caps, Format, Reason, Record, Wire
from monitor.traffic.sampling import Kept, PaneSampler, is_chosen

log = structlog.get_logger()
STREAMS_FULL = "no further stream is watched; raise sampling.max_streams, or look at streams.by"
MAX_AHEAD = timedelta(minutes=5)  # how far a client's clock may be ahead of ours
KNOWN_PANES_MAX = 20_000
MAX_QUARANTINED_PER_BATCH = 50

ADMITTED, SAMPLED, DUPLICATE, LATE = "admitted", "sampled", "duplicate", "late"
OVER_STREAM_CAP, UNKNOWN_KEYS, PASSED_OVER = "over_stream_cap", "unknown_keys", "passed_over"
TARGET, TARGET_LATE = "target", "target_late"
TARGET_AMBIGUOUS = Reason.TARGET_AMBIGUOUS.value

Times = dict[str, tuple[datetime, datetime]]  # stream -> first and last event time


@dataclass(frozen=True, slots=True)
class SamplingRules:
    """Which exchanges are kept, how long one may come late, and what share the teacher answers."""

    per_pane: int
    seed: int
    pane: timedelta
    lateness: timedelta
    target_lateness: timedelta
    max_streams: int
    teacher_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines of one partition of a source, read in order from ``offset`` to the ``cursor``.

    ``counted_as`` is the source that the counts name, where that is not ``source``; ``is_last``
    says that nothing will follow.
    """

    source: str
    partition: str
    lines: Sequence[bytes]
    rejections: Sequence[Rejection] = ()
    offset: int = 0
    cursor: Cursor | None = None
    counted_as: str | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the records of one batch, by outcome."""

    outcomes: Mapping[str, int]

    @property
    def accepted(self) -> int:
        """Exchanges and targets that were counted, kept by the sampling rule or not."""
        return self.outcomes.get(ADMITTED, 0) + self.outcomes.get(TARGET, 0)


@dataclass(slots=True)
class _Sorted:
    """One batch, sorted into what is done with it."""

    sampler: PaneSampler[Wire]
    times: Times
    outcomes: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    new_streams: set[str] = field(default_factory=set)
    targets: list[tuple[LateTarget, datetime | None]] = field(default_factory=list)
    unreadable: Counter[PaneKey] = field(default_factory=Counter)


class Intake:
    """Admits batches one at a time; each is one transaction, so a kill loses or doubles nothing.

    An exchange is late if its pane closed more than ``lateness`` before the newest event time that
    the same partition had shown for its stream. That depends on the order of the records alone:
    not on the clock, on batches, or on other partitions.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        rules: SamplingRules,
        files: ImageFiles,
        privacy: Privacy | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self.rules = rules
        self._files = files
        self._privacy = privacy or Privacy()
        self._caps = Caps(images=files.limits)
        self._lock = Lock()
        self._streams: set[str] | None = None
        self._is_told_full = False
        self._times: dict[tuple[str, str], Times] = {}
        # Thresholds of full panes only fall, so a forgotten or old one admits too much, which the
        # store drops again.
        self._thresholds: dict[PaneKey, int] = {}

    def admit(self, batch: Batch, form: Format) -> Receipt:
        """As ``admit_run``, for one batch."""
        return self.admit_run(iter((batch,)), form)

    def admit_run(self, batches: Iterator[Batch], form: Format) -> Receipt:
        """Store what is to be kept and count the rest; done when it returns.

        The batches follow one another in one partition and are one transaction. Each is let go
        before the next is read, so a run may be longer than what fits into memory. With cursors
        nothing is done if another process has read on from the first offset before.
        """
        with self._lock, form.attempt():
            before = _counted_by(form)
            batch, found = self._sort(next(batches), batches, form)
            found.outcomes += _counted_by(form) - before
            candidates = list(self._candidates(found))
            with self._database.begin() as session:
                if _is_read_already(session, batch):
                    self._times.pop((batch.source, batch.partition), None)
                    return Receipt({})
                thresholds = self._store(session, batch, found, candidates)
                source = batch.counted_as or batch.source
                add_counts(session, source, form.name, found.outcomes)
            self._remember(batch, found, thresholds)
        return Receipt(+found.outcomes)  # without those that were none

    def _sort(self, first: Batch, others: Iterator[Batch], form: Format) -> tuple[Batch, _Sorted]:
        """What is done with each record, and the run as one batch whose lines are gone."""
        streams, times = self._recall(first)
        rules = self.rules
        found = _Sorted(
            PaneSampler(
                per_pane=rules.per_pane, seed=rules.seed, pane=rules.pane, known=self._thresholds
            ),
            times,
        )
        latest = self._clock() + MAX_AHEAD
        offer, last = found.sampler.offer, {s: span[1] for s, span in times.items()}
        late = 0
        batch = first
        for batch in chain((first,), others):
            found.rejections += batch.rejections
            parsed = chain.from_iterable(_parsed(form, line, latest) for line in batch.lines)
            for record in chain(parsed, _finished(batch, form)):
                if isinstance(record, Wire):
                    stream, time = record.stream, record.time
                    newest = last.get(stream)
                    if newest is None:
                        if stream not in streams and not self._take_stream(streams, stream, found):
                            continue
                        last[stream] = time
                    elif time > newest:
                        last[stream] = time
                    elif self._is_late(time, newest, rules.lateness):
                        late += 1
                        continue
                    offer(stream, time, record.id, record)
                elif isinstance(record, LateTarget):
                    found.targets.append((record, _newest(last, record.stream)))
                else:
                    found.rejections.append(record)
        found.outcomes[LATE] = late
        found.outcomes.update(rejection.reason for rejection in found.rejections)
        whole = replace(first, lines=(), rejections=(), cursor=batch.cursor, is_last=batch.is_last)
        return whole, found

    def _recall(self, batch: Batch) -> tuple[set[str], Times]:
        key = batch.source, batch.partition
        if self._streams is None or key not in self._times:
            with self._database.read() as session:
                self._streams = set(known_streams(session))
                self._times[key] = {
                    row.stream: (row.first, row.last)
                    for row in partition_watermarks(session, batch.source)
                    if row.partition == batch.partition
                }
        return self._streams, dict(self._times[key])

    def _take_stream(self, streams: set[str], stream: str, found: _Sorted) -> bool:
        if len(streams) + len(found.new_streams) < self.rules.max_streams:
            found.new_streams.add(stream)
            return True
        found.outcomes[OVER_STREAM_CAP] += 1
        if not self._is_told_full:
            self._is_told_full = True
            log.warning("streams_full", max_streams=self.rules.max_streams, remedy=STREAMS_FULL)
        return False

    def _is_late(self, time: datetime, newest: datetime, lateness: timedelta) -> bool:
        if time > newest - lateness:
            return False
        return floor_time(time, self.rules.pane) + self.rules.pane + lateness <= newest

    def _candidates(self, found: _Sorted) -> Iterator[Candidate]:
        for kept in found.sampler.kept():
            try:
                yield self._candidate(kept)
            except (MonitorError, MemoryError):
                raise
            except Exception as exc:  # noqa: BLE001 - see _unreadable
                found.rejections.append(_unreadable(exc))
                found.outcomes[Reason.UNREADABLE] += 1
                found.unreadable[kept.item.stream, kept.pane_start] += 1

    def _candidate(self, kept: Kept[Wire]) -> Candidate:
        exchange = kept.item.exchange(self._caps)
        images = self._files.find(exchange.images)
        # Derived from what was said, of which less may be kept.
        exchange = self._privacy.exchange(with_derived(exchange, images, self._privacy.keeps))
        return Candidate(exchange, kept.pane_start, kept.priority, images)

    def _store(
        self, session: Session, batch: Batch, found: _Sorted, candidates: Sequence[Candidate]
    ) -> Mapping[PaneKey, int]:
        now = self._clock()
        tallies = found.sampler.tallies()
        ensure_streams(session, found.new_streams, now)
        outcome = keep_candidates(session, candidates, self.rules.per_pane, now)
        # What is sent again is not seen again, else its pane would seem to have dropped something.
        repeated = outcome.repeated
        seen = {(t.stream, t.pane_start): t.seen for t in tallies}
        seen = {pane: n - repeated[pane] - found.unreadable[pane] for pane, n in seen.items()}
        count_exchanges(session, seen)
        for tally in tallies:
            first, last = found.times.get(tally.stream, (tally.first, tally.last))
            found.times[tally.stream] = min(first, tally.first), max(last, tally.last)
        note_partition_times(
            session,
            batch.source,
            batch.partition,
            {stream: found.times[stream] for stream in {t.stream for t in tallies}},
        )
        if share := self.rules.teacher_share:
            names = ((c.exchange.stream, c.exchange.id) for c in outcome.kept)
            plan_asks(session, [name for name in names if is_chosen(share, *name)], now)
        found.outcomes += Counter(
            {
                SAMPLED: len(outcome.kept),
                DUPLICATE: repeated.total() + found.sampler.duplicates,
                ADMITTED: sum(seen.values()),
            }
        )
        self._store_targets(session, found, now)
        shown = [*map(self._privacy.rejection, found.rejections[:MAX_QUARANTINED_PER_BATCH])]
        quarantine(session, batch.source, batch.partition, shown, now)
        if batch.cursor is not None:
            save_cursor(session, batch.cursor, now)
        return outcome.thresholds

    def _store_targets(self, session: Session, found: _Sorted, now: datetime) -> None:
        if not found.targets:
            return
        named = samples_named(session, [(t.stream, t.id) for t, _ in found.targets])
        in_time = []
        for target, newest in found.targets:
            samples = named[target.stream, target.id]
            if len(samples) > 1:
                found.outcomes[TARGET_AMBIGUOUS] += 1
                continue
            closed = samples[0].pane_start + self.rules.pane if samples else None
            if closed and newest and closed + self.rules.target_lateness <= newest:
                found.outcomes[TARGET_LATE] += 1
            else:
                in_time.append(self._privacy.target(target))
        set_targets(session, in_time, now)
        found.outcomes[TARGET] += len(in_time)

    def _remember(self, batch: Batch, found: _Sorted, thresholds: Mapping[PaneKey, int]) -> None:
        assert self._streams is not None  # noqa: S101 - recalled before anything was sorted
        self._streams |= found.new_streams
        if batch.is_last:
            self._times.pop((batch.source, batch.partition), None)
        else:
            self._times[batch.source, batch.partition] = found.times
        self._thresholds.update(thresholds)
        while len(self._thresholds) > KNOWN_PANES_MAX:
            self._thresholds.pop(next(iter(self._thresholds)))


def _parsed(form: Format, line: bytes, latest: datetime) -> Sequence[Record]:
    try:
        return form.parse(line, latest)
    except (MonitorError, MemoryError):
        raise
    except Exception as exc:  # noqa: BLE001 - see _unreadable
        return [_unreadable(exc)]


def _unreadable(exc: Exception) -> Rejection:
    """A record that nobody was prepared for must not hold up those behind it, now or again.

    The message of the error may quote the record, so only its place is told.
    """
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    place = f"{type(exc).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    log.error("record_unreadable", problem=place)
    return Rejection(Reason.UNREADABLE, f"reading it failed with {place}; please report this")


def _finished(batch: Batch, form: Format) -> Iterator[Record]:
    if batch.is_last:
        yield from form.finish()


def _counted_by(form: Format) -> Counter[str]:
    """What a format counts instead of giving a record for it."""
    return Counter(
        {
            UNKNOWN_KEYS: form.unknown_keys,
            DUPLICATE: form.duplicates,
            PASSED_OVER: form.passed_over,
        }
    )


def _newest(last: Mapping[str, datetime], stream: str) -> datetime | None:
    """Newest event time of a stream; of all, where a target does not say which is its."""
    return last.get(stream) if stream else max(last.values(), default=None)


def _is_read_already(session: Session, batch: Batch) -> bool:
    if batch.cursor is None:
        return False
    committed = cursors_of(session, batch.source).get(batch.partition)
    return (committed.offset if committed else 0) != batch.offset
