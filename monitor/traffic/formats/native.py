"""The native exchange line, and the native line of a target that arrives later."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.records import Exchange, ImageState, LateTarget, LoggedImage
from monitor.traffic.formats.answers import USUAL_PATHS, AnswerPaths
from monitor.traffic.formats.images import image_from_text, logged_image
from monitor.traffic.formats.lookup import text_of, within_json
from monitor.traffic.formats.streams import BY_FORMAT, DEPLOYMENT, MODEL, StreamRule
from monitor.traffic.formats.wire import (
    ABSENT,
    MAX_IMAGES,
    Caps,
    Identifier,
    Labels,
    LabelValue,
    Moment,
    Reason,
    Record,
    StreamName,
    Wire,
    clean,
    decode,
    exact_id,
    label_texts,
    rejection,
    wire,
)


class Image(Struct, gc=False):
    """One image of a query; the first of ``data``, ``path`` and ``url`` counts."""

    data: Raw = ABSENT
    path: Annotated[str, Meta(max_length=4_096)] | None = None
    url: str | None = None

    def logged(self, caps: Caps) -> LoggedImage:
        inline = logged_image(self.data, caps)
        if inline.state is not ImageState.ABSENT:
            return inline
        if self.path is not None:
            return LoggedImage(ImageState.OBJECT_REF, path=self.path)
        return inline if self.url is None else image_from_text(self.url, caps)


class Query(Struct, gc=False):
    """What the model was asked."""

    text: str | None = None
    images: Annotated[list[Image], Meta(max_length=MAX_IMAGES)] | None = None


class Line(Struct, gc=False):
    """An exchange, or a late target where there is neither a query nor a response.

    A target may be without a stream: then its id must be a name of one exchange alone.
    """

    id: Identifier | int
    stream: StreamName | None = None
    time: Moment | None = None
    query: Query | None = None
    response: str | None = None
    target: str | None = None
    labels: Labels | None = None

    def exchange(self, wire: Wire, caps: Caps) -> Exchange:
        query = self.query or Query()
        return Exchange(
            id=wire.id,
            time=wire.time,
            stream=wire.stream,
            text=clean(query.text or "", caps.max_text_chars),
            response=clean(self.response or "", caps.max_text_chars),
            images=tuple(image.logged(caps) for image in query.images or ()),
            target=None if self.target is None else clean(self.target, caps.max_text_chars),
            labels=label_texts(self.labels),
        )


class _KnownKeysOnly(Line, forbid_unknown_fields=True, gc=False):
    pass


class NativeFormat:
    """Parses native lines; top-level keys named in ``label_keys`` become labels.

    A line that brings a target names the stream as the rule has named it.
    """

    name = "native"
    duplicates = passed_over = 0

    def __init__(
        self,
        label_keys: Sequence[str] = (),
        rule: StreamRule = BY_FORMAT,
        answers: AnswerPaths = USUAL_PATHS,
    ) -> None:
        self.unknown_keys = 0
        self._rule = rule
        self._answers = answers
        self._label_keys = frozenset(label_keys)

    def recognises(self, keys: frozenset[str]) -> bool:
        return "query" in keys or {"id", "target"} <= keys <= _KEYS or keys >= _TARGET_KEYS

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        try:
            try:
                parsed: Line = decode(_decode_known, line)
            except RecordRejectedError as exc:
                if exc.reason != Reason.UNKNOWN_KEYS:
                    raise
                parsed = self._with_unknown_keys(line)
            return (self._named(_record(parsed, latest), parsed, line),)
        except RecordRejectedError as exc:
            return (rejection(exc, line),)

    def _named(self, record: Wire | LateTarget, parsed: Line, line: bytes) -> Record:
        if self._rule.by and isinstance(record, Wire):
            look_up, labels = within_json(line, "labels"), label_texts(parsed.labels)
            known = {name: text_of(look_up(name)) for name in (MODEL, DEPLOYMENT)}
            parts = self._rule.parts(look_up, labels, known)
            record.stream = self._rule.name(record.stream, parts)
        return record

    def _with_unknown_keys(self, line: bytes) -> Line:
        parsed = decode(_decode_any, line)
        extra = decode(_decode_keys, line).keys() - _KEYS
        if parsed.stream is None:  # a record of something else, perhaps
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected stream")
        if extra & self._label_keys:
            values = decode(_decode_keys, line)
            listed = {key: decode(_decode_label, values[key]) for key in extra & self._label_keys}
            present = {key: value for key, value in listed.items() if value is not None}
            parsed.labels = present | (parsed.labels or {})
        if parsed.target is None:
            further = within_json(line)
            parsed.target = self._answers.find(further, further)
        self.unknown_keys += bool(extra - self._label_keys)
        return parsed

    def finish(self) -> Sequence[Record]:
        return ()

    def attempt(self) -> AbstractContextManager[None]:
        return nullcontext()


def _record(line: Line, latest: datetime) -> Wire | LateTarget:
    query = line.query
    if line.time is not None and query is not None and line.response is not None:
        if line.stream is None:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected stream")
        if not query.text and not query.images:
            raise RecordRejectedError(Reason.NO_CONTENT, "expected a query text or an image")
        return wire(line.id, line.time, line.stream, line, latest)
    if query is None and line.response is None and line.target is not None:
        target = clean(line.target, Caps().max_text_chars)
        return LateTarget(exact_id(line.id), clean(line.stream or ""), target)
    missing = [key for key in ("time", "query", "response") if getattr(line, key) is None]
    raise RecordRejectedError(Reason.MISSING_FIELD, f"expected {' and '.join(missing)}")


_KEYS = frozenset(Line.__struct_fields__)
_TARGET_KEYS = frozenset({"id", "stream", "target"})
_decode_known = msgspec.json.Decoder(_KnownKeysOnly).decode
_decode_any = msgspec.json.Decoder(Line).decode
_decode_keys = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_label = msgspec.json.Decoder(LabelValue | None).decode
