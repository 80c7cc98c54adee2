import json

import pytest

from monitor.records import ImageState
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Wire
from tests.unit.traffic.captured import LATEST, exchanges, payload, reasons
from tests.unit.traffic.lines import PNG, answer


def record(**changes: object) -> dict[str, object]:
    """A captured record with other values; a field given as None is null."""
    (captured, _) = json.loads(payload("litellm_sdk_generic_api_json_array.json"))
    assert isinstance(captured, dict)
    return captured | changes


def parsed(*records: dict[str, object]) -> list[object]:
    form = format_named("litellm")
    return [r for one in records for r in form.parse(json.dumps(one).encode(), LATEST)]


def asked(*content: object) -> list[object]:
    return [{"role": "user", "content": list(content)}]


def exchange(**changes: object) -> object:
    (found,) = exchanges(parsed(record(**changes)))  # type: ignore[arg-type] # records
    return found


def test_an_array_and_its_elements_line_by_line_are_the_same() -> None:
    body = payload("litellm_sdk_generic_api_ok_stream_fail.json")
    whole = format_named("auto").parse(body, LATEST)
    lines = [json.dumps(each).encode() for each in json.loads(body)]
    form = format_named("auto")
    apart = [r for line in lines for r in form.parse(line, LATEST)]
    assert exchanges(whole) == exchanges(apart)
    assert reasons(whole) == reasons(apart) == ["failed_call"]


def test_calls_that_share_a_response_id_are_told_apart_by_the_id_of_the_call() -> None:
    records = [record(litellm_call_id=call, id="chatcmpl-1") for call in ("a", "b", "a")]
    assert [r.id for r in parsed(*records) if isinstance(r, Wire)] == ["a", "b"]


def test_a_cached_answer_is_an_exchange_and_says_so() -> None:
    found = exchange(id="chatcmpl-1_cache_hit1795298475.1", cache_hit=True)
    assert found.labels["cache_hit"] == "true"  # type: ignore[attr-defined]


def test_a_response_of_the_responses_api_is_read() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "A cat."}]}]
    found = exchange(response={"id": "resp_1", "output": output}, call_type="aresponses")
    assert found.response == "A cat."  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "messages", ["What is this?", '[{"role":"user","content":"What is this?"}]']
)
def test_messages_may_be_a_text(messages: str) -> None:
    assert exchange(messages=messages).text == "What is this?"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "state"),
    [
        (PNG, ImageState.INLINE),
        ("[base64_data truncated: 192.4KB]", ImageState.TRUNCATED),
    ],
)
def test_the_image_of_a_call_of_anthropics_is_as_the_log_has_it(
    data: str, state: ImageState
) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": data}
    found = exchange(messages=asked({"type": "image", "source": source}))
    assert [i.state for i in found.images] == [state]  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["requester_metadata", "spend_logs_metadata"])
def test_the_callers_metadata_may_hold_the_target(place: str) -> None:
    found = exchange(metadata={place: {"reference_answer": "A cat.", "source": 5}})
    assert found.target == "A cat."  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "stream"),
    [
        ({"model_group": "vision"}, "vision"),
        ({"model_group": "", "model": "served"}, "served"),
        ({"model_group": None, "model": None}, "gpt-4o-mini"),
    ],
)
def test_the_route_is_the_stream(fields: dict[str, object], stream: str) -> None:
    assert exchange(**fields).stream == stream  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "failure"}, "failed_call"),
        ({"response": {}}, "failed_call"),
        ({"response": None}, "failed_call"),
        ({"response": answer(None, tool_calls=[{}])}, "no_content"),
        ({"messages": []}, "no_content"),
        ({"messages": "redacted-by-litellm"}, "redacted"),
        ({"response": answer("redacted-by-litellm")}, "redacted"),
        ({"endTime": None, "startTime": None}, "missing_field"),
        ({"endTime": 1e300}, "absurd_time"),
        ({"litellm_call_id": None, "id": None}, "missing_field"),
        ({"litellm_call_id": "x" * 300}, "too_long"),
        ({"messages": asked(*[{"type": "image_url"}] * 65)}, "too_long"),
        ({"metadata": 5}, "wrong_type"),
    ],
)
def test_each_kind_of_rubbish_has_its_reason(fields: dict[str, object], reason: str) -> None:
    assert reasons(parsed(record(**fields))) == [reason]  # type: ignore[arg-type] # records


def test_what_is_no_chat_is_passed_over() -> None:
    assert parsed(record(call_type="aembedding"), record(call_type="image_generation")) == []
