import json

import pytest

from monitor.records import Exchange
from tests.unit.traffic.captured import exchanges, reasons
from tests.unit.traffic.lines import answer, request
from tests.unit.traffic.test_otlp import parsed, span, traces

MESSAGE = "llm.input_messages.0.message."
PART = f"{MESSAGE}contents."
SAID = {"llm.output_messages.0.message.content": "So."}
TOLD: dict[str, object] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "model",
    f"{MESSAGE}role": "user",
    f"{MESSAGE}content": "Why?",
    **SAID,
}


def told(**attributes: object) -> Exchange:
    (found,) = exchanges(parsed(traces(span(TOLD | attributes))))
    return found


def bare(**attributes: object) -> dict[str, object]:
    return {"openinference.span.kind": "LLM", "llm.model_name": "model"} | attributes


def test_a_flattened_chat_is_put_together_in_order_of_its_numbers() -> None:
    parts = {
        f"{PART}10.message_content.text": "Then?",
        f"{PART}2.message_content.image.image.url": "https://a/1.png",
        f"{PART}2.message_content.type": "image",
        f"{PART}1.message_content.text": "Why?",
    }
    found = told(**{f"{MESSAGE}content": None}, **parts)
    assert (found.text, found.response) == ("Why?\nThen?", "So.")
    assert [image.url for image in found.images] == ["https://a/1.png"]


def test_without_messages_the_request_and_response_are_read() -> None:
    whole = {
        "input.value": json.dumps(request("Why?")),
        "output.value": json.dumps(answer("So.")),
    }
    (found,) = exchanges(parsed(traces(span(bare(**whole)))))
    assert (found.text, found.response, found.stream) == ("Why?", "So.", "model")


def test_the_id_of_the_response_in_the_output_tells_nested_spans_of_one_call() -> None:
    output = {"output.value": json.dumps(answer("So."))}
    outer = span(TOLD | output)
    inner = span(TOLD | output, spanId="aaaaaaaaaaaaaaaa", startTimeUnixNano=None)
    other = inner | {"traceId": "a" * 32}
    assert len(exchanges(parsed(traces(inner, outer)))) == 1
    assert len(exchanges(parsed(traces(inner, outer, other)))) == 2


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (TOLD | {f"{MESSAGE}content": "__REDACTED__"}, "redacted"),
        (bare(**SAID), "lost_query"),
        (bare(**SAID, **{"input.value": '{"messages": [{"ro'}), "lost_query"),
        (bare(**{"input.value": json.dumps(request("Why?"))}), "lost_response"),
        (bare(**{"input.value": "5", "output.value": "{}"}), "lost_response"),
        (bare(), "no_content"),
    ],
)
def test_what_a_span_lacks_is_the_reason(attributes: dict[str, object], reason: str) -> None:
    assert reasons(parsed(traces(span(attributes)))) == [reason]


def test_numbers_of_messages_cannot_fill_the_memory() -> None:
    assert told(**{"llm.input_messages.999999.message.content": "x"}).text == "Why?"
