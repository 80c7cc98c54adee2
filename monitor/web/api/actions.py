"""What the API changes, and what was changed: notes, promotions, activations, forgetting, audit."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from monitor.records import ALL, Signal
from monitor.service.acting import MAX_NOTE, Actor
from monitor.service.promotion_choice import PromotionWish
from monitor.store.acknowledgements import Acknowledgement, acknowledgements
from monitor.store.audit import Outcome, audit_entries
from monitor.store.tasks import TaskState, find_task, recent_tasks
from monitor.web.api.parameters import (
    MAX_NAME,
    PROBLEMS,
    Cursor,
    OneShape,
    cursor_of,
    key_of,
)
from monitor.web.api.schema import Shown
from monitor.web.session import visitor

MAX_ROWS = 500
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS)]
Key = Annotated[int, Path(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class Asked(BaseModel):
    """A body; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NewNote(Asked):
    """A note on windows of a stream; of every slice and signal unless they are named."""

    stream: Name
    since: AwareDatetime
    until: AwareDatetime | None = Field(None, description="Without it all that come are meant.")
    note: Annotated[str, Field(min_length=1, max_length=MAX_NOTE)]
    slice_: Annotated[str | None, Field(alias="slice", max_length=MAX_NAME)] = None
    signal: Signal | None = None


class NewPromotion(Asked):
    """Past traffic of a stream that is to be normal."""

    stream: Name
    since: AwareDatetime
    until: AwareDatetime | None = None
    name: Annotated[str | None, Field(max_length=MAX_NAME)] = None
    include_drifting: bool = False
    activate: bool = False


class NewActivation(Asked):
    """Which version is to judge which stream."""

    reference: Name
    stream: Name
    without_quality: bool = False


class ToForget(Asked):
    """An exchange."""

    stream: Name
    id: Name


class NoteLine(Shown):
    """A note; `withdrawn_at` is set where it counts no longer."""

    id: int
    stream: str
    slice_key: str | None = Field(serialization_alias="slice")
    signal: Signal | None
    since: datetime
    until: datetime | None
    note: str
    author: str
    created_at: datetime
    withdrawn_at: datetime | None
    withdrawn_by: str | None


class NotePage(Shown):
    """Newest first."""

    acknowledgements: list[NoteLine]
    next: str | None


class TaskLine(Shown):
    """Work of minutes: how far it is, what came of it, or why it failed."""

    id: int
    kind: str
    state: TaskState
    asked_by: str
    asked_at: datetime
    stage: str
    done: int
    total: int
    finished_at: datetime | None
    result: dict[str, object] | None
    problem: str | None


class Tasks(Shown):
    """Newest first."""

    tasks: list[TaskLine]


class AuditLine(Shown):
    """Who did what to what, and how it ended."""

    id: int
    at: datetime
    who: str
    action: str
    target: str
    outcome: Outcome
    detail: str


class AuditPage(Shown):
    """Newest first."""

    entries: list[AuditLine]
    next: str | None


class Done(Shown):
    """It is done."""

    id: int | None = None
    reference: str | None = None


def action_api_routes(actor: Actor) -> APIRouter:
    """``acknowledgements``, ``promotions``, ``activations``, ``forget``, ``tasks``, ``audit``."""
    router = APIRouter(prefix="/api/v1", tags=["acting"], route_class=OneShape, responses=PROBLEMS)
    _add_notes(router, actor)
    _add_work(router, actor)
    _add_records(router, actor)
    return router


def _add_notes(router: APIRouter, actor: Actor) -> None:
    @router.get("/acknowledgements")
    def notes(
        stream: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
        cursor: Cursor = None,
        limit: Rows = 100,
    ) -> NotePage:
        """Notes, also those that were withdrawn."""
        with actor.database.read() as session:
            found = acknowledgements(
                session,
                stream=stream,
                with_withdrawn=True,
                before=_before(cursor),
                limit=limit + 1,
            )
        lines = [NoteLine.model_validate(note) for note in found[:limit]]
        return NotePage(acknowledgements=lines, next=_next(lines, len(found) > limit))

    @router.post("/acknowledgements", status_code=201)
    def acknowledge(body: NewNote) -> Done:
        """Say something about windows; it changes no measurement and silences no alert."""
        who = visitor().who
        said = Acknowledgement(
            stream=body.stream,
            since=body.since,
            until=body.until,
            note=body.note,
            author=who,
            created_at=actor.clock(),
            slice_key=None if body.slice_ == ALL else body.slice_,
            signal=body.signal,
        )
        return Done(id=actor.acknowledge(said, who))

    @router.post("/acknowledgements/{id}/withdraw")
    def withdraw(id: Key) -> Done:  # noqa: A002 - what the address calls it
        """Let a note count no longer."""
        actor.withdraw(id, visitor().who)
        return Done(id=id)


def _add_work(router: APIRouter, actor: Actor) -> None:
    @router.post("/promotions", status_code=202)
    def promote(body: NewPromotion) -> TaskLine:
        """Have a version made of past windows; the task that is answered says what came of it."""
        wish = PromotionWish(
            body.stream,
            body.since,
            body.until or actor.clock(),
            body.name,
            body.include_drifting,
        )
        task = actor.ask_promotion(wish, visitor().who, activate_it=body.activate)
        return TaskLine.model_validate(task)

    @router.post("/activations", status_code=201)
    def activate(body: NewActivation) -> Done:
        """Let a version judge a stream from now on; with the one of before it is a rollback."""
        version = actor.activate(
            body.reference, body.stream, visitor().who, without_quality=body.without_quality
        )
        return Done(reference=version.identity)

    @router.post("/forget", status_code=202)
    def forget(body: ToForget) -> TaskLine:
        """Have an exchange deleted everywhere, as the command does; this cannot be undone."""
        found = actor.forgettable(body.stream, body.id)
        if not (found.samples or found.references):
            raise HTTPException(404, "nothing is stored of an exchange of this id and stream")
        return TaskLine.model_validate(actor.ask_forgetting(body.stream, body.id, visitor().who))


def _add_records(router: APIRouter, actor: Actor) -> None:
    @router.get("/tasks")
    def tasks(limit: Rows = 20) -> Tasks:
        """Work that was asked for."""
        with actor.database.read() as session:
            found = recent_tasks(session, limit)
        return Tasks(tasks=[TaskLine.model_validate(task) for task in found])

    @router.get("/tasks/{id}")
    def task(id: Key) -> TaskLine:  # noqa: A002 - what the address calls it
        """One task."""
        with actor.database.read() as session:
            found = find_task(session, id)
        if found is None:
            raise HTTPException(404, "there is no such task, or not any more")
        return TaskLine.model_validate(found)

    @router.get("/audit")
    def audit(cursor: Cursor = None, limit: Rows = 100) -> AuditPage:
        """Who did what; neither content nor ids of exchanges."""
        with actor.database.read() as session:
            found = audit_entries(session, before=_before(cursor), limit=limit + 1)
        lines = [AuditLine.model_validate(entry) for entry in found[:limit]]
        return AuditPage(entries=lines, next=_next(lines, len(found) > limit))


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        (id_,) = key_of(cursor, int, 1)
    except ValueError as exc:
        raise HTTPException(400, str(exc)) from exc
    return int(id_)


def _next(lines: list[NoteLine] | list[AuditLine], has_more: bool) -> str | None:  # noqa: FBT001 - one of two
    return cursor_of(lines[-1].id) if has_more and lines else None
