import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from monitor.errors import RecordRejectedError
from monitor.records import Exchange, Rejection
from monitor.traffic.formats.call import Call, Piece
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.otlp import OtlpFormat, Reader, logs_reader, traces_reader
from monitor.traffic.formats.streams import BY_FORMAT
from monitor.traffic.formats.wire import Record
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, PROTOBUF, exchanges, payload, reasons
from tests.unit.traffic.lines import NOON

ReaderOf = Callable[[str], Reader]
JSON = "application/json"
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
DETAILS = "gen_ai.client.inference.operation.details"
NS = int(NOON.timestamp()) * 10**9
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "So."}]}]
TOLD: Mapping[str, object] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.response.model": "model",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.input.messages": json.dumps(ASKED),
    "gen_ai.output.messages": json.dumps(SAID),
}


def value(plain: object) -> dict[str, object]:
    if isinstance(plain, dict):
        return {"kvlistValue": {"values": entries(plain)}}
    if isinstance(plain, list):
        return {"arrayValue": {"values": [value(item) for item in plain]}}
    if isinstance(plain, bytes):
        return {"bytesValue": base64.b64encode(plain).decode()}
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    return {} if plain is None else {kinds[type(plain)]: plain}


def entries(plain: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"key": key, "value": value(item)} for key, item in plain.items() if item is not None]


def span(attributes: Mapping[str, object] = TOLD, /, **fields: object) -> dict[str, object]:
    usual = {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "chat model",
        "startTimeUnixNano": str(NS - 10**9),
        "endTimeUnixNano": str(NS),
        "attributes": entries(attributes),
    }
    return {key: item for key, item in (usual | fields).items() if item is not None}


def event(
    name: str,
    attributes: Mapping[str, object] | None = None,
    /,
    body: object = None,
    **fields: object,
) -> dict[str, object]:
    usual = {
        "traceId": TRACE,
        "spanId": SPAN,
        "eventName": name,
        "observedTimeUnixNano": str(NS),
        "attributes": entries(attributes or {}),
        "body": value(body),
    }
    return {key: item for key, item in (usual | fields).items() if item is not None}


def traces(*spans: object) -> bytes:
    service = {"attributes": entries({"service.name": "app"})}
    groups = [{"resource": service, "scopeSpans": [{"spans": list(spans)}]}]
    return json.dumps({"resourceSpans": groups}).encode()


def logs(*records: object) -> bytes:
    service = {"attributes": entries({"service.name": "app"})}
    groups = [{"resource": service, "scopeLogs": [{"logRecords": list(records)}]}]
    return json.dumps({"resourceLogs": groups}).encode()


def parsed(*lines: bytes) -> list[Record]:
    joiner = Joiner()
    form = format_named("otlp", joiner=joiner)
    return [r for line in lines for r in form.parse(line, LATEST)] + joiner.flush()


def exchange(*lines: bytes) -> Exchange:
    (found,) = exchanges(parsed(*lines))
    return found


def without(*keys: str, **changes: object) -> dict[str, object]:
    return {key: item for key, item in TOLD.items() if key not in keys} | changes


def test_a_span_and_its_event_say_the_same() -> None:
    structured = dict(TOLD) | {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}
    details = event(DETAILS, structured)
    assert exchange(traces(span())) == exchange(logs(details))


@pytest.mark.parametrize("time", ["timeUnixNano", "observedTimeUnixNano"])
@pytest.mark.parametrize(
    ("attributes", "name"), [(TOLD, DETAILS), ({**TOLD, "event.name": DETAILS}, None)]
)
def test_the_name_and_time_of_an_event_may_be_in_either_place(
    attributes: Mapping[str, object], name: str | None, time: str
) -> None:
    times: dict[str, object] = {"observedTimeUnixNano": None, time: NS}
    assert exchange(logs(event("", attributes, **times, eventName=name))).time == NOON


def told_one_by_one() -> list[dict[str, object]]:
    return [
        event("gen_ai.system.message", body={"content": "Be kind."}),
        event("gen_ai.user.message", body={"content": "Why?"}),
        event("gen_ai.choice", body={"index": 1, "message": {"content": "No."}}),
        event("gen_ai.choice", body={"index": 0, "message": {"content": "So."}}),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_older_events_and_their_span_are_one_exchange_in_any_order(order: Sequence[int]) -> None:
    _, asked, _, said = told_one_by_one()
    bare = span(without("gen_ai.input.messages", "gen_ai.output.messages"))
    exports = [logs(asked), logs(said), traces(bare)]
    found = exchange(*(exports[i] for i in order))
    assert (found.text, found.response, found.stream) == ("Why?", "So.", "model")


def test_older_events_alone_have_the_service_for_a_stream() -> None:
    assert exchange(logs(*told_one_by_one())).stream == "app"


def test_numbered_attributes_of_older_instrumentations_are_read() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a/1.png"}}
    told = {
        "gen_ai.request.model": "model",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be kind.",
        "gen_ai.prompt.10.role": "user",
        "gen_ai.prompt.10.content": json.dumps([{"type": "text", "text": "Then?"}, image]),
        "gen_ai.prompt.9.role": "user",
        "gen_ai.prompt.9.content": "[{Why?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "So.",
    }
    found = exchange(traces(span(told)))
    assert (found.text, found.response, len(found.images)) == ("Then?", "So.", 1)
    assert found.labels["context_turns"] == "1"


def test_content_that_is_not_captured_is_no_exchange() -> None:
    events = [event("gen_ai.user.message", body={}), event("gen_ai.choice", body={})]
    assert reasons(parsed(logs(*events))) == ["no_content"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.request.method": "POST"},
        {},
        without(**{"gen_ai.operation.name": "embeddings"}),
        without(**{"gen_ai.operation.name": "execute_tool"}),
        without(**{"gen_ai.operation.name": "invoke_agent"}),
        {"openinference.span.kind": "CHAIN", "input.value": "Why?"},
        {"langfuse.observation.type": "span"},
        {"mlflow.spanType": '"CHAIN"'},
    ],
)
def test_other_spans_are_passed_over(attributes: Mapping[str, object]) -> None:
    form = OtlpFormat()
    assert list(form.pieces(traces(span(attributes)), LATEST)) == []
    assert form.passed_over == 1


@pytest.mark.parametrize(
    "name", ["gen_ai.evaluation.result", "gen_ai.assistant.message", "anything", ""]
)
def test_other_events_are_passed_over(name: str) -> None:
    assert parsed(logs(event(name, TOLD, body={"content": "x"}))) == []


FAILED = span({"gen_ai.request.model": "m"}, status={"code": 2})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (span(attributes=5), "wrong_type"),
        (span(traceId=5), "wrong_type"),
        (span(endTimeUnixNano="9" * 30, startTimeUnixNano="x"), "missing_field"),
        (span(endTimeUnixNano=2**70), "absurd_time"),
        (span(endTimeUnixNano="1"), "absurd_time"),
        (FAILED, "failed_call"),
        (FAILED | {"status": {"code": "STATUS_CODE_ERROR"}}, "failed_call"),
        (span(without(**{"gen_ai.output.messages": "5"})), "wrong_type"),
        (span(without("gen_ai.input.messages")), "lost_query"),
        (span(without("gen_ai.output.messages")), "lost_response"),
        (span(without(**{"gen_ai.input.messages": '[{"role":"us'})), "lost_query"),
        (span(without(**{"gen_ai.output.messages": '[{"role":'})), "lost_response"),
    ],
)
def test_what_is_wrong_with_a_span_costs_only_that_span(bad: object, reason: str) -> None:
    other = span({**TOLD, "gen_ai.response.id": "chatcmpl-2"}, spanId="aaaaaaaaaaaaaaaa")
    records = parsed(traces(bad, other))
    assert (len(exchanges(records)), reasons(records)) == (1, [reason])


def test_a_span_whose_ids_are_lost_is_known_by_its_response() -> None:
    assert exchange(traces(span(traceId="", spanId="?"))).id == "chatcmpl-1"
    nameless = span(without("gen_ai.response.id"), traceId="0" * 32)
    assert reasons(parsed(traces(nameless))) == ["bad_id"]


def coded(hex_id: str) -> str:
    return base64.b64encode(bytes.fromhex(hex_id)).decode()


def test_ids_in_base64_are_the_same_ids() -> None:
    assert exchange(traces(span(traceId=coded(TRACE), spanId=coded(SPAN)))).id == f"{TRACE}:{SPAN}"


def test_an_inline_image_in_bytes_is_the_one_in_base64() -> None:
    png = b"\x89PNG\r\n\x1a\n"
    asked = [{"role": "user", "parts": [{"type": "blob", "modality": "image", "content": png}]}]
    (image,) = exchange(logs(event(DETAILS, {**TOLD, "gen_ai.input.messages": asked}))).images
    assert image.data == png


def pieces(reader_of: ReaderOf, body: bytes, content_type: str) -> Iterator[Piece | Rejection]:
    """What the body of a post with this content type tells."""
    return OtlpFormat(read=reader_of(content_type)).pieces(body, LATEST)


EVERY_KIND = {**TOLD, "x": [1, 2.5, True, b"b", {"y": None}, {"z": "s"}]}


@pytest.mark.parametrize(
    ("reader_of", "message", "body"),
    [
        (traces_reader, ExportTraceServiceRequest(), traces(span(EVERY_KIND), FAILED, span())),
        (logs_reader, ExportLogsServiceRequest(), logs(*told_one_by_one(), event(DETAILS, TOLD))),
    ],
)
def test_protobuf_and_json_say_the_same(reader_of: ReaderOf, message: Message, body: bytes) -> None:
    ParseDict(_with_base64_ids(json.loads(body)), message)
    in_json = [_comparable(p) for p in pieces(reader_of, body, f"{JSON}; charset=utf-8")]
    packed = message.SerializeToString()
    in_protobuf = [_comparable(p) for p in pieces(reader_of, packed, PROTOBUF)]
    assert in_protobuf == in_json
    assert len(in_json) == 3


@pytest.mark.parametrize("reader_of", [traces_reader, logs_reader])
def test_a_body_that_is_no_export_is_refused_as_a_whole(reader_of: ReaderOf) -> None:
    for body, kind, reason in [
        (b"\xff\xff", PROTOBUF, "broken_protobuf"),
        (b"{", JSON, "broken_json"),
        (b"{}", JSON, "missing_field"),
        (b"{}", "text/plain", "unknown_format"),
    ]:
        with pytest.raises(RecordRejectedError) as caught:
            list(pieces(reader_of, body, kind))
        assert caught.value.reason == reason


def test_the_captured_protobuf_is_the_captured_json_of_the_same_call() -> None:
    (span_piece,) = pieces(traces_reader, payload("otlpjson_py_traces.json"), JSON)
    (event_piece,) = pieces(logs_reader, payload("otlpjson_py_logs_with_evaluation.json"), JSON)
    assert isinstance(span_piece, Call)
    assert isinstance(event_piece, Call)
    assert span_piece.id == event_piece.id


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.sampled_from(["role", "parts", "type", "content", "text", "image_url", "source", "url"])
words = st.sampled_from(["user", "assistant", "text", "image", "image_url", "blob", "file"])
values = st.recursive(
    leaves | words | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(
    asked=values | st.lists(st.fixed_dictionaries({"role": words, "parts": values})), said=values
)
def test_messages_of_any_values_are_records_or_refusals(asked: object, said: object) -> None:
    told = {**TOLD, "gen_ai.input.messages": asked, "gen_ai.output.messages": said}
    message = {"content": asked, "message": said}
    events = [event(DETAILS, told), event("gen_ai.user.message", body=message, spanId="a" * 16)]
    found = parsed(logs(*events, event("gen_ai.choice", body=message, spanId="a" * 16)))
    assert len(exchanges(found)) + len(reasons(found)) == len(found) > 0


def test_values_nested_without_end_cost_only_their_record() -> None:
    deep: object = "x"
    for _ in range(60):
        deep = [deep]
    records = parsed(traces(span({**TOLD, "deep": deep}), span(spanId="aaaaaaaaaaaaaaaa")))
    assert (reasons(records), len(exchanges(records))) == (["too_deep"], 1)


def _with_base64_ids(tree: Any) -> Any:
    # The mapping of protobuf has ids in base64, unlike OTLP's.
    if isinstance(tree, dict):
        return {
            key: coded(item) if key in {"traceId", "spanId"} else _with_base64_ids(item)
            for key, item in tree.items()
        }
    return [_with_base64_ids(item) for item in tree] if isinstance(tree, list) else tree


def _comparable(piece: Piece | Rejection) -> object:
    if isinstance(piece, Rejection):
        return piece.reason
    if not isinstance(piece, Call):
        return repr(piece)
    piece = piece.noted(BY_FORMAT)
    return piece.wire().exchange() if piece.is_complete else repr(piece)
