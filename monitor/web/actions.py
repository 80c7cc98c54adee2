"""Pages that change something: notes, a new normal, activation, forgetting; and who did what."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from monitor.records import ALL
from monitor.service.acting import PROMOTE, Actor
from monitor.service.promotion_choice import PromotionWish
from monitor.store.acknowledgements import Acknowledgement
from monitor.store.audit import audit_entries
from monitor.store.references import active_references, list_references
from monitor.store.streams import watermarks
from monitor.store.tasks import Task, find_task, recent_tasks
from monitor.web.forms import (
    Fields,
    our_path,
    required,
    required_time,
    signal_of,
    time_of,
    told,
)
from monitor.web.pages import Pages, parse_time
from monitor.web.rendering import link
from monitor.web.session import visitor

LISTED = 100
MAX_AUTHOR = 100


def action_routes(actor: Actor, pages: Pages) -> APIRouter:
    """Forms and what they do; each ends with a redirect, so that loading again repeats nothing."""
    router = APIRouter(include_in_schema=False)
    _add_notes(router, actor)
    _add_promotion(router, actor, pages)
    _add_forgetting(router, actor, pages)
    _add_records(router, actor, pages)
    return router


def _see(path: str, **query: object) -> Response:
    return RedirectResponse(link(path, **query), status_code=303)


def _add_notes(router: APIRouter, actor: Actor) -> None:
    @router.post("/acknowledge")
    def acknowledge(fields: Fields) -> Response:
        slice_key = fields.get("slice") or None
        with told():
            actor.acknowledge(
                Acknowledgement(
                    stream=required(fields, "stream"),
                    since=required_time(fields, "since"),
                    until=None if fields.get("open") else time_of(fields, "until"),
                    note=required(fields, "note"),
                    author=_author(fields),
                    created_at=actor.clock(),
                    slice_key=None if slice_key == ALL else slice_key,
                    signal=signal_of(fields),
                ),
                visitor().who,
            )
        return _see(our_path(fields.get("next")))

    @router.post("/acknowledge/withdraw")
    def withdraw(fields: Fields) -> Response:
        with told():
            actor.withdraw(_number(fields, "note"), visitor().who)
        return _see(our_path(fields.get("next")))


def _add_promotion(router: APIRouter, actor: Actor, pages: Pages) -> None:
    @router.get("/promote")
    def promotion(request: Request) -> HTMLResponse:
        query = request.query_params
        with actor.database.read() as session:
            streams = sorted(watermarks(session))
        stream = query.get("stream", "")
        if stream not in streams:
            raise HTTPException(404, "no stream of this name has been seen")
        since, until = parse_time(query.get("since")), parse_time(query.get("until"))
        return pages("actions/promote.html", "streams", stream=stream, since=since, until=until)

    @router.post("/promote")
    def promote(fields: Fields) -> Response:
        wish = PromotionWish(
            stream=required(fields, "stream"),
            since=required_time(fields, "since"),
            until=time_of(fields, "until") or actor.clock(),
            name=fields.get("name", "").strip() or None,
            include_drifting="include_drifting" in fields,
        )
        with told():
            task = actor.ask_promotion(wish, visitor().who, activate_it="activate" in fields)
        return _see(f"/tasks/{task.id}")

    @router.post("/activate")
    def activate(fields: Fields) -> Response:
        with told():
            actor.activate(
                required(fields, "reference"),
                required(fields, "stream"),
                visitor().who,
                without_quality="without_quality" in fields,
            )
        return _see(our_path(fields.get("next")))


def _add_forgetting(router: APIRouter, actor: Actor, pages: Pages) -> None:
    @router.get("/forget")
    def what_goes(stream: str = "", id: str = "") -> HTMLResponse:  # noqa: A002 - what links call it
        found = actor.forgettable(stream, id)
        if not (found.samples or found.references):
            raise HTTPException(404, "nothing is stored of an exchange of this id and stream")
        with actor.database.read() as session:
            names = {v.digest: v.identity for v in list_references(session)}
        held = [names[digest] for digest in found.references]
        return pages("actions/forget.html", "streams", stream=stream, id=id, found=found, held=held)

    @router.post("/forget")
    def forget(fields: Fields) -> Response:
        if "sure" not in fields:
            raise HTTPException(400, "say that you are sure: forgetting cannot be undone")
        stream, exchange_id = required(fields, "stream"), required(fields, "id")
        with told():
            task = actor.ask_forgetting(stream, exchange_id, visitor().who)
        return _see(f"/tasks/{task.id}")


def _add_records(router: APIRouter, actor: Actor, pages: Pages) -> None:
    @router.get("/tasks/{number}")
    def task(number: Annotated[int, Path(ge=0, lt=2**63)]) -> HTMLResponse:
        with actor.database.read() as session:
            found = find_task(session, number)
            active = active_references(session)
        if found is None:
            raise HTTPException(404, "there is no such task, or not any more")
        return pages(
            "actions/task.html",
            "",
            task=found,
            is_promotion=found.kind == PROMOTE,
            in_force=_in_force(found, active),
        )

    @router.get("/audit")
    def audit(before: Annotated[int | None, Query(ge=0, lt=2**63)] = None) -> HTMLResponse:
        with actor.database.read() as session:
            entries = audit_entries(session, before=before, limit=LISTED + 1)
            tasks = recent_tasks(session, 10) if before is None else []
        more = entries[LISTED - 1].id if len(entries) > LISTED else None
        return pages(
            "actions/audit.html", "audit", entries=entries[:LISTED], tasks=tasks, more=more
        )


def _in_force(task: Task, active: dict[str, str]) -> str | None:
    """Digest of the version that judges the stream of a task now."""
    stream = str(task.asked.get("stream", ""))
    return active.get(stream) or active.get("*")


def _author(fields: dict[str, str]) -> str:
    """The holder of a token under that name; where there are no tokens, whoever says so."""
    who = visitor()
    given = fields.get("author", "").strip()[:MAX_AUTHOR]
    return who.who if who.can_sign_in or not given else given


def _number(fields: dict[str, str], name: str) -> int:
    value = required(fields, name)
    if not value.isdecimal() or len(value) > 18:  # noqa: PLR2004 - what a key can have
        raise HTTPException(400, f"{name} must be a number")
    return int(value)
