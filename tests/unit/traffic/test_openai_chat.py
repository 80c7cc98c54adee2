import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.records import Exchange, ImageState, LoggedImage, Rejection
from monitor.traffic.formats.openai_chat import OpenAIChatFormat
from monitor.traffic.formats.wire import Caps, Wire
from tests.unit.traffic.captured import payload
from tests.unit.traffic.lines import LATEST, NOON, PNG, answer, chat, exchange, refusal, request

OPENAI = OpenAIChatFormat()


def image(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def test_captured_calls_give_the_exchanges_that_were_made(fixtures: Path) -> None:
    lines = (fixtures / "traffic" / "openai_chat.jsonl").read_bytes().splitlines()
    latest = datetime(2027, 1, 1, tzinfo=UTC)
    found = [record for line in lines for record in OPENAI.parse(line, latest)]
    first, second = [record.exchange() for record in found if isinstance(record, Wire)]
    assert (first.id, first.stream) == ("chatcmpl-CAPTURE0001", "gpt-4o-mini-2024-07-18")
    assert first.time == datetime.fromtimestamp(1795000000, UTC)
    assert first.text == second.text == "What is in this image?"
    assert first.response == "The image shows a solid red square on a plain background."
    assert [i.state for i in first.images] == [ImageState.INLINE, ImageState.URL]
    assert (first.images[0].data or b"").startswith(b"\x89PNG\r\n\x1a\n")
    assert second.response == "The image shows a solid red square."
    assert [i.state for i in second.images] == [ImageState.TRUNCATED, ImageState.URL]
    assert [r.reason for r in found if isinstance(r, Rejection)] == ["failed_call"]


def test_bodies_may_be_objects_or_json_strings() -> None:
    as_strings = chat(request=json.dumps(request("Why?")), response=json.dumps(answer("So.")))
    assert exchange(OPENAI, as_strings) == exchange(
        OPENAI, chat(request=request("Why?"), response=answer("So."))
    )


def test_the_query_is_the_last_user_turn_with_its_own_images() -> None:
    asked = request(
        [text("Before."), image("https://a/1.png")],
        [text("One."), image("https://a/2.png"), text("Two."), {"type": "input_audio"}],
    )
    found = exchange(OPENAI, chat(request=asked))
    assert found.text == "One.\nTwo."
    assert found.images == (LoggedImage(ImageState.URL, url="https://a/2.png"),)


def test_system_and_assistant_turns_are_not_the_query() -> None:
    messages = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42"},
    ]
    assert exchange(OPENAI, chat(request={"messages": messages})).text == "Why?"


def test_tool_calls_and_reasoning_do_not_enter_the_response() -> None:
    message = answer("A cat.", tool_calls=[{"function": {"name": "f"}}], reasoning="Hm.")
    assert exchange(OPENAI, chat(response=message)).response == "A cat."


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ("A cat.", "A cat."),
        ([text("A"), {"type": "reasoning"}, text("cat.")], "A\ncat."),
    ],
)
def test_an_answer_is_a_text_or_a_list_of_them(content: object, response: str) -> None:
    assert exchange(OPENAI, chat(response=answer(content))).response == response


def test_a_refusal_is_what_the_model_said() -> None:
    assert (
        exchange(OPENAI, chat(response=answer(None, refusal="I cannot."))).response == "I cannot."
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("chatcmpl-1", "served", NOON)),
        ({"id": 7, "request_id": "r"}, ("7", "served", NOON)),
        ({"request_id": "r"}, ("r", "served", NOON)),
        ({"stream": "route-a"}, ("chatcmpl-1", "route-a", NOON)),
        ({"stream": True}, ("chatcmpl-1", "served", NOON)),
        (
            {"time": "2026-03-01T12:30:00Z", "created": 1},
            ("chatcmpl-1", "served", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ),
        (
            {"timestamp": 1772366460.5},
            ("chatcmpl-1", "served", datetime(2026, 3, 1, 12, 1, 0, 500_000, UTC)),
        ),
        ({"response": answer("A.") | {"model": None}}, ("chatcmpl-1", "requested", NOON)),
    ],
)
def test_what_stands_on_the_line_itself_names_the_call(
    fields: dict[str, object], expected: tuple[str, str, datetime]
) -> None:
    found = exchange(OPENAI, chat(**fields))
    assert (found.id, found.stream, found.time) == expected


def test_labels_and_target_come_from_the_line() -> None:
    found = exchange(OPENAI, chat(labels={"tenant": "acme", "beta": False}, target="A dog."))
    assert (found.labels, found.target) == ({"tenant": "acme", "beta": "false"}, "A dog.")


@pytest.mark.parametrize(
    ("url", "state"),
    [
        (f"data:image/png;base64,{PNG}", "inline"),
        ("https://images.example.com/cat.jpg", "url"),
        ("gs://bucket/cat.jpg", "object_ref"),
        ("data:image/png;base64,[base64_data truncated: 81B]", "truncated"),
        ("__REDACTED__", "redacted"),
        ("data:image/png;base64,????", "rejected"),
        (None, "absent"),
        (5, "rejected"),
    ],
)
def test_what_became_of_an_image_is_a_state_of_that_image(url: object, state: str) -> None:
    found = exchange(OPENAI, chat(request=request([text("Why?"), image(url)])))
    assert [i.state for i in found.images] == [state]


def test_an_image_url_may_be_a_bare_string() -> None:
    part = {"type": "image_url", "image_url": "https://a/1.png"}
    found = exchange(OPENAI, chat(request=request([part])))
    assert found.images == (LoggedImage(ImageState.URL, url="https://a/1.png"),)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "broken_json"),
        (chat(request="{"), "broken_json"),
        (chat(response="[]"), "not_an_object"),
        (b"{}", "missing_field"),
        (chat(response=answer("A.") | {"id": None}), "missing_field"),
        (chat(response=answer("A.") | {"created": None}), "missing_field"),
        (chat(request={"messages": "Why?"}), "wrong_type"),
        (chat(request=5), "wrong_type"),
        (chat(time="now"), "bad_time"),
        (chat(created=10), "absurd_time"),
        (chat(id=""), "bad_id"),
        (chat(stream="x" * 201), "too_long"),
        (chat(request=request([image("https://a")] * 65)), "too_long"),
        (chat(request=request("")), "no_content"),
        (chat(request=request([{"type": "input_audio"}])), "no_content"),
        (chat(request=request()), "no_content"),
        (chat(response=answer(None, tool_calls=[])), "no_content"),
        (chat(response={"error": {"code": 500}}), "failed_call"),
        (chat(response=answer("A.") | {"error": "late"}), "failed_call"),
        (chat(response=answer("A.") | {"choices": []}), "failed_call"),
        (chat(response={}), "failed_call"),
        (chat(response=None), "failed_call"),
        (chat(response=None, error={"code": 429}), "failed_call"),
    ],
)
def test_each_kind_of_rubbish_has_its_reason(line: bytes, reason: str) -> None:
    assert refusal(OPENAI, line).reason == reason


def test_texts_are_cut_and_cleaned() -> None:
    line = chat(request=request("q\0" * 9), response=answer("r" * 99), target="t" * 99)
    found = exchange(OPENAI, line, Caps(max_text_chars=4))
    assert (found.text, found.response, found.target) == ("q\ufffdq\ufffd", "rrrr", "tttt")


def test_half_an_emoji_does_not_cost_the_exchange() -> None:
    line = chat(request=json.dumps(request("Why @")).replace("@", r"\ud83d"))
    assert exchange(OPENAI, line).text == "Why \ufffd"


ANTHROPIC = {
    "request": json.loads(payload("anthropic_messages_request.json")),
    "response": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "A square."},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        ],
    },
    "time": "2026-03-01T12:00:00Z",
}
RESPONSES = {
    "request": json.loads(payload("openai_responses_request.json")),
    "response": {
        "id": "resp_1",
        "created_at": 1772366400,
        "model": "gpt-4o-mini-2024-07-18",
        "error": None,
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "message", "content": [{"type": "output_text", "text": "A square."}]},
        ],
    },
}


@pytest.mark.parametrize(
    ("call", "text", "states"),
    [
        (ANTHROPIC, "Describe.", ["inline", "url"]),
        (RESPONSES, "What is in this image?", ["inline", "provider_file"]),
    ],
)
@pytest.mark.parametrize("as_texts", [True, False])
def test_bodies_of_other_apis_are_read_too(
    call: dict[str, object], text: str, states: list[str], *, as_texts: bool
) -> None:
    bodies = {key: json.dumps(call[key]) for key in ("request", "response")} if as_texts else {}
    found = exchange(OPENAI, json.dumps(call | bodies).encode())
    assert (found.text, found.response, found.time) == (text, "A square.", NOON)
    assert [image.state for image in found.images] == states
    assert found == exchange(OpenAIChatFormat("anthropic"), json.dumps(call).encode())


def test_a_request_of_the_responses_api_may_be_a_text() -> None:
    line = RESPONSES | {"request": {"model": "m", "input": "Why?"}}
    assert exchange(OPENAI, json.dumps(line).encode()).text == "Why?"


def test_turns_before_the_query_are_counted() -> None:
    asked = request("First?", "Then?")
    assert exchange(OPENAI, chat(request=asked)).labels == {
        "context_turns": "1",
        "context_images": "0",
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (request("Why?"), "lost_response"),
        ({"model": "m", "input": "Why?"}, "lost_response"),
        (answer("So."), "lost_query"),
    ],
)
def test_a_body_alone_lacks_its_other_half(body: object, reason: str) -> None:
    assert refusal(OPENAI, json.dumps(body).encode()).reason == reason


def test_a_failure_of_anthropics_is_a_failed_call() -> None:
    failed = ANTHROPIC | {"response": {"type": "error", "error": {"type": "overloaded_error"}}}
    assert refusal(OPENAI, json.dumps(failed).encode()).reason == "failed_call"


def test_a_kept_exchange_is_the_same_whenever_it_is_built() -> None:
    (record,) = OPENAI.parse(chat(), LATEST)
    assert isinstance(record, Wire)
    assert isinstance(record.exchange(), Exchange)
    assert record.exchange() == record.exchange()
