"""The last day of every stream in memory, so that the overview costs no query per stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from monitor.records import WindowSummary
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.store.timeline import WorstOfWindow, worst_of_windows

SHOWN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Trend:
    """The worst excess of the newest windows of one stream, oldest first."""

    windows: tuple[WorstOfWindow, ...] = ()
    measured_at: datetime | None = None

    @property
    def since(self) -> datetime | None:
        """Since when windows have been drifting without a break, if the newest does.

        As for one signal: where what is new in the first of them begins.
        """
        since = None
        for worst in reversed(self.windows):
            if not worst.is_drifting:
                return since and max(since, worst.window.end)
            since = worst.window.start
        return since

    @property
    def is_cut(self) -> bool:
        """Whether the run began before the first window that is kept."""
        return (
            bool(self.windows)
            and self.windows[0].is_drifting
            and all(w.is_drifting for w in self.windows)
        )


class Trends:
    """Reads only what was measured since it was asked last; may be asked from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trends: dict[str, Trend] = {}
        self._lock = Lock()

    def of(self, snapshot: Snapshot) -> Mapping[str, Trend]:
        """The trend of every stream of the snapshot that has a measured window."""
        with self._lock:
            newest = {name: s.summary for name, s in snapshot.streams.items() if s.summary}
            stale = [s for name, s in newest.items() if self._is_stale(name, s)]
            if stale:
                self._read(stale)
            self._trends = {name: self._trends[name] for name in newest}
            return dict(self._trends)

    def _is_stale(self, name: str, summary: WindowSummary) -> bool:
        return name not in self._trends or self._trends[name].measured_at != summary.measured_at

    def _read(self, stale: Sequence[WindowSummary]) -> None:
        with self._database.read() as session:
            for summary in stale:
                window = summary.window
                oldest = window.end - SHOWN
                kept = self._trends.get(summary.stream, Trend()).windows
                # Windows that overlap the newest ones may have been measured again.
                again = kept[-1].window.start - (window.end - window.start) if kept else oldest
                after = max(oldest, again)
                found = worst_of_windows(session, summary.stream, after)
                before = (w for w in kept if oldest < w.window.start <= after)
                self._trends[summary.stream] = Trend((*before, *found), summary.measured_at)
