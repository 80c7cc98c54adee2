"""What every wire format gives: cheap records, or a reason why not."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Protocol, TypeVar

import msgspec
from msgspec import Meta, Raw

from monitor.encoders.images import ImageLimits
from monitor.errors import RecordRejectedError
from monitor.records import Exchange, LateTarget, Rejection

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_IMAGES = 64
EXCERPT_CHARS = 120
MAX_ID_CHARS = 256
MAX_RECORDS = 50_000  # in one line or body; exporters send some thousands at most

Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
StreamName = Annotated[str, Meta(min_length=1, max_length=200)]
Moment = Annotated[datetime, Meta(tz=True)] | int | float
LabelText = Annotated[str, Meta(max_length=200)]
LabelValue = LabelText | int | float | bool
Labels = Annotated[dict[LabelText, LabelValue], Meta(max_length=32)]
ABSENT: Final = Raw(b"null")

Decoded = TypeVar("Decoded")


class Reason(StrEnum):
    """Why a record was refused; the closed set that counters are labelled with."""

    BROKEN_JSON = "broken_json"
    BROKEN_PROTOBUF = "broken_protobuf"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    BAD_ENCODING = "bad_encoding"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_KEYS = "unknown_keys"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    ABSURD_TIME = "absurd_time"
    TOO_LONG = "too_long"
    NO_CONTENT = "no_content"
    FAILED_CALL = "failed_call"
    REDACTED = "redacted"
    LOST_QUERY = "lost_query"
    LOST_RESPONSE = "lost_response"
    UNKNOWN_CALL = "unknown_call"
    TARGET_AMBIGUOUS = "target_ambiguous"
    UNKNOWN_FORMAT = "unknown_format"
    LINE_TOO_LONG = "line_too_long"
    BAD_GZIP = "bad_gzip"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Caps:
    """What is kept of an exchange at most. Longer texts are cut, larger images rejected."""

    max_text_chars: int = 65_536
    images: ImageLimits = field(default_factory=ImageLimits)


class Body(Protocol):
    """The rest of a record, typed but not decoded further."""

    def exchange(self, wire: "Wire", caps: Caps) -> Exchange: ...


class Wire(msgspec.Struct, gc=False):
    """An exchange as far as counting and sampling need it; everything in it has been checked."""

    id: str
    time: datetime
    stream: str
    body: Body

    def exchange(self, caps: Caps = Caps()) -> Exchange:
        """Decode the rest. An image that cannot be is a state of that image, never an error."""
        return self.body.exchange(self, caps)


Record = Wire | LateTarget | Rejection


class Format(Protocol):
    """One wire format. An instance serves one partition, from one thread."""

    @property
    def name(self) -> str: ...

    @property
    def unknown_keys(self) -> int:
        """Lines so far with top-level keys that were ignored."""

    @property
    def duplicates(self) -> int:
        """Records so far that told of a call again."""

    @property
    def passed_over(self) -> int:
        """Records so far that told of no call of a model."""

    def recognises(self, keys: frozenset[str]) -> bool:
        """Whether an object with these top-level keys is meant as this format."""

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        """The records of one line, bad ones as rejections. Times after ``latest`` are absurd."""

    def finish(self) -> Sequence[Record]:
        """What still waits for further records, now that there are none."""

    def attempt(self) -> AbstractContextManager[None]:
        """What lines parsed within have changed is taken back if it ends in an error."""


def decode(decode_line: Callable[[bytes | Raw], Decoded], line: bytes | Raw) -> Decoded:
    """Decode with one of msgspec's decoders.

    Raises:
        RecordRejectedError: whatever is wrong with the line, without its content.
    """
    try:
        return decode_line(line)
    except msgspec.ValidationError as exc:
        raise _invalid(str(exc)) from None
    except UnicodeDecodeError:
        raise RecordRejectedError(Reason.BAD_ENCODING, "expected UTF-8") from None
    except RecursionError:
        raise RecordRejectedError(Reason.TOO_DEEP, "nested too deeply") from None
    except msgspec.DecodeError as exc:
        mended = _without_lone_surrogates(bytes(line))
        if mended != line:
            return decode(decode_line, mended)
        raise RecordRejectedError(Reason.BROKEN_JSON, str(exc)) from None


def wire(
    identifier: str | int, moment: datetime | float, stream: str, body: Body, latest: datetime
) -> Wire:
    """Check what a type cannot say and put a record together.

    Raises:
        RecordRejectedError: for a time before 2000 or after ``latest``, or an endless id.
    """
    if identifier.__class__ is not str:
        identifier = exact_id(identifier)
    time = sensible_time(moment, latest)
    if "\0" in identifier or "\0" in stream:
        identifier, stream = clean(identifier), clean(stream)
    return Wire(identifier, time, stream, body)


def sensible_time(moment: datetime | float, latest: datetime) -> datetime:
    """A moment in UTC; numbers are Unix seconds.

    Raises:
        RecordRejectedError: for a time before 2000 or after ``latest``.
    """
    try:
        time = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
        sensible = EARLIEST <= time <= latest
    except (OverflowError, ValueError, OSError):
        sensible = False
    if not sensible:
        raise RecordRejectedError(
            Reason.ABSURD_TIME,
            f"expected a time from {EARLIEST:%Y} to {latest:%Y-%m-%dT%H:%M}, in UTC; numbers are "
            "Unix seconds",
        )
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def exact_id(identifier: str | int) -> str:
    """An id given as an integer is its decimal string."""
    text = clean(str(identifier))
    if len(text) > MAX_ID_CHARS:
        raise RecordRejectedError(Reason.TOO_LONG, f"expected an id of {MAX_ID_CHARS} characters")
    return text


def clean(text: str, max_chars: int | None = None) -> str:
    """Text that every database stores: cut, and without NUL."""
    return text[:max_chars].replace("\0", "\ufffd")


def label_texts(labels: dict[str, str | int | float | bool] | None) -> dict[str, str]:
    """Labels as text; true and false are spelled as in JSON."""
    return {clean(key): _label_text(value) for key, value in (labels or {}).items()}


def too_many_records() -> RecordRejectedError:
    return RecordRejectedError(Reason.TOO_LONG, f"more than {MAX_RECORDS} records in one")


def rejection(error: RecordRejectedError, line: bytes) -> Rejection:
    """The record of a refusal, for counters and the quarantine."""
    detail = str(error).removeprefix(f"{error.reason}: ")
    return Rejection(error.reason, detail[:200], excerpt(line))


def excerpt(line: bytes) -> str:
    """The beginning of a line, without anything that a terminal would act on."""
    text = line[: 4 * EXCERPT_CHARS].decode(errors="replace")
    return "".join(c for c in text if c.isprintable())[:EXCERPT_CHARS]


def _label_text(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value), 200)


def _invalid(message: str) -> RecordRejectedError:
    problem, _, place = message.partition(" - at ")
    if "unknown field" in problem:
        # The name of the field is content, so the message is not passed on.
        return RecordRejectedError(Reason.UNKNOWN_KEYS, "keys that the format does not have")
    if "missing required" in problem or "length >=" in problem:
        reason = Reason.BAD_ID if place == "`$.id`" else Reason.MISSING_FIELD
    elif "length <=" in problem:
        reason = Reason.TOO_LONG
    elif not place and problem.startswith("Expected `object`"):
        reason = Reason.NOT_AN_OBJECT
    else:
        reason = _REASON_BY_PLACE.get(place, Reason.WRONG_TYPE)
    return RecordRejectedError(reason, message)


def _without_lone_surrogates(line: bytes) -> bytes:
    """JavaScript clients cut strings in the middle of an emoji and log the half as an escape."""
    if rb"\ud" not in line and rb"\uD" not in line:  # 100 times as fast as the expression
        return line
    return _ESCAPE.sub(lambda m: rb"\ufffd" if m[1] else m[0], line)


_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][\da-fA-F]{2})|\\."
)
_REASON_BY_PLACE = {
    "`$.id`": Reason.BAD_ID,
    "`$.request_id`": Reason.BAD_ID,
    "`$.time`": Reason.BAD_TIME,
    "`$.timestamp`": Reason.BAD_TIME,
    "`$.created`": Reason.BAD_TIME,
}
