"""What past healthy windows of a stream look like, and whether they are enough to judge by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.errors import CalibrationError
from monitor.records import Signal, WindowId, ceil_time
from monitor.reference.recalibration import PastWindow
from monitor.service.measure import Measurer, uniform_sample
from monitor.service.shelf import LoadedReference
from monitor.stats.burn_in import WINDOWS_MIN, alpha_supported, windows_needed
from monitor.store.engine import Database
from monitor.store.panes import first_pane, pane_states
from monitor.store.pending import pending_in_window
from monitor.store.samples import window_samples
from monitor.store.streams import watermarks

STAGE = "windows"
RHYTHM = timedelta(days=1)  # what windows must span, or the nights would not be among them

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Event time of which the windows are taken; everything that is stored where it is open."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Windows that do not overlap, in order of time."""

    windows: list[WindowId]
    estimates: list[PastWindow]

    @property
    def spanned(self) -> timedelta:
        """From the start of the first window to the end of the last."""
        return self.windows[-1].end - self.windows[0].start if self.windows else timedelta(0)


@dataclass(frozen=True, slots=True)
class Past:
    """Reads what a stream was like from the vectors that are still stored."""

    database: Database
    measurer: Measurer
    stream: str
    length: timedelta
    lateness: timedelta
    per_pane: int

    def history(self, reference: LoadedReference, span: Span, report: Report) -> History:
        """Every whole window against a reference, by the code that measures new ones."""
        history, windows = History([], []), list(self._windows(span))
        for done, window in enumerate(windows, 1):
            if estimates := self._estimates(window, reference):
                history.windows.append(window)
                history.estimates.append(estimates)
            report(STAGE, done, len(windows))
        return history

    def _windows(self, span: Span) -> Iterator[WindowId]:
        with self.database.read() as session:
            first, watermark = (
                first_pane(session, self.stream),
                watermarks(session).get(self.stream),
            )
        if first is None or watermark is None:
            return
        closed = watermark - self.lateness
        start = ceil_time(max(first, span.since or first), self.length)
        while (end := start + self.length) <= min(closed, span.until or closed):
            yield WindowId(start, end)
            start = end

    def _estimates(self, window: WindowId, reference: LoadedReference) -> PastWindow:
        with self.database.read() as session:
            if pending_in_window(session, self.stream, window.start, window.end):
                return {}
            panes = pane_states(session, self.stream, window.start, window.end)
            samples = window_samples(session, self.stream, window.start, window.end)
        samples = uniform_sample(samples, panes, self.per_pane)
        novelty = self.measurer.novelty(samples, reference)
        return self.measurer.estimates(samples, reference, novelty)


@dataclass(frozen=True, slots=True)
class Promise:
    """What thresholds are to hold: false alarms of a stream, windows of this length."""

    false_alarms_per_week: float
    length: timedelta
    alpha: float  # of one signal of one window

    @property
    def windows_needed(self) -> int:
        """Healthy windows without which a burn-in is refused."""
        return windows_needed(self.alpha)

    def require(self, history: History) -> None:
        """Refuse windows that cannot support the promise, and say how many more could.

        Raises:
            CalibrationError: with what is there, what is needed and the ways out.
        """
        k, needed = len(history.windows), self.windows_needed
        if k < needed:
            raise CalibrationError(
                f"{k} healthy windows of {_plain(self.length)} cannot support "
                f"alerts.false_alarms_per_week of {self.false_alarms_per_week:g}: {needed} are "
                f"needed, {_plain((needed - k) * self.length)} more of traffic{self._instead(k)}"
            )
        if history.spanned < RHYTHM:
            raise CalibrationError(
                f"the windows span {_plain(history.spanned)}; they must span {_plain(RHYTHM)} at "
                "least, or the rhythm of the day would be taken for drift"
            )

    def _instead(self, windows: int) -> str:
        if windows < WINDOWS_MIN:
            return ""
        rate = self.false_alarms_per_week * alpha_supported(windows) / self.alpha
        return f"; or accept {rate:.2g} a week"


def lacking_windows(history: History, needed: int) -> dict[Signal, int]:
    """Signals that too few windows have a value for, with how many have."""
    known = {s: sum(e[s].value is not None for e in history.estimates) for s in Signal}
    return {signal: k for signal, k in known.items() if k < needed}


def _plain(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} h"  # noqa: PLR2004 - two days
