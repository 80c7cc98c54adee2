"""Measures every due window of every stream against its active reference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from monitor.errors import MonitorError
from monitor.records import ALL, Measurement, Verdict, WindowId, WindowSummary
from monitor.service.measure import Measurer, MeasureRules, count_image_states, uniform_sample
from monitor.service.shelf import LoadedReference, ReferenceShelf
from monitor.service.target_mix import comparable_targets, saying_why, teacher_targets
from monitor.store.engine import Database
from monitor.store.evidence import record_evidence
from monitor.store.panes import pane_states
from monitor.store.pending import pending_in_window, record_novelty
from monitor.store.references import active_references
from monitor.store.samples import window_samples
from monitor.store.streams import watermarks
from monitor.store.windows import due_windows, record_window, settle_panes

log = structlog.get_logger()
NO_REFERENCE = (
    "no reference is active; build one from traffic known to be good: "
    "mllm-monitor reference build FILE"
)
MIXED = (
    "the teacher's share of the targets differs strongly from the reference's; those of the other "
    "kind are not compared: mllm-monitor reference promote makes a reference of the present ones"
)
OVERLAP = "exchanges that the reference was made from are in windows; they are left out of them"


@dataclass(frozen=True, slots=True)
class DueWindow:
    """A window to be measured, at the revision its panes have now."""

    stream: str
    window: WindowId
    revision: int


class MeasureJob:
    """Finds the windows that are due and measures them; holds no state between runs.

    A crash before the commit repeats the window; the store replaces what was there. One failing
    window does not block the next.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        shelf: ReferenceShelf,
        rules: MeasureRules,
        on_failure: Callable[[], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._shelf = shelf
        self._rules = rules
        self._measurer = Measurer(rules)
        self._on_failure = on_failure
        self._should_stop = should_stop
        self._told: set[tuple[str, str]] = set()
        self.left: Mapping[str, int] = {}  # by stream, the due windows that the last run left
        self.measured: set[str] = set()  # streams of which the last run measured windows

    def require_usable_references(self) -> None:
        """Load every active reference, so that a wrong one stops the start and not the night."""
        with self._database.read() as session:
            digests = set(active_references(session).values())
        for digest in digests:
            self._shelf.get(digest)

    def __call__(self) -> None:
        """Measure until no window is due, or until told to stop."""
        with self._database.read() as session:
            marks = watermarks(session)
            active = active_references(session)
            judges = {stream: active.get(stream) or active.get("*") for stream in marks}
            due = {
                stream: self._due(session, stream, marks[stream])
                for stream, digest in judges.items()
                if digest is not None
            }
        left: dict[str, int] = {}
        self.measured = set()
        for stream, digest in judges.items():
            if digest is None:
                self._tell_once("no_active_reference", stream, NO_REFERENCE)
                continue
            try:
                reference = self._shelf.get(digest)
            except MonitorError as exc:
                self._on_failure()
                self._tell_once("reference_unusable", stream, str(exc))
                continue
            left[stream] = self._measure_all(due[stream], reference)
            if due[stream] and not self._should_stop():
                self._settle(stream, marks[stream])
        self.left = left

    def _due(self, session: Session, stream: str, watermark: datetime) -> list[DueWindow]:
        rules = self._rules
        found = due_windows(session, stream, rules.length, rules.slide, watermark - rules.lateness)
        return [DueWindow(stream, window, revision) for window, revision in found]

    def _measure_all(self, due: Sequence[DueWindow], reference: LoadedReference) -> int:
        """Measure the windows of one stream; how many could not be."""
        left = 0
        for d in due:
            if self._should_stop():
                return left
            try:
                is_measured = self._measure(d, self._not_made_from(d, reference))
                left += not is_measured
                if is_measured:
                    self.measured.add(d.stream)
            except Exception:
                left += 1
                self._on_failure()
                log.exception("window_failed", stream=d.stream, start=d.window.start.isoformat())
        return left

    def _settle(self, stream: str, watermark: datetime) -> None:
        rules = self._rules
        with self._database.begin() as session:
            settle_panes(session, stream, rules.length, rules.slide, watermark - rules.lateness)

    def _not_made_from(self, due: DueWindow, reference: LoadedReference) -> LoadedReference:
        """The version that judged before the burn-in, for a window that is part of the burn-in."""
        while (origin := reference.reference.origin_of(due.stream, due.window.start)) is not None:
            reference = self._shelf.get(origin)
        return reference

    def _measure(self, due: DueWindow, reference: LoadedReference) -> bool:
        """Whether it was measured; not while samples of it wait for their embeddings."""
        stream, window = due.stream, due.window
        with self._database.read() as session:
            if pending_in_window(session, stream, window.start, window.end):
                return False  # the embed job comes first
            panes = pane_states(session, stream, window.start, window.end)
            samples = window_samples(session, stream, window.start, window.end)
        samples = uniform_sample(samples, panes, self._rules.per_pane)
        novelty = self._measurer.novelty(samples, reference)
        compared, is_mixed = comparable_targets(samples, reference.reference.facts)
        measurements = self._measurer.measure(stream, window, compared, reference, novelty)
        if is_mixed:
            measurements = saying_why(measurements)
            self._tell_once("targets_left_out", stream, MIXED)
        judged = self._measurer.judged(samples, reference)
        if len(judged) < len(self._measurer.usable(samples)):
            self._tell_once("window_overlaps_reference", stream, OVERLAP)
        targets, of_teacher = teacher_targets(judged)
        summary = WindowSummary(
            stream=stream,
            window=window,
            reference=reference.reference.identity,
            revision=due.revision,
            seen=sum(pane.seen for pane in panes),
            n=len(judged),
            n_targets=targets,
            image_states=count_image_states(samples),
            measured_at=self._clock(),
            n_teacher_targets=of_teacher,
        )
        with self._database.begin() as session:
            record_novelty(session, reference.reference.digest, novelty.fresh)
            is_recorded = record_window(session, summary, measurements)
            if is_recorded and self._measurer.is_counted(window):
                record_evidence(session, measurements)
        log.info(
            "window_measured",
            stream=stream,
            start=window.start.isoformat(),
            end=window.end.isoformat(),
            n=len(judged),
            drifting=_drifting(measurements),
        )
        return True

    def _tell_once(self, event: str, stream: str, problem: str) -> None:
        if (stream, problem) not in self._told:
            self._told.add((stream, problem))
            log.warning(event, stream=stream, problem=problem)


def _drifting(measurements: Sequence[Measurement]) -> list[str]:
    return [
        m.signal.value for m in measurements if m.slice_key == ALL and m.verdict is Verdict.DRIFTING
    ]
