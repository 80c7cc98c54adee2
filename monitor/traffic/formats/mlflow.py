"""MLflow traces, exported as JSON, and its attributes on spans; both are JSON within JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.bodies import request_in, response_in
from monitor.traffic.formats.call import Call
from monitor.traffic.formats.genai import call_about
from monitor.traffic.formats.lookup import either, within_json
from monitor.traffic.formats.telemetry import SPAN_BYTES, TRACE_BYTES, Telemetry, hex_id
from monitor.traffic.formats.wire import Reason, decode, rejection

KIND = "mlflow.spanType"


def mlflow_call(record: Telemetry, latest: datetime) -> Call | None:
    """What a span tells of a call; None if it is about none.

    Raises:
        RecordRejectedError: if nothing can be made of it.
    """
    if _json_text(record, KIND) not in {"CHAT_MODEL", "LLM"}:
        return None
    asked, said = record.text("mlflow.spanInputs"), record.text("mlflow.spanOutputs")
    if record.is_failed:
        raise RecordRejectedError(Reason.FAILED_CALL, "the span ended with an error")
    request = request_in(asked) if asked else None
    answer = response_in(said) if said else None
    call = call_about(record, latest, answer.id if answer else None)
    call.stream = _json_text(record, "mlflow.llm.model") or (answer.model if answer else None)
    call.deployment = request.model if request else None
    call.stream = call.stream or call.deployment
    call.query = request.query() if request else None
    call.response = answer.text() if answer else None
    return call


class Value(Struct, gc=False):
    """What was expected; feedback is not a target."""

    value: object = None


class Assessment(Struct, gc=False):
    """What somebody said about a trace, or about a span of it."""

    expectation: Value | None = None
    span_id: str | None = None
    valid: bool | None = None


class Info(Struct, gc=False):
    """About the whole trace."""

    trace_id: str | None = None
    request_id: str | None = None
    assessments: list[Assessment] | None = None


class Status(Struct, gc=False):
    """How a span ended."""

    code: str | int | None = None


class Span(Struct, gc=False):
    """One step. Ids are base64; attribute values are JSON texts."""

    trace_id: str | None = None
    span_id: str | None = None
    name: str = ""
    start_time_unix_nano: int | None = None
    end_time_unix_nano: int | None = None
    attributes: dict[str, object] | None = None
    status: Status | None = None

    def telemetry(self) -> Telemetry:
        start = max(self.start_time_unix_nano or 0, 0)
        attributes = self.attributes or {}
        return Telemetry(
            name=self.name,
            trace=hex_id(self.trace_id, TRACE_BYTES),
            span=hex_id(self.span_id, SPAN_BYTES),
            start=start,
            end=max(self.end_time_unix_nano or 0, 0) or start,
            attributes={key: v for key, v in attributes.items() if isinstance(v, str)},
            resource={},
            is_span=True,
            is_failed=self.status is not None and self.status.code in {2, "STATUS_CODE_ERROR"},
        )


class Data(Struct, gc=False):
    """The steps."""

    spans: list[msgspec.Raw]


class Trace(Struct, gc=False):
    """``Trace.to_json`` of MLflow."""

    info: Info
    data: Data


class MlflowFormat:
    """Parses one trace a line."""

    name = "mlflow"

    def __init__(self) -> None:
        self.passed_over = 0

    def recognises(self, keys: frozenset[str]) -> bool:
        return {"info", "data"} <= keys

    def pieces(self, line: bytes, latest: datetime) -> Iterator[Call | Rejection]:
        trace = decode(_decode_trace, line)
        about = within_json(line, "info.trace_metadata", "info.tags", "info")
        calls: dict[str, Call] = {}  # by the id of the span as the trace has it
        for raw in trace.data.spans:
            try:
                span = decode(_decode_span, raw)
                call = mlflow_call(span.telemetry(), latest)
            except RecordRejectedError as exc:
                yield rejection(exc, bytes(raw))
                continue
            if call is None:
                self.passed_over += 1
            else:
                call.aliases += (trace.info.trace_id,) if trace.info.trace_id else ()
                call.lookup = call.metadata = either(call.lookup, about)
                calls[span.span_id or ""] = call
        _set_targets(trace.info.assessments or (), calls)
        yield from calls.values()


def _set_targets(assessments: Sequence[Assessment], calls: dict[str, Call]) -> None:
    if not calls:
        return
    last = max(calls.values(), key=lambda call: call.time)
    for assessment in assessments:
        expected = assessment.expectation.value if assessment.expectation else None
        if not isinstance(expected, str) or not expected or assessment.valid is False:
            continue
        # What is expected of the whole trace is expected of its last answer.
        call = calls.get(assessment.span_id) if assessment.span_id else last
        if call is not None:
            call.target = expected


def _json_text(record: Telemetry, key: str) -> str | None:
    value = record.text(key)
    if value is None:
        return None
    try:
        text: str | None = decode(_decode_text, value.encode())
    except RecordRejectedError:
        return value
    return text


_decode_trace = msgspec.json.Decoder(Trace).decode
_decode_span = msgspec.json.Decoder(Span).decode
_decode_text = msgspec.json.Decoder(str | None).decode
