"""What requests say: times, limits and cursors, and the one shape of every error."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator

from monitor.errors import (
    BusyError,
    MonitorError,
    ReferenceNotFoundError,
    StoreError,
    WindowNotFoundError,
)
from monitor.web.ingest import RETRY, error

MAX_NAME = 1_000  # characters of a stream, a slice or an id; longer ones are none
MAX_CURSOR = 4_000


class Problem(BaseModel):
    """Every answer that is not a 2xx."""

    error: str


# Also keeps FastAPI from promising its own shape of 422.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request is wrong, or there is no such thing."},
    "5XX": {"model": Problem, "description": "It failed; 503 may be tried again."},
}


class OneShape(APIRoute):
    """Answers what is wrong with a request as ``{"error": ...}`` in one line."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestValidationError as exc:
                return error(400, _first(exc))
            except (WindowNotFoundError, ReferenceNotFoundError) as exc:
                return error(404, str(exc))
            except BusyError as exc:
                return error(503, str(exc), RETRY)
            except StoreError:
                raise
            except MonitorError as exc:
                return error(409, str(exc))

        return guarded


def moment(value: str) -> datetime:
    """An aware time from RFC 3339 or Unix seconds.

    Raises:
        ValueError: with what was expected.
    """
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
        return datetime.fromtimestamp(float(value), UTC)
    try:
        # A plus sign that was not escaped comes as a space.
        parsed = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", value))
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise ValueError(f"expected a time such as 2026-03-01T12:00:00Z, got {value[:40]!r}")
    try:
        return parsed.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(f"the time {value[:40]!r} is out of range") from exc


def cursor_of(*key: str | int) -> str:
    """An opaque text from which the next page goes on."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def key_of(cursor: str, kinds: type | tuple[type, ...], length: int) -> list[Any]:
    """The key within a cursor that this program made.

    Raises:
        ValueError: if it is another text.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise ValueError("the cursor is none of ours") from exc
    if not isinstance(key, list) or len(key) != length or not all(type(k) is kinds for k in key):
        raise ValueError("the cursor is none of ours")
    return key


def _first(exc: RequestValidationError) -> str:
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


Stream = Annotated[str, Query(max_length=MAX_NAME, description="Name of the stream.")]
SliceKey = Annotated[
    str, Query(alias="slice", max_length=MAX_NAME, description="`all`, or `label=value`.")
]
Moment = Annotated[
    datetime,
    BeforeValidator(moment),
    Query(description="RFC 3339 with an offset, or Unix seconds."),
]
Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="`next` of the page before.")
]
