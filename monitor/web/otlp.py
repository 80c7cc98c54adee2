"""OTLP over HTTP: what the body of an export is read with, and the answers that exporters expect.

Exporters drop what is refused with a 4xx for good, so that is only the answer to a body that is no
export; what is wrong with single records is said as a partial success.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from fastapi import Response
from fastapi.responses import JSONResponse

from monitor.errors import MonitorError, RecordRejectedError
from monitor.records import Rejection
from monitor.service.intake import Receipt
from monitor.traffic.formats.call import Piece
from monitor.traffic.formats.joined import JoinedFormat
from monitor.traffic.formats.otlp import OtlpFormat, logs_reader, traces_reader
from monitor.traffic.formats.uploads import Uploads
from monitor.traffic.formats.wire import Format, Reason
from monitor.traffic.joining import Joiner
from monitor.web.bodies import RefusedError

TRACES, LOGS = "/v1/traces", "/v1/logs"
PATHS = frozenset({TRACES, LOGS})
PROTOBUF = "application/x-protobuf"
# What was not read. Calls that failed, or of which nobody logged the content, are no fault of
# the exporter.
MALFORMED = (
    Reason.BROKEN_JSON,
    Reason.BROKEN_PROTOBUF,
    Reason.TOO_DEEP,
    Reason.NOT_AN_OBJECT,
    Reason.BAD_ENCODING,
    Reason.MISSING_FIELD,
    Reason.WRONG_TYPE,
    Reason.BAD_ID,
    Reason.BAD_TIME,
    Reason.ABSURD_TIME,
    Reason.TOO_LONG,
)


class NoExportError(MonitorError):
    """A body is no export of the signal that its path is for."""


class _WholeExport(OtlpFormat):
    """Raises where the body itself is refused, which elsewhere counts as one bad record."""

    def pieces(self, line: bytes, latest: datetime) -> Iterator[Piece | Rejection]:
        try:
            yield from super().pieces(line, latest)
        except RecordRejectedError as exc:
            raise NoExportError(f"the body is no OTLP export: {exc.reason}") from exc


def export_format(path: str, content_type: str, joiner: Joiner, uploads: Uploads) -> Format:
    """What reads an export that is posted to ``path``; ``NoExportError`` if it is none."""
    try:
        reader = (traces_reader if path == TRACES else logs_reader)(content_type)
    except RecordRejectedError as exc:
        raise RefusedError(415, f"Content-Type must be application/json or {PROTOBUF}") from exc
    return JoinedFormat(_WholeExport(uploads, reader), joiner)


def export_lines(body: bytes) -> Sequence[bytes]:
    """The export; none where it is the empty message in JSON."""
    return [] if body.strip() == b"{}" else [body]


def answer(path: str, content_type: str, receipt: Receipt) -> Response:
    """The response message of the signal, in the encoding of the request."""
    refused = {reason: n for reason in MALFORMED if (n := receipt.outcomes.get(reason, 0))}
    said = ", ".join(f"{reason}: {n}" for reason, n in refused.items())
    count = sum(refused.values())
    if is_protobuf(content_type):
        return Response(_in_protobuf(path, count, said), media_type=PROTOBUF)
    if not refused:
        return JSONResponse({})
    counted = "rejectedSpans" if path == TRACES else "rejectedLogRecords"
    return JSONResponse({"partialSuccess": {counted: str(count), "errorMessage": said}})


def refusal(
    content_type: str, status: int, message: str, headers: Mapping[str, str] | None
) -> Response:
    """A ``Status`` message, which is what a failed export is answered with."""
    if not is_protobuf(content_type):
        return JSONResponse({"message": message}, status_code=status, headers=headers)
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - loading it takes time
        ExportTracePartialSuccess,
    )

    # On the wire the same as google.rpc.Status, whose field 2 is the message too.
    body = ExportTracePartialSuccess(error_message=message).SerializeToString()
    return Response(body, status_code=status, headers=headers, media_type=PROTOBUF)


def is_protobuf(content_type: str) -> bool:
    """Whether a request with this content type is answered in protobuf."""
    return content_type.partition(";")[0].strip().lower() == PROTOBUF


def _in_protobuf(path: str, count: int, said: str) -> bytes:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415 - loading it takes time
        ExportLogsServiceResponse,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - as above
        ExportTraceServiceResponse,
    )

    if path == TRACES:
        traces = ExportTraceServiceResponse()
        if count:
            traces.partial_success.rejected_spans = count
            traces.partial_success.error_message = said
        return traces.SerializeToString()
    logs = ExportLogsServiceResponse()
    if count:
        logs.partial_success.rejected_log_records = count
        logs.partial_success.error_message = said
    return logs.SerializeToString()
