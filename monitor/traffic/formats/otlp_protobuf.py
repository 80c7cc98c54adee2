"""OTLP exports in protobuf. Imported only where they are received: loading protobuf takes time."""

import base64
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.telemetry import MAX_DEPTH, Plain, Telemetry
from monitor.traffic.formats.wire import Reason, rejection


def spans_in_protobuf(payload: bytes) -> Iterator[Telemetry | Rejection]:
    """The spans of an export.

    Raises:
        RecordRejectedError: if it is no export of traces.
    """
    try:
        export = ExportTraceServiceRequest.FromString(payload)
    except DecodeError:
        raise _broken("traces") from None
    for group in export.resource_spans:
        spans = ((span, scope.scope.name) for scope in group.scope_spans for span in scope.spans)
        yield from _each(spans, group.resource.attributes)


def log_records_in_protobuf(payload: bytes) -> Iterator[Telemetry | Rejection]:
    """The log records of an export.

    Raises:
        RecordRejectedError: if it is no export of logs.
    """
    try:
        export = ExportLogsServiceRequest.FromString(payload)
    except DecodeError:
        raise _broken("logs") from None
    for group in export.resource_logs:
        records = (
            (record, scope.scope.name) for scope in group.scope_logs for record in scope.log_records
        )
        yield from _each(records, group.resource.attributes)


def _each(
    items: Iterable[tuple[Span | LogRecord, str]], about: Iterable[KeyValue]
) -> Iterator[Telemetry | Rejection]:
    resource: dict[str, Plain] | None = None
    for item, scope in items:
        try:
            resource = _plain(about) if resource is None else resource
            told = _of_span(item, resource) if isinstance(item, Span) else _of_log(item, resource)
            told.scope = scope
            yield told
        except RecordRejectedError as exc:
            yield rejection(exc, b"")


def _of_span(span: Span, resource: Mapping[str, Plain]) -> Telemetry:
    return Telemetry(
        name=span.name,
        trace=_id(span.trace_id),
        span=_id(span.span_id),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano or span.start_time_unix_nano,
        attributes=_plain(span.attributes),
        resource=resource,
        is_span=True,
        is_failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _of_log(record: LogRecord, resource: Mapping[str, Plain]) -> Telemetry:
    attributes = _plain(record.attributes)
    time = record.time_unix_nano or record.observed_time_unix_nano
    return Telemetry(
        name=record.event_name or str(attributes.get("event.name") or ""),
        trace=_id(record.trace_id),
        span=_id(record.span_id),
        start=time,
        end=time,
        attributes=attributes,
        resource=resource,
        body=_value(record.body),
    )


def _plain(attributes: Iterable[KeyValue], depth: int = 0) -> dict[str, Plain]:
    return {attribute.key: _value(attribute.value, depth) for attribute in attributes}


def _value(value: AnyValue, depth: int = 0) -> Plain:
    if depth > MAX_DEPTH:
        raise RecordRejectedError(Reason.TOO_DEEP, "values nested too deeply")
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _plain(value.kvlist_value.values, depth + 1)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()  # as it is in JSON
    return None if kind is None else getattr(value, kind)


def _id(raw: bytes) -> str:
    return raw.hex() if any(raw) else ""


def _broken(signal: str) -> RecordRejectedError:
    return RecordRejectedError(Reason.BROKEN_PROTOBUF, f"expected an OTLP export of {signal}")
