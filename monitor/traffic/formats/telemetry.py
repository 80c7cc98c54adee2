"""Spans and log records of OpenTelemetry, whichever way they came."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias, Union

from msgspec import Struct

from monitor.errors import RecordRejectedError
from monitor.records import EPOCH
from monitor.traffic.formats.lookup import within
from monitor.traffic.formats.wire import Reason, sensible_time

Plain: TypeAlias = Union[str, int, float, bool, list["Plain"], dict[str, "Plain"], None]  # noqa: UP007 - recursive
MAX_DEPTH = 48


class Telemetry(Struct):
    """A span or a log record; ``name`` is that of the span or of the event, times are in ns.

    ``scope`` is the instrumentation that recorded it.
    """

    name: str
    trace: str
    span: str
    start: int
    end: int
    attributes: Mapping[str, Plain]
    resource: Mapping[str, Plain]
    body: Plain = None
    is_span: bool = False
    is_failed: bool = False
    scope: str | None = None

    def text(self, *keys: str) -> str | None:
        """The first of these attributes that is a text and not empty."""
        found = (self.attributes.get(key) for key in keys)
        return next((value for value in found if isinstance(value, str) and value), None)

    def fact(self, *keys: str) -> str | None:
        """As ``text``, of what sent it."""
        found = (self.resource.get(key) for key in keys)
        return next((value for value in found if isinstance(value, str) and value), None)

    def look_up(self, path: str) -> object:
        """The value at a path among the attributes, the metadata in them, or of what sent it."""
        find = within(self.attributes, self.resource)
        found = (find(prefix + path) for prefix in ("", *_METADATA))
        return next((value for value in found if value is not None), None)

    @property
    def id(self) -> str | None:
        return f"{self.trace}:{self.span}" if self.trace and self.span else None

    def time(self, latest: datetime) -> datetime:
        """When it ended.

        Raises:
            RecordRejectedError: if it says no time, or one that cannot be.
        """
        if not self.end:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected a time")
        try:
            ended = EPOCH + timedelta(microseconds=self.end // 1000)
        except OverflowError:
            raise RecordRejectedError(Reason.ABSURD_TIME, "expected nanoseconds") from None
        return sensible_time(ended, latest)


def hex_id(text: str | None, size: int) -> str:
    """An id of so many bytes in lower-case hex, empty if it is none; base64 is put right."""
    if not text:
        return ""
    if _HEX.fullmatch(text) and len(text) == 2 * size:
        raw = bytes.fromhex(text)
    else:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return ""
    return raw.hex() if len(raw) == size and any(raw) else ""


TRACE_BYTES, SPAN_BYTES = 16, 8
# Where applications' own values stand, by instrumentation.
_METADATA = (
    "metadata.",
    "langfuse.observation.metadata.",
    "langfuse.trace.metadata.",
    "traceloop.association.properties.",
)
_HEX = re.compile(r"[\da-fA-F]+")
