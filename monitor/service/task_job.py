"""Does the work of minutes that pages ask for; what it is at is in the database."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

import structlog

from monitor.errors import MonitorError, NothingLearnedError
from monitor.service.acting import ACTIONS, FORGET, PROMOTE
from monitor.service.forget import Forgetter
from monitor.service.promotion import Promoter
from monitor.service.promotion_choice import PromotionWish
from monitor.store.audit import AuditEntry, Outcome, record_audit
from monitor.store.engine import Database
from monitor.store.forgetting import Wanted
from monitor.store.tasks import (
    Task,
    claim_task,
    finish_task,
    has_open_tasks,
    note_progress,
)

log = structlog.get_logger()
BETWEEN = timedelta(seconds=1)  # two notes of progress
STOPPED = "the monitor was stopped meanwhile; ask for it again"
UNEXPECTED = "this failed, and the log says why"
Result = Mapping[str, object]


class _StoppedError(Exception):
    """The daemon stops, or the task was given up."""


class TaskJob:
    """Takes the task that waits and works on it until it is done, told to stop, or failed."""

    def __init__(
        self,
        *,
        database: Database,
        promoter: Promoter,
        forgetter: Forgetter,
        clock: Callable[[], datetime],
        should_stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._promoter = promoter
        self._forgetter = forgetter
        self._clock = clock
        self._should_stop = should_stop
        self._noted: datetime | None = None

    def __call__(self) -> None:
        """Work on one task, if there is one."""
        with self._database.read() as session:
            if not has_open_tasks(session):
                return
        with self._database.begin() as session:
            task = claim_task(session, self._clock())
        if task is None:
            return
        log.info("task_started", task=task.id, kind=task.kind)
        try:
            result = self._work(task)
        except _StoppedError:
            self._end(task, problem=STOPPED)
        except MonitorError as exc:
            self._end(task, problem=str(exc))
        except Exception:
            self._end(task, problem=UNEXPECTED)
            raise
        else:
            self._end(task, result=result)

    def _work(self, task: Task) -> Result:
        def report(stage: str, done: int, total: int) -> None:
            self._report(task, stage, done, total)

        kinds: Mapping[str, Callable[[Task, Callable[[str, int, int], None]], Result]] = {
            PROMOTE: self._promote,
            FORGET: self._forget,
        }
        return kinds[task.kind](task, report)

    def _promote(self, task: Task, report: Callable[[str, int, int], None]) -> Result:
        asked = task.asked
        name = asked.get("name")
        wish = PromotionWish(
            stream=str(asked["stream"]),
            since=datetime.fromisoformat(str(asked["since"])),
            until=datetime.fromisoformat(str(asked["until"])),
            name=str(name) if name else None,
            include_drifting=bool(asked["include_drifting"]),
        )
        made = self._promoter.promote(wish, report)
        result = {**made.as_json(), "activated": bool(asked["activate"])}
        try:
            self._promoter.store(made, who=task.asked_by, activate_it=bool(asked["activate"]))
        except NothingLearnedError as exc:
            result |= {"activated": False, "not_activated": str(exc)}
        return result

    def _forget(self, task: Task, report: Callable[[str, int, int], None]) -> Result:
        wanted = Wanted(
            exchange_id=str(task.asked["exchange_id"]), stream=str(task.asked["stream"])
        )
        counts, replaced = self._forgetter.forget(wanted, self._forgetter.find(wanted), report)
        return {
            **asdict(counts),
            "replaced": [[r.old.identity, r.new.identity] for r in replaced],
        }

    def _report(self, task: Task, stage: str, done: int, total: int) -> None:
        if self._should_stop():
            raise _StoppedError
        now = self._clock()
        if self._noted is not None and now - self._noted < BETWEEN:
            return
        self._noted = now
        with self._database.begin() as session:
            if not note_progress(session, task.id, (stage, done, total), now):
                raise _StoppedError

    def _end(self, task: Task, *, result: Result | None = None, problem: str | None = None) -> None:
        now, target = self._clock(), str(task.asked["stream"])
        outcome = Outcome.DONE if problem is None else Outcome.FAILED
        action, detail = ACTIONS[task.kind], f"task {task.id}"
        entry = AuditEntry(now, task.asked_by, action, target, outcome, detail)
        with self._database.begin() as session:
            shown = None if result is None else _finite(result)
            ended = finish_task(session, task.id, now, result=shown, problem=problem)
            if ended and not (task.kind == PROMOTE and problem is None):  # that says so itself
                record_audit(session, entry)
        log.info("task_ended", task=task.id, kind=task.kind, outcome=outcome.value)


def _finite(result: Result) -> dict[str, object]:
    """As databases take it: JSON knows no infinity."""
    shown = _plain(result)
    assert isinstance(shown, dict)  # noqa: S101 - what a mapping becomes
    return shown


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
