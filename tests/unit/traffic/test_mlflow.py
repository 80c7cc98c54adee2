import json

import pytest

from monitor.records import Exchange
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Record
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, exchanges, payload, reasons

CAPTURED = json.loads(payload("mlflow_trace.json"))
(SPAN,) = CAPTURED["data"]["spans"]
NEXT = SPAN | {
    "span_id": "AAAAAAAAAAE=",
    "end_time_unix_nano": SPAN["end_time_unix_nano"] + 1_000_000,
    "attributes": SPAN["attributes"] | {"mlflow.spanOutputs": json.dumps({"content": "So."})},
}


def trace(*spans: object, assessments: object = ()) -> bytes:
    info = CAPTURED["info"] | {"assessments": assessments}
    return json.dumps({"info": info, "data": {"spans": list(spans)}}).encode()


def expectation(value: object, **fields: object) -> dict[str, object]:
    return {"assessment_name": "expected_response", "expectation": {"value": value}} | fields


def parsed(line: bytes) -> list[Record]:
    joiner = Joiner()
    return [*format_named("mlflow", joiner=joiner).parse(line, LATEST), *joiner.flush()]


def found(line: bytes) -> list[Exchange]:
    return exchanges(parsed(line))


@pytest.mark.parametrize(
    ("assessments", "targets"),
    [
        ([expectation("red")], [None, "red"]),
        ([expectation("red", span_id=SPAN["span_id"])], ["red", None]),
        ([expectation("red", span_id="?")], [None, None]),
        ([expectation("red", valid=False)], [None, None]),
        ([expectation({"colour": "red"})], [None, None]),
        ([{"feedback": {"value": "red"}}], [None, None]),
    ],
)
def test_what_is_expected_of_a_trace_is_the_target_of_its_last_call(
    assessments: object, targets: object
) -> None:
    assert [e.target for e in found(trace(SPAN, NEXT, assessments=assessments))] == targets


def test_a_span_sent_on_as_telemetry_has_the_same_id() -> None:
    (exchange,) = found(trace(SPAN))
    assert exchange.id == "b944eb7f73c277f7c0c432408f470cf3:b067bfe49483e369"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "failed_call"),
        ({"end_time_unix_nano": 1}, "absurd_time"),
        ({"attributes": 5}, "wrong_type"),
        ({"attributes": SPAN["attributes"] | {"mlflow.spanInputs": "{"}}, "broken_json"),
        ({"trace_id": "?", "attributes": {"mlflow.spanType": '"LLM"'}}, "bad_id"),
    ],
)
def test_what_is_wrong_with_a_span_costs_only_that_span(
    changes: dict[str, object], reason: str
) -> None:
    records = parsed(trace(SPAN | changes, NEXT))
    assert (len(exchanges(records)), reasons(records)) == (1, [reason])


def test_other_spans_are_passed_over() -> None:
    attributes = SPAN["attributes"] | {"mlflow.spanType": '"TOOL"'}
    assert parsed(trace(SPAN | {"attributes": attributes})) == []
