"""Traffic over HTTP: bounded bodies, whole batches, an answer that says what became of them."""

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import BoundedSemaphore

import msgspec
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from monitor.errors import SettingsError
from monitor.service.intake import Receipt
from monitor.traffic.sources.lines import CHUNK_BYTES, DamagedError, Gunzip

MAX_CONCURRENT = 8
RETRY = {"Retry-After": "1"}
Admit = Callable[[str, Sequence[bytes]], Receipt]  # of the path that records were posted to


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def read_tokens(path: Path | None) -> tuple[bytes, ...]:
    """Accepted bearer tokens, one a line; empty where no file is given.

    Raises:
        SettingsError: if the file cannot be read or holds no token.
    """
    if path is None:
        return ()
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as exc:
        raise SettingsError(f"http.tokens_file {path} cannot be read: {exc.strerror}") from exc
    tokens = tuple(line.strip() for line in lines if line.strip())
    if not tokens:
        raise SettingsError(f"http.tokens_file {path} holds no token; write one a line")
    return tokens


def ingest_routes(admit: Admit, *, tokens: Sequence[bytes], max_body_bytes: int) -> APIRouter:
    """``POST /v1/exchanges`` and ``/v1/targets``: JSON lines or one array, gzip or plain.

    An answer of 200 means that what was accepted is in the database.
    """
    router = APIRouter()
    busy = BoundedSemaphore(MAX_CONCURRENT)

    async def post(request: Request) -> JSONResponse:
        try:
            _require_token(request, tokens)
            is_zipped = _is_zipped(request)
            with _turn(busy):
                body = await _read_body(request, max_body_bytes)
                receipt = await run_in_threadpool(
                    lambda: admit(
                        request.url.path,
                        _records(_unzipped(body, max_body_bytes) if is_zipped else body),
                    )
                )
        except _RefusedError as exc:
            return error(exc.status, str(exc), exc.headers)
        return JSONResponse({"accepted": receipt.accepted, "outcomes": dict(receipt.outcomes)})

    for path in ("/v1/exchanges", "/v1/targets"):
        router.add_api_route(path, post, methods=["POST"])
    return router


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """How everything that went wrong is answered."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


@contextmanager
def _turn(busy: BoundedSemaphore) -> Iterator[None]:
    """One of the few requests whose bodies are in memory at a time."""
    if not busy.acquire(blocking=False):
        raise _RefusedError(429, "too many requests at once; send it again", RETRY)
    try:
        yield
    finally:
        busy.release()


def _require_token(request: Request, tokens: Sequence[bytes]) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    candidate = given.strip().encode()
    # Every token is compared, so that the time taken does not tell which one came near.
    matches = [hmac.compare_digest(candidate, token) for token in tokens]
    if tokens and not (scheme.lower() == "bearer" and any(matches)):
        raise _RefusedError(
            401, "expected `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"}
        )


def _is_zipped(request: Request) -> bool:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"}:
        raise _RefusedError(415, "Content-Encoding must be gzip or absent")
    return encoding == "gzip"


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _unzipped(body: bytes, limit: int) -> bytes:
    content, out = Gunzip(BytesIO(body)), bytearray()
    try:
        while chunk := content.read(CHUNK_BYTES):
            out += chunk
            if len(out) > limit:
                raise _too_large(limit)
    except DamagedError as exc:
        raise _RefusedError(400, "the body is not whole, valid gzip") from exc
    return bytes(out)


def _too_large(limit: int) -> _RefusedError:
    return _RefusedError(413, f"the body is larger than {limit} bytes; send less at once")


def _records(body: bytes) -> Sequence[bytes]:
    if not body.lstrip().startswith(b"["):
        return [line for line in body.split(b"\n") if line.strip()]
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _RefusedError(400, "the body begins like a JSON array, but is not one") from exc
