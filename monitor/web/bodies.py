"""Bodies of requests: bounded while they are read and inflated, and taken apart into records."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from io import BytesIO

import msgspec
from fastapi import Request

from monitor.traffic.formats.wire import MAX_RECORDS
from monitor.traffic.sources.lines import CHUNK_BYTES, DamagedError, Gunzip

BODY_SECONDS = 60.0  # for a body to come in; it holds one of few places
MAX_MARKS = 2**22  # commas, and brackets where they are looked at


class RefusedError(Exception):
    """A request that is refused as a whole, with the status that says why."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def is_zipped(request: Request) -> bool:
    """Whether the body is compressed; only gzip is understood."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"}:
        raise RefusedError(415, "Content-Encoding must be gzip or absent")
    return encoding == "gzip"


async def read_body(request: Request, limit: int) -> bytes:
    """The body as it was sent, whole or in chunks."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < _DIGITS and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
    return bytes(body)


def unzipped(body: bytes, limit: int) -> bytes:
    """What was compressed, or a refusal as soon as it is more than ``limit`` bytes."""
    content, out = Gunzip(BytesIO(body)), bytearray()
    try:
        while chunk := content.read(CHUNK_BYTES):
            out += chunk
            if len(out) > limit:
                raise _too_large(limit)
    except DamagedError as exc:
        raise RefusedError(400, "the body is not whole, valid gzip") from exc
    return bytes(out)


def records(body: bytes) -> Sequence[bytes]:
    """The elements of an array, one value over several lines, or one record a line."""
    if _ARRAY.match(body):
        return _elements(body)
    if _is_one_value(body):
        return [body]
    if body.count(b"\n") > MAX_RECORDS:
        raise _too_many()
    return [line for line in body.split(b"\n") if line.strip()]


def _is_one_value(body: bytes) -> bool:
    if b"\n" not in body.strip():
        return False
    try:
        # Of many lines no more than the first is looked at.
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _elements(body: bytes) -> Sequence[bytes]:
    if body.count(b",") > MAX_MARKS:  # each may stand for an object of ours
        raise _too_many()
    try:
        found = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _elements_apart(body)
    if len(found) > MAX_RECORDS:
        raise _too_many()
    return [bytes(raw) for raw in found]


def _elements_apart(body: bytes) -> Sequence[bytes]:
    """The elements by their brackets alone, so that one that is no JSON costs only itself.

    Clients cut emojis in half, write NaN, and nest without end; the rest of the batch is good.
    """
    found: list[bytes] = []
    start = depth = 0
    for count, mark in enumerate(_MARK.finditer(body)):
        if count > MAX_MARKS or len(found) > MAX_RECORDS:
            raise _too_many()
        kind = body[mark.start()]
        if kind in _OPENING:
            depth += 1
            start = start or mark.end()
        elif kind in _CLOSING:
            depth -= 1
        if depth == 0 or (depth == 1 and kind == _COMMA):
            found.append(body[start : mark.start()])
            start = mark.end()
        if depth == 0:
            break
    if depth or body[start:].strip():
        raise RefusedError(400, "the body begins like a JSON array, but is not one")
    return found


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limit} bytes; send less at once")


def _too_many() -> RefusedError:
    return RefusedError(413, f"the body holds more than {MAX_RECORDS} records; send less at once")


_DIGITS = 20
_ARRAY = re.compile(rb"\s*\[")
# A text without an end is taken to the end of the body, or each quote in it would look for one.
_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_OPENING, _CLOSING, _COMMA = frozenset(b"[{"), frozenset(b"]}"), ord(",")
