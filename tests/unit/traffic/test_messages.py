import json

import pytest

from monitor.errors import RecordRejectedError
from monitor.records import ImageState, LoggedImage
from monitor.traffic.formats.messages import (
    Message,
    Query,
    answer_of,
    image_of,
    messages_in,
    query_of,
)
from monitor.traffic.formats.wire import Caps
from tests.unit.traffic.lines import PNG

USER = {"role": "user"}
OPENAI = [
    {"type": "text", "text": "Why?"},
    {"type": "image_url", "image_url": {"url": "https://a/1.png"}},
]
RESPONSES = [
    {"type": "input_text", "text": "Why?"},
    {"type": "input_image", "image_url": "https://a/1.png"},
]
ANTHROPIC = [
    {"type": "image", "source": {"type": "url", "url": "https://a/1.png"}},
    {"type": "text", "text": "Why?"},
]
PARTS = [
    {"type": "text", "content": "Why?"},
    {"type": "uri", "modality": "image", "uri": "https://a/1.png"},
]


def query(messages: object, *, is_cut: bool = False) -> Query:
    return query_of(messages_in(messages)[0], is_cut=is_cut)


def images(*parts: object) -> list[LoggedImage]:
    found = query([USER | {"content": ["Why?", *parts]}])
    return [image_of(source, Caps()) for source in found.images]


@pytest.mark.parametrize("parts", [OPENAI, RESPONSES, ANTHROPIC, PARTS])
@pytest.mark.parametrize("key", ["content", "parts"])
def test_every_dialect_says_the_same(parts: list[object], key: str) -> None:
    found = query([USER | {key: parts}])
    assert found.text == "Why?"
    (image,) = [image_of(source, Caps()) for source in found.images]
    assert image == LoggedImage(ImageState.URL, url="https://a/1.png")


@pytest.mark.parametrize(
    ("part", "state"),
    [
        ({"type": "blob", "modality": "image", "content": PNG}, "inline"),
        ({"type": "blob", "mime_type": "image/png", "content": PNG}, "inline"),
        ({"type": "uri", "modality": "image", "uri": f"data:image/png;base64,{PNG}"}, "inline"),
        ({"type": "uri", "modality": "image", "uri": "gs://b/1.png"}, "object_ref"),
        ({"type": "file", "modality": "image", "file_id": "f"}, "provider_file"),
        ({"type": "input_image", "file_id": "f"}, "provider_file"),
        ({"type": "input_image", "image_url": None, "file_id": "f"}, "provider_file"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "provider_file"),
        ({"type": "image", "source": {"type": "base64", "data": PNG}}, "inline"),
        ({"type": "image", "source": {"type": "base64", "data": "?"}}, "rejected"),
        ({"type": "image", "source": "?"}, "rejected"),
        ({"type": "image_url", "image_url": {}}, "absent"),
        ({"type": "image_url"}, "absent"),
        ({"type": "image_url", "image_url": [5]}, "rejected"),
        ({"type": "blob", "modality": "image"}, "absent"),
    ],
)
def test_what_became_of_an_image_is_its_state(part: object, state: str) -> None:
    assert [image.state for image in images(part)] == [state]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "blob", "modality": "audio", "content": "UklGRg=="},
        {"type": "uri", "modality": "video", "uri": "https://a/1.mp4"},
        {"type": "blob", "mime_type": "application/pdf", "content": "JVBERi0="},
        {"type": "file", "modality": "document", "file_id": "f"},
        {"type": "input_audio", "input_audio": {"data": ""}},
        {"type": "tool_call", "name": "f", "arguments": {}},
    ],
)
def test_other_media_are_no_images(part: object) -> None:
    assert images(part) == []


def test_the_query_is_the_last_turn_of_the_user_with_what_came_before_as_counts() -> None:
    found = query(
        [
            {"role": "system", "content": "Be kind."},
            USER | {"content": OPENAI},
            {"role": "assistant", "content": "So."},
            USER | {"content": "And then?"},
            {"role": "assistant", "content": None, "tool_calls": [{}]},
            {"role": "tool", "content": "42"},
        ]
    )
    assert (found.text, found.images) == ("And then?", [])
    assert (found.context_turns, found.context_images) == (2, 1)


@pytest.mark.parametrize(
    "result",
    [
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}]},
        {"type": "tool_call_response", "id": "1", "response": "42"},
    ],
)
def test_the_result_of_a_tool_is_not_the_query(result: object) -> None:
    assert query([USER | {"content": "Why?"}, USER | {"content": [result]}]).text == "Why?"


def test_a_message_of_a_tool_may_hold_anything() -> None:
    messages = [USER | {"content": "Why?"}, {"role": "tool", "content": {"temperature": 20}}]
    assert query(messages).text == "Why?"


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "So."}],
        [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "So."}],
        [{"type": "tool_call", "arguments": {}}, {"type": "output_text", "text": "So."}],
        [{"type": "refusal", "refusal": "So."}],
        ["So."],
    ],
)
def test_reasoning_and_tool_calls_are_not_the_answer(parts: object) -> None:
    messages, _ = messages_in([{"role": "assistant", "parts": parts}])
    assert answer_of(messages) == "So."


def test_items_without_words_come_before_the_answer_of_the_responses_api() -> None:
    items = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "So."}]},
    ]
    assert answer_of(messages_in(items)[0]) == "So."


@pytest.mark.parametrize("messages", [[], [{"role": "assistant", "content": "So."}], [USER]])
def test_without_a_turn_of_the_user_there_is_no_query(messages: list[object]) -> None:
    with pytest.raises(RecordRejectedError) as caught:
        query(messages)
    assert caught.value.reason == "no_content"


def what_is_left(messages: list[Message]) -> Query:
    try:
        return query_of(messages, is_cut=True)
    except RecordRejectedError:
        return Query("", [])


CHAT = [
    {"role": "system", "parts": [{"type": "text", "content": 'Be "kind", \\ [{,'}]},
    USER
    | {
        "parts": [
            {"content": "Why é?", "type": "text"},
            {"modality": "image", "content": "iVBORw0KGgo" * 9, "type": "blob"},
        ]
    },
]


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_text_cut_anywhere_gives_what_was_whole_or_nothing(ensure_ascii: bool) -> None:  # noqa: FBT001 - a case
    text = json.dumps(CHAT, ensure_ascii=ensure_ascii)
    for end in range(1, len(text)):
        messages, is_cut = messages_in(text[:end])
        assert is_cut
        found = what_is_left(messages)
        assert "Why é?".startswith(found.text)
        assert found.images in ([], [LoggedImage(ImageState.TRUNCATED)])


def test_an_image_that_was_cut_is_truncated() -> None:
    messages, is_cut = messages_in(json.dumps(CHAT)[:-40])
    assert query_of(messages, is_cut=is_cut) == Query("Why é?", [LoggedImage(ImageState.TRUNCATED)])


def test_what_is_left_of_a_chat_cut_after_a_turn_is_not_taken_for_its_end() -> None:
    chat = [USER | {"content": "Why?"}, {"role": "assistant", "content": "So."}, USER]
    messages, is_cut = messages_in(json.dumps(chat)[:-22])
    with pytest.raises(RecordRejectedError) as caught:
        query_of(messages, is_cut=is_cut)
    assert caught.value.reason == "lost_query"


@pytest.mark.parametrize("text", ["[" * 70, "]", "[}", "no"])
def test_what_no_cut_explains_is_refused(text: str) -> None:
    with pytest.raises(RecordRejectedError):
        messages_in(text)
