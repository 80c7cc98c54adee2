"""Traffic over HTTP: bounded bodies, whole batches, an answer that says what became of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from monitor.service.intake import Receipt
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.reading import AS_LOGGED, Reading
from monitor.traffic.formats.wire import Format
from monitor.traffic.joining import Joiner
from monitor.web import otlp
from monitor.web.access import Rate, Tokens
from monitor.web.bodies import RefusedError, is_zipped, read_body, records, unzipped

MAX_CONCURRENT = 8  # bodies in memory at a time
MAX_WAITING = 64
PATIENCE_SECONDS = 5.0  # exporters give up after ten
RETRY = {"Retry-After": "1"}
EXCHANGES, TARGETS, LITELLM = "/v1/exchanges", "/v1/targets", "/v1/litellm"
Admit = Callable[[str, Sequence[bytes], Format], Receipt]  # of the path that was posted to


@dataclass(frozen=True, slots=True)
class Door:
    """Who may post, how much, and to whom it is handed.

    ``admit`` returns once what was accepted is in the database.
    """

    admit: Admit
    tokens: Tokens
    reading: Reading = AS_LOGGED
    max_body_bytes: int = 64 * 2**20
    max_requests_per_second: int = 1_000
    max_waiting: int = MAX_WAITING


def ingest_routes(door: Door) -> APIRouter:
    """``POST`` to ``/v1/exchanges`` ``targets`` ``litellm`` ``traces`` ``logs``; plain or gzip."""
    router = APIRouter()
    # Of all requests: the halves of a call may come in two of them.
    joiner = Joiner(rule=door.reading.streams, answers=door.reading.answers)
    rate = Rate(door.max_requests_per_second)
    turns = _Turns(MAX_CONCURRENT, door.max_waiting)

    def admit(path: str, content_type: str, body: bytes) -> Receipt:
        if path in otlp.PATHS:
            form: Format = otlp.export_format(path, content_type, joiner, door.reading.uploads)
            lines = otlp.export_lines(body)
        else:
            name = "litellm" if path == LITELLM else "auto"
            form = format_named(name, door.reading, joiner=joiner)
            lines = records(body)
        try:
            return door.admit(path, lines, form)
        except otlp.NoExportError as exc:
            raise RefusedError(400, str(exc)) from exc

    async def post(request: Request) -> Response:
        path, content_type = request.url.path, request.headers.get("content-type", "")
        limit = door.max_body_bytes
        try:
            _let_in(request, rate, door.tokens)
            zipped = is_zipped(request)
            async with turns.one():
                body = await read_body(request, limit)
                receipt = await run_in_threadpool(
                    lambda: admit(path, content_type, unzipped(body, limit) if zipped else body)
                )
        except RefusedError as exc:
            return refused(request, exc.status, str(exc), exc.headers)
        except ClientDisconnect:
            return refused(request, 400, "the body ended early")
        if path in otlp.PATHS:
            return otlp.answer(path, content_type, receipt)
        return JSONResponse({"accepted": receipt.accepted, "outcomes": dict(receipt.outcomes)})

    for path in (EXCHANGES, TARGETS, LITELLM, otlp.TRACES, otlp.LOGS):
        router.add_api_route(path, post, methods=["POST"])
    return router


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """How everything that went wrong is answered, but for exporters of OTLP."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def refused(
    request: Request, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """What went wrong, in the way that whoever posts to this path expects."""
    if request.url.path in otlp.PATHS:
        return otlp.refusal(request.headers.get("content-type", ""), status, message, headers)
    return error(status, message, headers)


def _let_in(request: Request, rate: Rate, tokens: Tokens) -> None:
    # Counted before the token is looked at, so that guessing is slow.
    if not rate.allows():
        raise RefusedError(429, "too many requests a second; send it again", RETRY)
    if not tokens.accept(request.headers.get("authorization", "")):
        raise RefusedError(
            401, "expected `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"}
        )


class _Turns:
    """A few requests at a time; some wait for a while, as not every client sends again."""

    def __init__(self, at_once: int, max_waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._max_waiting = max_waiting
        self._waiting = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        await self._wait()
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        # 503, not 429: all that send again at all do so for it, LiteLLM for nothing else.
        full = RefusedError(503, "too many requests at once; send it again", RETRY)
        if self._free.locked() and self._waiting >= self._max_waiting:
            raise full
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise full from None
        finally:
            self._waiting -= 1
