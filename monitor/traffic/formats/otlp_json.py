"""OTLP exports in JSON, as exporters send them and the Collector's file exporter writes them."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.telemetry import (
    MAX_DEPTH,
    SPAN_BYTES,
    TRACE_BYTES,
    Plain,
    Telemetry,
    hex_id,
)
from monitor.traffic.formats.wire import Reason, decode, rejection


class AnyValue(Struct, gc=False, rename="camel"):
    """A value with its type spelled out. JavaScript writes integers as numbers, Python as texts."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: "ArrayValue | None" = None
    kvlist_value: "KvlistValue | None" = None

    def plain(self, depth: int = 0) -> Plain:
        if depth > MAX_DEPTH:
            raise RecordRejectedError(Reason.TOO_DEEP, "values nested too deeply")
        if self.array_value is not None:
            return [value.plain(depth + 1) for value in self.array_value.values or ()]
        if self.kvlist_value is not None:
            return _plain(self.kvlist_value.values or (), depth + 1)
        for value in (self.string_value, self.bytes_value, self.bool_value, self.double_value):
            if value is not None:
                return value
        return self.int_value


class KeyValue(Struct, gc=False):
    """An attribute."""

    key: str = ""
    value: AnyValue | None = None


class ArrayValue(Struct, gc=False):
    """Values of an array."""

    values: list[AnyValue] | None = None


class KvlistValue(Struct, gc=False):
    """Entries of an object."""

    values: list[KeyValue] | None = None


class Status(Struct, gc=False):
    """How a span ended."""

    code: int | str | None = None


class Item(Struct, gc=False, rename="camel"):
    """A span or a log record."""

    trace_id: str | None = None
    span_id: str | None = None
    name: str | None = None
    event_name: str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
    time_unix_nano: int | str | None = None
    observed_time_unix_nano: int | str | None = None
    attributes: list[KeyValue] | None = None
    body: AnyValue | None = None
    status: Status | None = None

    def telemetry(
        self, resource: Mapping[str, Plain], scope: str | None, *, is_span: bool
    ) -> Telemetry:
        attributes = _plain(self.attributes or ())
        event = self.event_name or attributes.get("event.name")
        end = self.end_time_unix_nano if is_span else self.time_unix_nano
        end_ns = _int(end) or _int(self.observed_time_unix_nano)
        return Telemetry(
            name=(self.name if is_span else str(event or "")) or "",
            trace=hex_id(self.trace_id, TRACE_BYTES),
            span=hex_id(self.span_id, SPAN_BYTES),
            start=(_int(self.start_time_unix_nano) if is_span else end_ns) or end_ns,
            end=end_ns or _int(self.start_time_unix_nano),
            attributes=attributes,
            resource=resource,
            body=self.body.plain() if self.body else None,
            is_span=is_span,
            is_failed=self.status is not None and self.status.code in {2, "STATUS_CODE_ERROR"},
            scope=scope,
        )


class Instrumentation(Struct, gc=False):
    """What recorded it."""

    name: str | None = None


class Scope(Struct, gc=False, rename="camel"):
    """What one instrumentation recorded."""

    scope: Instrumentation | None = None
    spans: list[Raw] | None = None
    log_records: list[Raw] | None = None


class Resource(Struct, gc=False):
    """What sent it."""

    attributes: list[KeyValue] | None = None


class Group(Struct, gc=False, rename="camel"):
    """What one process recorded."""

    resource: Resource | None = None
    scope_spans: list[Raw] | None = None
    scope_logs: list[Raw] | None = None


class Export(Struct, gc=False, rename="camel"):
    """The whole message."""

    resource_spans: list[Raw] | None = None
    resource_logs: list[Raw] | None = None


def telemetry_in_json(line: bytes) -> Iterator[Telemetry | Rejection]:
    """The records of an export; what is wrong with one of them costs only that one.

    Raises:
        RecordRejectedError: if it is no export at all.
    """
    export = decode(_decode_export, line)
    if export.resource_spans is None and export.resource_logs is None:
        raise RecordRejectedError(Reason.MISSING_FIELD, "expected resourceSpans or resourceLogs")
    for raw in [*(export.resource_spans or ()), *(export.resource_logs or ())]:
        try:
            group = decode(_decode_group, raw)
            resource = _plain((group.resource or Resource()).attributes or ())
        except RecordRejectedError as exc:
            yield rejection(exc, bytes(raw))
            continue
        for scope in [*(group.scope_spans or ()), *(group.scope_logs or ())]:
            yield from _in_scope(scope, resource)


def _in_scope(raw: Raw, resource: Mapping[str, Plain]) -> Iterator[Telemetry | Rejection]:
    try:
        scope = decode(_decode_scope, raw)
    except RecordRejectedError as exc:
        yield rejection(exc, bytes(raw))
        return
    name = scope.scope.name if scope.scope else None
    for items, is_span in ((scope.spans, True), (scope.log_records, False)):
        for item in items or ():
            try:
                yield decode(_decode_item, item).telemetry(resource, name, is_span=is_span)
            except RecordRejectedError as exc:
                yield rejection(exc, bytes(item))


def _plain(attributes: Iterable[KeyValue], depth: int = 0) -> dict[str, Plain]:
    return {a.key: a.value.plain(depth) if a.value else None for a in attributes}


def _int(value: int | str | None) -> int:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else 0
    return max(value or 0, 0)


_DIGITS = 20
_decode_export = msgspec.json.Decoder(Export).decode
_decode_group = msgspec.json.Decoder(Group).decode
_decode_scope = msgspec.json.Decoder(Scope).decode
_decode_item = msgspec.json.Decoder(Item).decode
