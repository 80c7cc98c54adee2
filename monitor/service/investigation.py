"""Why a window is what it is: the case of a window put together, and windows compared."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import BoundedSemaphore, Lock

from sqlalchemy.orm import Session

from monitor.errors import BusyError, MonitorError, ReferenceNotFoundError, WindowNotFoundError
from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.service.case import Case, Comparison
from monitor.service.comparison import compare_windows
from monitor.service.dissection import CaseLimits, dissect
from monitor.service.findings import Findings, leading_signal, verdict_in_words, worst_first
from monitor.service.measure import MeasureRules
from monitor.service.shelf import LoadedReference, ReferenceShelf
from monitor.store.engine import Database
from monitor.store.evidence import with_newest_evidence
from monitor.store.exemplars import Fingerprint, content_fingerprint
from monitor.store.history import Run, find_window, recorded_window, unbroken_run
from monitor.store.references import find_reference
from monitor.store.windows import measurements_of

KEPT = 32  # cases in memory; one of 20 exchanges takes some 200 kB
PLACES = 8  # who may wait for a case; more would hold every thread of the web server
KEPT_FOR = timedelta(minutes=10)  # then the content of a reference may be gone, too
WEEK = timedelta(weeks=1)

_Key = tuple[str, WindowId, str, Signal | None, datetime, Fingerprint]


@dataclass(frozen=True, slots=True)
class CaseWish:
    """Which case: a window by its end (None: the newest), a slice, what to rank by."""

    stream: str
    end: datetime | None = None
    slice_key: str = ALL
    signal: Signal | None = None  # None: the leading one


@dataclass
class Investigator:
    """Puts cases together, one at a time, and keeps the newest in memory. Any thread may ask.

    Of too many that ask at once the last are refused with a ``BusyError``.

    Samples are taken as they were embedded for the reference that judged the window; no encoder
    is asked.
    """

    database: Database
    shelf: ReferenceShelf
    rules: MeasureRules
    clock: Callable[[], datetime]
    limits: CaseLimits = field(default_factory=CaseLimits)
    _lock: Lock = field(default_factory=Lock)
    _places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(PLACES))
    _kept: OrderedDict[_Key, tuple[datetime, Case]] = field(default_factory=OrderedDict)

    def case(self, wish: CaseWish) -> Case:
        """The case of a measured window; takes seconds, nothing when it was asked for before.

        Raises:
            WindowNotFoundError: if no such window or slice has been measured.
        """
        with self._turn(), self.database.read() as session:
            summary = _wanted(session, wish)
            window = summary.window
            mark = content_fingerprint(session, wish.stream, window.start, window.end)
            key = wish.stream, window, wish.slice_key, wish.signal, summary.measured_at, mark
            now = self.clock()
            kept = self._kept.get(key)
            if kept is not None and now - kept[0] < KEPT_FOR:
                self._kept.move_to_end(key)
                return kept[1]
            case = self._case(session, summary, wish)
            self._kept[key] = now, case
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return case

    def compare(
        self, wish: CaseWish, base: WindowId | None = None, *, back: timedelta = WEEK
    ) -> Comparison:
        """A window beside another one of its stream: the given one, or that of a week before.

        Raises:
            WindowNotFoundError: if one of them has not been measured.
        """
        with self._turn(), self.database.read() as session:
            here = _wanted(session, wish)
            other = base or WindowId(here.window.start - back, here.window.end - back)
            there = recorded_window(session, wish.stream, other)
            if there is None:
                raise WindowNotFoundError(
                    f"no window of {wish.stream!r} from {other.start:%Y-%m-%d %H:%M} to "
                    f"{other.end:%Y-%m-%d %H:%M} UTC has been measured"
                )
            loaded, _, _ = self._reference(session, here)
            return compare_windows(
                session, self._rules(loaded), loaded, there, here, wish.slice_key
            )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise BusyError("too many cases are asked for at once; ask again")
        try:
            with self._lock:
                yield
        finally:
            self._places.release()

    def _case(self, session: Session, summary: WindowSummary, wish: CaseWish) -> Case:
        stream, window = wish.stream, summary.window
        everything = with_newest_evidence(session, measurements_of(session, stream, window))
        slice_keys = sorted({m.slice_key for m in everything}, key=lambda k: (k != ALL, k))
        if wish.slice_key not in {*slice_keys, ALL}:
            raise WindowNotFoundError(
                f"slice {wish.slice_key!r} was not measured in this window of {stream!r}; "
                f"there are {', '.join(slice_keys[:10])}"
            )
        ranked = worst_first([m for m in everything if m.slice_key == wish.slice_key])
        measured = {m.signal: m for m in ranked}
        runs = _runs(session, ranked)
        leading = leading_signal(measured)
        loaded, digest, missing = self._reference(session, summary)
        blank = Case(
            stream=stream,
            slice_key=wish.slice_key,
            window=window,
            reference=summary.reference,
            reference_digest=digest,
            summary=summary,
            verdict=(),
            measurements=tuple(ranked),
            slice_keys=tuple(slice_keys),
            since={signal: run.since for signal, run in runs.items()},
            leading=leading,
            missing=missing,
        )
        case = blank
        if loaded is not None:
            case = dissect(session, self._rules(loaded), loaded, blank, wish.signal, self.limits)
        found = Findings(wish.slice_key, measured, runs, case.ranked_by, case.slices)
        return replace(case, verdict=verdict_in_words(found))

    def _rules(self, loaded: LoadedReference | None) -> MeasureRules:
        if loaded is None:
            return self.rules
        return replace(self.rules, encoder_digest=loaded.reference.encoder_digest)

    def _reference(
        self, session: Session, summary: WindowSummary
    ) -> tuple[LoadedReference | None, str | None, str | None]:
        """The reference that judged the window, its digest, and else why it cannot be had."""
        try:
            version = find_reference(session, summary.reference)
            return self.shelf.get(version.digest), version.digest, None
        except ReferenceNotFoundError:
            return None, None, f"the reference {summary.reference} that judged it is deleted"
        except MonitorError as exc:
            return None, None, str(exc)


def _wanted(session: Session, wish: CaseWish) -> WindowSummary:
    found = find_window(session, wish.stream, wish.end)
    if found is not None:
        return found
    when = "" if wish.end is None else f" that holds {wish.end:%Y-%m-%d %H:%M} UTC"
    raise WindowNotFoundError(f"no window of {wish.stream!r}{when} has been measured")


def _runs(session: Session, measurements: Sequence[Measurement]) -> dict[Signal, Run]:
    return {
        m.signal: unbroken_run(session, m) for m in measurements if m.verdict is Verdict.DRIFTING
    }
