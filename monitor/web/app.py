"""The web application: everything the daemon answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.errors import StoreError
from monitor.service.investigation import Investigator
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.web.api.routes import api_routes
from monitor.web.assets import Assets
from monitor.web.beside import comparison_routes
from monitor.web.ingest import RETRY, Door, error, ingest_routes, refused
from monitor.web.investigation import investigation_routes
from monitor.web.pages import PageParts, Pages, page_routes
from monitor.web.references import reference_routes
from monitor.web.runbooks import runbook_routes

log = structlog.get_logger()
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the application renders and whom it hands traffic to.

    ``not_ready`` gives the reasons why the daemon is not ready, none when it is.
    """

    registry: CollectorRegistry
    latest: Callable[[], Snapshot]
    database: Database
    not_ready: Callable[[], Sequence[str]]
    door: Door
    investigator: Investigator
    slide: timedelta = timedelta(minutes=15)


def create_app(parts: WebParts) -> FastAPI:
    """Routes of DESIGN: ingestion, metrics, health, API and the status page."""
    app = FastAPI(
        title="mllm-drift-monitor",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.include_router(ingest_routes(parts.door))
    app.include_router(api_routes(parts.latest, parts.database, parts.investigator))
    assets = Assets()
    app.include_router(assets.routes())
    around = PageParts(parts.latest, parts.database, parts.registry, parts.not_ready, parts.slide)
    pages = Pages(around, assets)
    app.include_router(page_routes(around, pages))
    app.include_router(investigation_routes(around, pages, parts.investigator))
    app.include_router(comparison_routes(around, pages, parts.investigator))
    app.include_router(reference_routes(around, pages))
    app.include_router(runbook_routes(pages))

    _answer_errors(app, pages)

    app.add_middleware(_SecurityHeaders)

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except TypeError:  # the library takes any version for a number
            encode, content_type = choose_encoder("")
        return Response(encode(parts.registry), headers={"Content-Type": content_type})

    @app.get("/healthz")
    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        reasons = list(parts.not_ready())
        return JSONResponse(
            {"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200
        )

    return app


class _SecurityHeaders:
    """Adds them to every answer; without the queue that FastAPI's own middleware puts between."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_RAW_HEADERS]
            await send(message)

        await self._app(scope, receive, send_guarded)


_RAW_HEADERS = [(name.lower().encode(), text.encode()) for name, text in SECURITY_HEADERS.items()]


def _answer_errors(app: FastAPI, pages: Pages) -> None:
    """Every failure as ``{"error": ...}``, or as a page for those who look at pages.

    What the database could not do may be tried again.
    """

    @app.exception_handler(HTTPException)
    def in_words(request: Request, exc: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return pages.error(exc.status_code, str(exc.detail))
        return error(exc.status_code, str(exc.detail), exc.headers)

    def not_now(request: Request, exc: Exception) -> Response:
        log.error("database_failed", problem=type(exc).__name__, exc_info=exc)
        return refused(request, 503, "the database cannot do this now; send it again", RETRY)

    for kind in (StoreError, SQLAlchemyError):
        app.add_exception_handler(kind, not_now)

    @app.exception_handler(Exception)
    def unexpected(request: Request, _: Exception) -> Response:
        return refused(request, 500, "this failed, and the log says why", SECURITY_HEADERS)
