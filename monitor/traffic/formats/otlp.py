"""Calls in OTLP exports, by whichever conventions the instrumentation follows."""

from collections.abc import Callable, Iterator
from datetime import datetime

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats import langfuse, mlflow, openinference
from monitor.traffic.formats.call import Call, Piece
from monitor.traffic.formats.genai import genai_call
from monitor.traffic.formats.otlp_json import telemetry_in_json
from monitor.traffic.formats.telemetry import Telemetry
from monitor.traffic.formats.uploads import NO_UPLOADS, Uploads
from monitor.traffic.formats.wire import Reason, rejection

Reader = Callable[[bytes], Iterator[Telemetry | Rejection]]
_BY_KIND: dict[str, Callable[[Telemetry, datetime], Call | None]] = {
    langfuse.KIND: langfuse.langfuse_call,
    mlflow.KIND: mlflow.mlflow_call,
    openinference.KIND: openinference.openinference_call,
}


class OtlpFormat:
    """Parses an export of traces or logs; ``read`` knows how it is encoded."""

    name = "otlp"

    def __init__(self, uploads: Uploads = NO_UPLOADS, read: Reader = telemetry_in_json) -> None:
        self.passed_over = 0
        self._uploads = uploads
        self._read = read

    def recognises(self, keys: frozenset[str]) -> bool:
        return not keys.isdisjoint({"resourceSpans", "resourceLogs"})

    def pieces(self, line: bytes, latest: datetime) -> Iterator[Piece | Rejection]:
        for record in self._read(line):
            if isinstance(record, Rejection):
                yield record
                continue
            try:
                piece = self._piece(record, latest)
            except RecordRejectedError as exc:
                yield rejection(exc, f"{record.name} {record.id or ''}".encode())
                continue
            if piece is None:
                self.passed_over += 1
            else:
                yield piece

    def _piece(self, record: Telemetry, latest: datetime) -> Piece | None:
        for kind, call_of in _BY_KIND.items():
            if kind in record.attributes:
                return call_of(record, latest)
        return genai_call(record, latest, self._uploads)


def traces_reader(content_type: str) -> Reader:
    """What reads traces sent with this content type.

    Raises:
        RecordRejectedError: if nothing does.
    """
    if _is_json(content_type):
        return telemetry_in_json
    from monitor.traffic.formats.otlp_protobuf import (  # noqa: PLC0415 - loading it takes time
        spans_in_protobuf,
    )

    return spans_in_protobuf


def logs_reader(content_type: str) -> Reader:
    """As ``traces_reader``, for logs."""
    if _is_json(content_type):
        return telemetry_in_json
    from monitor.traffic.formats.otlp_protobuf import (  # noqa: PLC0415 - loading it takes time
        log_records_in_protobuf,
    )

    return log_records_in_protobuf


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/x-protobuf"}:
        raise RecordRejectedError(
            Reason.UNKNOWN_FORMAT, "expected application/json or application/x-protobuf"
        )
    return kind == "application/json"
