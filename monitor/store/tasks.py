"""Work of minutes that a page asked for, one at a time; its state outlives the process.

A task waits, is claimed by one process, and ends. Whoever works on it renews the claim; when that
runs out, because the process was killed, the task has failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from monitor.errors import TaskRunningError
from monitor.store.tables import TaskRow, storable

CLAIM = timedelta(minutes=5)  # the longest time between two signs of progress
ABANDONED = "the process that worked on it ended; ask for it again"


class TaskState(StrEnum):
    """How far a task has come."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Task:
    """One task. ``asked`` are its arguments and ``result`` what came of it, in JSON."""

    id: int
    kind: str
    state: TaskState
    asked: Mapping[str, object]
    asked_by: str
    asked_at: datetime
    stage: str = ""
    done: int = 0
    total: int = 0
    finished_at: datetime | None = None
    result: Mapping[str, object] | None = None
    problem: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.state in {TaskState.DONE, TaskState.FAILED}


_LASTING = ("stream",)  # of the arguments
_OPEN = (TaskState.WAITING, TaskState.RUNNING)


def ask_task(
    session: Session, kind: str, asked: Mapping[str, object], by: str, now: datetime
) -> Task:
    """Put a task where a process finds it.

    Raises:
        TaskRunningError: while another one waits or runs.
    """
    give_up_abandoned(session, now)
    running = session.scalar(select(TaskRow).where(TaskRow.state.in_(_OPEN)))
    if running is not None:
        raise TaskRunningError(
            f"{running.asked_by} asked to {running.kind} at {running.asked_at:%H:%M} UTC and it "
            "is not finished; one such task runs at a time"
        )
    id_ = session.scalars(
        insert(TaskRow)
        .values(
            kind=kind,
            state=TaskState.WAITING,
            asked=dict(asked),
            asked_by=by,
            asked_at=now,
            stage="",
            done=0,
            total=0,
        )
        .returning(TaskRow.id)
    ).one()
    return Task(id_, kind, TaskState.WAITING, asked, by, now)


def has_open_tasks(session: Session) -> bool:
    """Whether any waits or runs."""
    open_ones = select(TaskRow.id).where(TaskRow.state.in_(_OPEN)).limit(1)
    return session.scalar(open_ones) is not None


def claim_task(session: Session, now: datetime) -> Task | None:
    """Take the task that waits, if there is one."""
    give_up_abandoned(session, now)
    row = TaskRow
    waiting = select(row.id).where(row.state == TaskState.WAITING).order_by(row.id).limit(1)
    id_ = session.scalar(
        update(row)
        .where(row.id == waiting.scalar_subquery(), row.state == TaskState.WAITING)
        .values(state=TaskState.RUNNING, claimed_until=now + CLAIM)
        .returning(row.id)
    )
    return None if id_ is None else find_task(session, id_)


def note_progress(session: Session, id_: int, step: tuple[str, int, int], now: datetime) -> bool:
    """Say how far a running task is, and renew the claim; False if it was given up meanwhile."""
    stage, done, total = step
    row = TaskRow
    renewed = session.scalar(
        update(row)
        .where(row.id == id_, row.state == TaskState.RUNNING)
        .values(stage=stage, done=done, total=total, claimed_until=now + CLAIM)
        .returning(row.id)
    )
    return renewed is not None


def finish_task(
    session: Session,
    id_: int,
    now: datetime,
    *,
    result: Mapping[str, object] | None = None,
    problem: str | None = None,
) -> bool:
    """End a running task, badly where there is a ``problem``; False if it had been given up.

    Of its arguments no more than the stream is kept: there may be an id that is to be forgotten.
    """
    row = session.get(TaskRow, id_, populate_existing=True)
    if row is None or row.state != TaskState.RUNNING:
        return False
    _end(row, now, result=result, problem=problem)
    return True


def give_up_abandoned(session: Session, now: datetime, *, all_of_them: bool = False) -> int:
    """Let tasks fail whose claim has run out; all that run, where nobody else can be at work."""
    running = select(TaskRow).where(TaskRow.state == TaskState.RUNNING)
    if not all_of_them:
        running = running.where(TaskRow.claimed_until < now)
    abandoned = session.scalars(running).all()
    for row in abandoned:
        _end(row, now, result=None, problem=ABANDONED)
    session.flush()
    return len(abandoned)


def _end(
    row: TaskRow, now: datetime, *, result: Mapping[str, object] | None, problem: str | None
) -> None:
    row.state = TaskState.DONE if problem is None else TaskState.FAILED
    row.asked = {key: row.asked[key] for key in _LASTING if key in row.asked}
    row.result = None if result is None else dict(result)
    row.problem = None if problem is None else storable(problem)
    row.finished_at, row.claimed_until = now, None


def find_task(session: Session, id_: int) -> Task | None:
    """The task of this id."""
    row = session.get(TaskRow, id_, populate_existing=True)
    return None if row is None else _task(row)


def recent_tasks(session: Session, limit: int) -> list[Task]:
    """Newest first."""
    rows = session.scalars(select(TaskRow).order_by(TaskRow.id.desc()).limit(limit))
    return [_task(row) for row in rows]


def forget_tasks(session: Session, before: datetime) -> int:
    """Delete tasks that ended long ago."""
    old = delete(TaskRow).where(TaskRow.asked_at < before, TaskRow.state.not_in(_OPEN))
    return session.connection().execute(old).rowcount


def _task(row: TaskRow) -> Task:
    return Task(
        id=row.id,
        kind=row.kind,
        state=TaskState(row.state),
        asked=row.asked,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        stage=row.stage,
        done=row.done,
        total=row.total,
        finished_at=row.finished_at,
        result=row.result,
        problem=row.problem,
    )
