"""The web application: everything the daemon answers."""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import gzip_accepted
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.status import HTTP_401_UNAUTHORIZED, HTTP_403_FORBIDDEN
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.errors import BusyError, StoreError, WindowNotFoundError
from monitor.service.acting import Actor
from monitor.service.investigation import Investigator
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.web.actions import action_routes
from monitor.web.api.actions import action_api_routes
from monitor.web.api.routes import api_routes
from monitor.web.assets import Assets
from monitor.web.beside import comparison_routes
from monitor.web.export import Exporter, export_routes
from monitor.web.gate import SAFE, Access, Gate, Refuse
from monitor.web.ingest import RETRY, Door, error, ingest_routes, refused
from monitor.web.investigation import investigation_routes
from monitor.web.login import login_routes
from monitor.web.metrics import Exposition
from monitor.web.pages import PageParts, Pages, page_routes
from monitor.web.references import reference_routes
from monitor.web.runbooks import runbook_routes
from monitor.web.session import visitor

log = structlog.get_logger()
FAST = 1  # of gzip: 49 MiB of metrics in 0.2 s to 6 MiB, of which level 6 makes 5 in 0.5 s
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # without any, browsers send forms with `Origin: null`
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
    actor: Actor
    slide: timedelta
    access: Access = field(default_factory=Access)
    home: str = ""  # address under which people reach it, where that is known


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

    app.include_router(login_routes(parts.access, pages))
    app.include_router(action_routes(parts.actor, pages))
    app.include_router(action_api_routes(parts.actor))
    exporter = Exporter(parts.database, parts.investigator, assets)
    app.include_router(export_routes(around, exporter, parts.home))

    _answer_errors(app, pages)

    app.add_middleware(Gate, access=parts.access, refuse=_refusal(pages, parts.actor))
    app.add_middleware(_SecurityHeaders)
    exposition = Exposition(parts.registry, parts.latest, parts.slide)

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        text, content_type = exposition(request.headers.get("accept", ""))
        headers = {"Content-Type": content_type}
        if gzip_accepted(request.headers.get("accept-encoding", "")):
            text, headers["Content-Encoding"] = gzip.compress(text, FAST), "gzip"
        return Response(text, headers=headers)

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


# What the framework says of an address or a method of which there is nothing.
_UNKNOWN = {
    "Not Found": "No page has this address.",
    "Method Not Allowed": "This address takes what a form sends, and is no page.",
}


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


def _refusal(pages: Pages, actor: Actor) -> Refuse:
    """How those are answered who may not come in; what known people may not do is kept."""

    def refuse(request: Request, status: int, message: str) -> Response:
        is_page = "text/html" in request.headers.get("accept", "")
        if status == HTTP_403_FORBIDDEN and request.method not in SAFE and visitor().is_known:
            actor.refused(visitor().who, request.url.path, message)
        if status == HTTP_401_UNAUTHORIZED and is_page and request.method in SAFE:
            query = f"?{request.url.query}" if request.url.query else ""
            after = quote(request.url.path) + query
            return pages("actions/bounce.html", "", status=status, after=after)
        return pages.error(status, message) if is_page else error(status, message)

    return refuse


def _answer_errors(app: FastAPI, pages: Pages) -> None:
    """Every failure as ``{"error": ...}``, or as a page for those who look at pages.

    What the database could not do may be tried again.
    """

    @app.exception_handler(HTTPException)
    def in_words(request: Request, exc: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return pages.error(exc.status_code, _UNKNOWN.get(str(exc.detail), str(exc.detail)))
        return error(exc.status_code, str(exc.detail), exc.headers)

    @app.exception_handler(WindowNotFoundError)
    def nothing_there(request: Request, exc: WindowNotFoundError) -> Response:
        return in_words(request, HTTPException(404, str(exc)))

    @app.exception_handler(BusyError)
    def busy(request: Request, exc: BusyError) -> Response:
        return in_words(request, HTTPException(503, str(exc), RETRY))

    @app.exception_handler(RequestValidationError)
    def misasked(request: Request, _: Exception) -> Response:
        return in_words(request, HTTPException(400, "the address has a value that cannot be"))

    def not_now(request: Request, exc: Exception) -> Response:
        if not isinstance(exc, StoreError):  # that it is away is told by the jobs, once
            log.error("database_failed", problem=type(exc).__name__, exc_info=exc)
        return refused(request, 503, "the database cannot do this now; send it again", RETRY)

    for kind in (StoreError, SQLAlchemyError):
        app.add_exception_handler(kind, not_now)

    @app.exception_handler(Exception)
    def unexpected(request: Request, _: Exception) -> Response:
        return refused(request, 500, "this failed, and the log says why", SECURITY_HEADERS)
