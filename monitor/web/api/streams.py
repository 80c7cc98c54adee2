"""``/api/v1/streams`` and ``/api/v1/windows``."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from monitor.records import WindowId
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.store.history import list_windows
from monitor.web.api.measurements import as_json, rfc3339
from monitor.web.api.parameters import PROBLEMS, Cursor, OneShape, Stream, cursor_of, key_of
from monitor.web.api.schema import Streams, Window, WindowPage
from monitor.web.ingest import error

MAX_WINDOWS = 1_000


def stream_routes(latest: Callable[[], Snapshot], database: Database) -> APIRouter:
    """What the streams are doing now, and their measured windows."""
    router = APIRouter(route_class=OneShape, responses=PROBLEMS)

    @router.get("/streams", response_model=Streams)
    def streams() -> JSONResponse:
        """Every stream with the measurements of its newest window, as the metrics show them."""
        snapshot = latest()
        return JSONResponse(
            {
                "taken_at": rfc3339(snapshot.taken_at),
                "streams": [
                    {
                        "stream": name,
                        "reference": state.reference.identity if state.reference else None,
                        "watermark": rfc3339(state.watermark) if state.watermark else None,
                        "measurements": [as_json(m) for m in state.measurements],
                    }
                    for name, state in snapshot.streams.items()
                ],
            }
        )

    @router.get("/windows", response_model=WindowPage)
    def windows(
        stream: Stream,
        limit: Annotated[int, Query(ge=1, le=MAX_WINDOWS)] = 100,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """The measured windows of a stream, newest first."""
        try:
            before = None if cursor is None else _before(cursor)
        except ValueError as exc:
            return error(400, str(exc))
        with database.read() as session:
            found = list_windows(session, stream, limit=limit + 1, before=before)
        page = found[:limit]
        shown = WindowPage(
            windows=[Window.model_validate(summary) for summary in page],
            next=_next(page[-1].window) if len(found) > limit else None,
        )
        return JSONResponse(shown.model_dump(mode="json", by_alias=True))

    return router


def _next(window: WindowId) -> str:
    return cursor_of(window.start.isoformat(), window.end.isoformat())


def _before(cursor: str) -> WindowId:
    start, end = (datetime.fromisoformat(t) for t in key_of(cursor, str, 2))
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("the cursor is none of ours")
    return WindowId(start, end)
