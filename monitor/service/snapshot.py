"""The published state: one immutable snapshot that metrics, API and pages all render."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy.orm import Session

from monitor.records import (
    ALL,
    Measurement,
    ReferenceVersion,
    Signal,
    Verdict,
    WindowId,
    WindowSummary,
)
from monitor.store.counters import all_counts
from monitor.store.engine import Database
from monitor.store.evidence import with_newest_evidence
from monitor.store.history import newest_judged
from monitor.store.pending import pending_count
from monitor.store.references import active_references, list_references
from monitor.store.streams import newest_times, watermarks
from monitor.store.windows import latest_windows, measurements_of

# A stream that stays silent keeps its last values this long, then leaves the snapshot. One that
# has traffic but is not measured stays, without the old values.
KEEP_SILENT = timedelta(hours=24)
NEED_TARGETS = frozenset({Signal.OUTPUT_GAP, Signal.MI_QUERY_TARGET, Signal.EMI, Signal.EMID})


@dataclass(frozen=True, slots=True)
class StreamState:
    """Newest window of one stream. ``measurements`` is empty once they are too old to repeat.

    Those that need targets may be of an earlier window, see ``_with_late_targets``.
    ``last_seen`` is the newest event time that any source has shown, ``windows_due`` how many
    windows the last run of the measure job could not measure.
    """

    watermark: datetime | None
    reference: ReferenceVersion | None
    summary: WindowSummary | None = None
    measurements: tuple[Measurement, ...] = ()
    last_seen: datetime | None = None
    windows_due: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the daemon knew at one instant."""

    taken_at: datetime
    streams: Mapping[str, StreamState] = field(default_factory=dict)
    counts: Sequence[tuple[str, str, str, int]] = ()
    pending_samples: int = 0


class Publisher:
    """Builds a snapshot from the database and hands out the newest one.

    ``latest`` may be called from any thread; it returns what the last ``refresh`` built.
    ``targets_within``: how long after its window a target may come.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        targets_within: timedelta = timedelta(),
    ) -> None:
        self._database = database
        self._clock = clock
        self._targets_within = targets_within
        self._windows_due: Mapping[str, int] = {}
        self._latest = Snapshot(taken_at=clock())
        self._lock = Lock()

    def latest(self) -> Snapshot:
        """Newest snapshot; costs nothing."""
        return self._latest

    def note_windows_due(self, left: Mapping[str, int]) -> None:
        """What the measure job left; shown from the next ``refresh`` on."""
        self._windows_due = left

    def refresh(self, *, again: Collection[str] | None = None) -> None:
        """Read the state of every stream and replace the snapshot.

        Measurements of a window that has not been measured since are taken from the snapshot
        before: with hundreds of streams they are most of the work. Evidence of a window changes
        without that where an older one is measured again: those streams are to be read ``again``,
        all where none are named.
        """
        with self._lock:  # else the slower of two would publish what is older
            before = self._latest.streams
            keep = set[str]() if again is None else before.keys() - again
            self._latest = self._read({stream: before[stream] for stream in keep})

    def _read(self, known: Mapping[str, StreamState]) -> Snapshot:
        now = self._clock()
        with self._database.read() as session:
            versions = {version.digest: version for version in list_references(session)}
            active = active_references(session)
            summaries = {summary.stream: summary for summary in latest_windows(session)}
            last_seen = newest_times(session)
            streams = {}
            for stream, watermark in watermarks(session).items():
                summary = summaries.get(stream)
                digest = active.get(stream) or active.get("*")
                is_recent = summary is not None and now - summary.measured_at < KEEP_SILENT
                has_traffic = stream in last_seen and now - last_seen[stream] < KEEP_SILENT
                if summary is not None and not is_recent and not has_traffic:
                    continue
                streams[stream] = StreamState(
                    watermark=watermark,
                    reference=versions.get(digest) if digest else None,
                    summary=summary,
                    measurements=self._measured(session, summary, known.get(stream))
                    if summary is not None and is_recent
                    else (),
                    last_seen=last_seen.get(stream),
                    windows_due=self._windows_due.get(stream, 0),
                )
            return Snapshot(
                taken_at=now,
                streams=streams,
                counts=tuple(all_counts(session)),
                pending_samples=pending_count(session),
            )

    def _measured(
        self, session: Session, summary: WindowSummary, known: StreamState | None
    ) -> tuple[Measurement, ...]:
        if known is not None and known.summary == summary and known.measurements:
            return known.measurements
        newest = measurements_of(session, summary.stream, summary.window)
        shown = _with_late_targets(session, summary, newest, self._targets_within)
        return tuple(with_newest_evidence(session, shown))


def _with_late_targets(
    session: Session,
    summary: WindowSummary,
    newest: Sequence[Measurement],
    targets_within: timedelta,
) -> Sequence[Measurement]:
    """Where the newest window still waits for targets, EMI and its like of the last that has them.

    Else nobody would ever be told that answers got worse where labels take longer than a slide.
    It goes no further back than the window whose targets may still be coming.
    """
    window = summary.window
    emi = next((m for m in newest if (m.slice_key, m.signal) == (ALL, Signal.EMI)), None)
    if emi is None or emi.verdict is not Verdict.INSUFFICIENT:
        return newest
    last = newest_judged(
        session, summary.stream, Signal.EMI, start=window.start - targets_within - _length(window)
    )
    if last is None or last.reference != emi.reference:
        return newest
    earlier = {
        (m.slice_key, m.signal): m
        for m in measurements_of(session, summary.stream, last.window)
        if m.signal in NEED_TARGETS
    }
    return [earlier.get((m.slice_key, m.signal), m) for m in newest]


def _length(window: WindowId) -> timedelta:
    return window.end - window.start
