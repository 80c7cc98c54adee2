"""The web application: everything the daemon answers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from jinja2 import Environment, select_autoescape
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from monitor.errors import StoreError
from monitor.records import ALL
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.web.api import api_routes
from monitor.web.ingest import RETRY, Admit, error, ingest_routes

log = structlog.get_logger()
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
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
    admit: Admit
    not_ready: Callable[[], Sequence[str]]
    tokens: Sequence[bytes]
    max_body_bytes: int


def create_app(parts: WebParts) -> FastAPI:
    """Routes of DESIGN: ingestion, metrics, health, API and the status page."""
    app = FastAPI(
        title="mllm-drift-monitor",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.include_router(
        ingest_routes(parts.admit, tokens=parts.tokens, max_body_bytes=parts.max_body_bytes)
    )
    app.include_router(api_routes(parts.latest, parts.database))
    templates = Environment(autoescape=select_autoescape(default=True), trim_blocks=True)
    page = templates.from_string(_resource("templates", "status.html"))

    _answer_errors(app)

    @app.middleware("http")
    async def add_security_headers(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers.update(SECURITY_HEADERS)
        return response

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

    @app.get("/")
    def status() -> HTMLResponse:
        return HTMLResponse(page.render(snapshot=parts.latest(), all_slice=ALL))

    @app.get("/static/status.css")
    def style() -> Response:
        return Response(_resource("static", "status.css"), media_type="text/css")

    return app


def _answer_errors(app: FastAPI) -> None:
    """Every failure as ``{"error": ...}``; what the database could not do may be tried again."""

    @app.exception_handler(HTTPException)
    def as_json(_: Request, exc: HTTPException) -> JSONResponse:
        return error(exc.status_code, str(exc.detail), exc.headers)

    def not_now(_: Request, exc: Exception) -> JSONResponse:
        log.error("database_failed", problem=type(exc).__name__, exc_info=exc)
        return error(503, "the database cannot do this now; send it again", RETRY)

    for kind in (StoreError, SQLAlchemyError):
        app.add_exception_handler(kind, not_now)

    @app.exception_handler(Exception)
    def unexpected(_: Request, __: Exception) -> JSONResponse:
        return error(500, "this failed, and the log says why", SECURITY_HEADERS)


def _resource(folder: str, name: str) -> str:
    return files("monitor.web").joinpath(folder, name).read_text(encoding="utf-8")
