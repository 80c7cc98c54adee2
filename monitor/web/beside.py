"""Two windows of a stream beside each other: a description without a verdict."""

from datetime import timedelta

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from monitor.errors import WindowNotFoundError
from monitor.records import WindowId, WindowSummary
from monitor.service.investigation import CaseWish, Investigator
from monitor.store.history import find_window
from monitor.store.timeline import windows_between
from monitor.web.investigation import grouped, wish_of
from monitor.web.pages import PageParts, Pages, parse_time

LAST_WEEK = "last_week"
_WEEK = timedelta(weeks=1)
_RECENT = timedelta(days=2)
_CHOICES = 200


def comparison_routes(parts: PageParts, pages: Pages, investigator: Investigator) -> APIRouter:
    """``/compare``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/compare")
    def compare(request: Request) -> HTMLResponse:
        wish, asked = wish_of(request), request.query_params.get("with") or LAST_WEEK
        with parts.database.read() as session:
            here = find_window(session, wish.stream, wish.end)
            if here is None:
                raise HTTPException(404, "no window of this stream was measured then")
            base = _base(session, wish, here, asked)
            recent = _recent(session, wish.stream, here.window)
        comparison, problem = None, "no window was measured then"
        if base is not None:
            try:
                comparison = investigator.compare(wish, base.window)
            except WindowNotFoundError as exc:
                problem = str(exc)
        return pages(
            "compare.html",
            "streams",
            wish=wish,
            here=here,
            base=base,
            asked=asked,
            recent=recent,
            comparison=comparison,
            problem=problem,
            groups=grouped(comparison.signals if comparison else (), lambda c: c.signal),
        )

    return router


def _base(
    session: Session, wish: CaseWish, here: WindowSummary, asked: str
) -> WindowSummary | None:
    if asked != LAST_WEEK:
        return find_window(session, wish.stream, parse_time(asked))
    a_week_before = here.window.end - _WEEK
    found = find_window(session, wish.stream, a_week_before)
    return found if found and found.window.end == a_week_before else None


def _recent(session: Session, stream: str, window: WindowId) -> list[WindowId]:
    """Windows before, newest first, to choose what to compare with: none that overlap it."""
    found = windows_between(session, stream, window.start - _RECENT, window.start)
    return [w for w in reversed(found) if w.end <= window.start][:_CHOICES]
