"""The fields of forms as handlers take them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from monitor.errors import MonitorError, ReferenceNotFoundError, StoreError
from monitor.records import Signal
from monitor.web.bodies import RefusedError
from monitor.web.gate import form_fields


async def _fields(request: Request) -> dict[str, str]:
    try:
        return form_fields(await request.body())
    except RefusedError as exc:
        raise HTTPException(exc.status, str(exc)) from exc


_OURS = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")

Fields = Annotated[dict[str, str], Depends(_fields)]


def required(fields: dict[str, str], name: str) -> str:
    """A field that must not be empty."""
    value = fields.get(name, "").strip()
    if not value:
        raise HTTPException(400, f"{name} is missing")
    return value


def time_of(fields: dict[str, str], name: str) -> datetime | None:
    """A time in UTC, with an offset or as browsers give it, without; None where it is empty."""
    value = fields.get(name, "").strip()
    if not value:
        return None
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise HTTPException(400, f"{name}: expected a time such as 2026-03-01T12:00") from exc


def required_time(fields: dict[str, str], name: str) -> datetime:
    """A time that must be given."""
    time = time_of(fields, name)
    if time is None:
        raise HTTPException(400, f"{name} is missing")
    return time


def signal_of(fields: dict[str, str], name: str = "signal") -> Signal | None:
    """A signal, or None for all of them."""
    value = fields.get(name, "")
    if not value:
        return None
    try:
        return Signal(value)
    except ValueError as exc:
        raise HTTPException(400, f"there is no signal {value!r}") from exc


def our_path(path: str | None) -> str:
    """A path of this monitor; whatever might lead elsewhere is the overview."""
    return path if path and _OURS.fullmatch(path) else "/"


@contextmanager
def told() -> Iterator[None]:
    """What cannot be done is said to whoever asked for it."""
    try:
        yield
    except StoreError:
        raise
    except ReferenceNotFoundError as exc:
        raise HTTPException(404, str(exc)) from exc
    except MonitorError as exc:
        raise HTTPException(409, str(exc)) from exc
