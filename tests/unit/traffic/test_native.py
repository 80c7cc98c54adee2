import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from monitor.encoders.images import ImageLimits
from monitor.records import Exchange, ImageState, LateTarget, LoggedImage, Rejection
from monitor.traffic.formats.native import NativeFormat
from monitor.traffic.formats.wire import Caps, Wire
from tests.unit.traffic.lines import LATEST, NOON, PNG, exchange, native, records, refusal

NATIVE = NativeFormat()


def test_a_whole_line_becomes_the_exchange_it_says() -> None:
    line = native(
        query={"text": "Why?", "images": [{"path": "a/3.jpg"}, {"data": PNG}]},
        target="Because.",
        labels={"tenant": "acme", "turns": 3, "share": 0.5, "cached": True},
    )
    assert exchange(NATIVE, line) == Exchange(
        id="req-1",
        time=NOON,
        stream="live",
        text="Why?",
        response="A man is ironing.",
        images=(
            LoggedImage(ImageState.OBJECT_REF, path="a/3.jpg"),
            LoggedImage(ImageState.INLINE, data=b"\x89PNG\r\n\x1a\n"),
        ),
        target="Because.",
        labels={"tenant": "acme", "turns": "3", "share": "0.5", "cached": "true"},
    )


def test_what_sampling_needs_is_known_before_the_exchange_is_built() -> None:
    (record,) = records(NATIVE, native())
    assert isinstance(record, Wire)
    assert (record.id, record.time, record.stream) == ("req-1", NOON, "live")


def test_an_inline_image_is_a_view_of_the_line_until_the_exchange_is_built() -> None:
    line = native(query={"images": [{"data": PNG}]})
    (record,) = records(NATIVE, line)
    data = record.body.query.images[0].data  # type: ignore[union-attr] # of a native line
    assert isinstance(data, Raw)
    assert memoryview(data).obj is not None
    assert bytes(data) == json.dumps(PNG).encode()


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T13:30:00+01:30",
        "2026-03-01 12:00:00.000000000Z",
        1772366400,
        1772366400.0,
    ],
)
def test_a_time_is_rfc_3339_with_an_offset_or_unix_seconds(time: object) -> None:
    assert exchange(NATIVE, native(time=time)).time == NOON


def test_an_integer_id_is_its_decimal_string() -> None:
    assert exchange(NATIVE, native(id=12345678901234567890123)).id == "12345678901234567890123"


def test_a_late_target_needs_neither_query_nor_response() -> None:
    line = b'{"id": 7, "stream": "live", "target": "A taxi."}'
    assert records(NATIVE, line) == [LateTarget("7", "live", "A taxi.")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "broken_json"),
        (b'{"id": "1"', "broken_json"),
        (native() + b" {}", "broken_json"),
        (b'{"id": NaN}', "broken_json"),
        (b'{"id": "\xff"}', "bad_encoding"),
        (b'{"x": ' + b"[" * 100_000, "too_deep"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"{}", "missing_field"),
        (native(stream=None), "missing_field"),
        (native(stream=""), "missing_field"),
        (native(time=None), "missing_field"),
        (native(query=None), "missing_field"),
        (native(response=None), "missing_field"),
        (native(response=5), "wrong_type"),
        (native(query="Why?"), "wrong_type"),
        (native(query={"text": ["Why?"]}), "wrong_type"),
        (native(query={"text": "Why?", "images": {}}), "wrong_type"),
        (native(query={"text": "Why?", "images": ["a.jpg"]}), "wrong_type"),
        (native(labels={"a": []}), "wrong_type"),
        (native(target=1), "wrong_type"),
        (native(id=""), "bad_id"),
        (native(id=1.5), "bad_id"),
        (native(id=[]), "bad_id"),
        (native(id="x" * 257), "too_long"),
        (native(id=10**300), "too_long"),
        (native(stream="x" * 201), "too_long"),
        (native(labels={"a": "x" * 201}), "too_long"),
        (native(labels={"x" * 201: "a"}), "too_long"),
        (native(labels={str(i): i for i in range(33)}), "too_long"),
        (native(query={"images": [{"url": "https://a"}] * 65}), "too_long"),
        (native(time="yesterday"), "bad_time"),
        (native(time="2026-03-01T12:00:00"), "bad_time"),
        (native(time=True), "bad_time"),
        (native(time="1999-12-31T23:59:59Z"), "absurd_time"),
        (native(time="2026-03-02T12:00:01Z"), "absurd_time"),
        (native(time="0001-01-01T00:00:00+14:00"), "absurd_time"),
        (native(time="9999-12-31T23:59:59-14:00"), "absurd_time"),
        (native(time=1772366400000), "absurd_time"),
        (native(time=1e300), "absurd_time"),
        (native(time=-(10**30)), "absurd_time"),
        (native(query={"text": ""}), "no_content"),
        (native(query={"text": "", "images": []}), "no_content"),
    ],
)
def test_each_kind_of_rubbish_has_its_reason(line: bytes, reason: str) -> None:
    assert refusal(NATIVE, line).reason == reason


def test_a_refusal_says_where_without_saying_what() -> None:
    rejected = refusal(NATIVE, native(query={"text": {"secret": "s3cr3t"}}))
    assert rejected.detail == "Expected `str | null`, got `object` - at `$.query.text`"


def test_an_excerpt_is_short_and_cannot_act_on_a_terminal() -> None:
    rejected = refusal(NATIVE, b'{"id": "\x1b[31m\x00\x07' + "é".encode() * 500)
    assert rejected.excerpt == '{"id": "[31m' + "é" * 108


@pytest.mark.parametrize("query", [{"images": [{}]}, {"text": None, "images": [{}]}])
def test_an_image_alone_is_a_query(query: object) -> None:
    assert exchange(NATIVE, native(query=query)).text == ""


@pytest.mark.parametrize(
    ("image", "state"),
    [
        ({}, "absent"),
        ({"data": None}, "absent"),
        ({"data": PNG}, "inline"),
        ({"data": f"data:image/png;base64,{PNG}"}, "inline"),
        ({"url": f"data:image/png;base64,{PNG}"}, "inline"),
        ({"data": "data:image/png;base64,[base64_data truncated: 192.4KB]"}, "truncated"),
        ({"data": "__REDACTED__"}, "redacted"),
        ({"data": "@@@langfuseMedia:type=image/png|id=x|source=base64@@@"}, "marker_only"),
        ({"data": "<Upload handling failed for LangfuseMedia of type image/png>"}, "upload_failed"),
        ({"data": "not base64!"}, "rejected"),
        ({"data": ""}, "rejected"),
        ({"data": 5}, "rejected"),
        ({"data": {"a": [1]}}, "rejected"),
        ({"path": "../../etc/passwd"}, "object_ref"),
        ({"url": "https://example.com/a.png"}, "url"),
        ({"url": "s3://bucket/a.png"}, "object_ref"),
        ({"url": "a.png"}, "rejected"),
    ],
)
def test_what_became_of_an_image_is_a_state_of_that_image(image: object, state: str) -> None:
    line = native(query={"text": "Why?", "images": [image]})
    assert [i.state for i in exchange(NATIVE, line).images] == [state]


def test_an_image_of_bytes_that_are_not_text_is_rejected_alone() -> None:
    line = native(query={"text": "Why?", "images": [{"data": "@"}]}).replace(b"@", b"\xff")
    assert exchange(NATIVE, line).images == (LoggedImage(ImageState.REJECTED),)


def test_an_image_over_its_cap_is_rejected_alone() -> None:
    line = native(query={"text": "Why?", "images": [{"data": PNG}]})
    small = Caps(images=ImageLimits(max_bytes=4))
    assert exchange(NATIVE, line, small).images == (LoggedImage(ImageState.REJECTED),)


def test_long_texts_are_cut_and_not_refused() -> None:
    line = native(query={"text": "q" * 99}, response="r" * 99, target="t" * 99)
    cut = exchange(NATIVE, line, Caps(max_text_chars=10))
    assert (cut.text, cut.response, cut.target) == ("q" * 10, "r" * 10, "t" * 10)


@pytest.mark.parametrize("broken", [r"\u0000", r"\ud83d", r"\udE00"])
def test_what_a_database_cannot_store_becomes_the_replacement_character(broken: str) -> None:
    line = native(
        id="i@", stream="s@", query={"text": "q@"}, response="r@", target="t@", labels={"k@": "v@"}
    ).replace(b"@", broken.encode())
    mended = exchange(NATIVE, line)
    assert [mended.id, mended.stream, mended.text, mended.response, mended.target] == [
        f"{letter}\ufffd" for letter in "isqrt"
    ]
    assert mended.labels == {"k\ufffd": "v\ufffd"}


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="@\0"), max_size=30))
def test_pairs_of_surrogates_and_backslashes_survive_the_mending(text: str) -> None:
    line = native(query={"text": "x" + text}, response="@").replace(b"@", rb"\ud800")
    assert exchange(NATIVE, line).text == "x" + text


def test_unknown_keys_are_ignored_and_counted_by_line() -> None:
    form = NativeFormat()
    lines = [native(model="m", user="u"), native(), native(query={"text": "Why?", "detail": 1})]
    assert [exchange(form, line) for line in lines] == [
        exchange(form, native()),
        exchange(form, native()),
        exchange(form, native(query={"text": "Why?"})),
    ]
    assert form.unknown_keys == 1


def test_listed_keys_become_labels_and_given_labels_win() -> None:
    form = NativeFormat(label_keys=["tenant", "region", "gone"])
    line = native(tenant="acme", region=5, gone=None, labels={"region": "eu"})
    line = line[:-1] + b', "gone": null}'
    assert exchange(form, line).labels == {"tenant": "acme", "region": "eu"}
    assert form.unknown_keys == 0


@pytest.mark.parametrize(("tenant", "reason"), [(["acme"], "wrong_type"), ("x" * 201, "too_long")])
def test_a_listed_key_is_checked_like_a_label(tenant: object, reason: str) -> None:
    assert refusal(NativeFormat(label_keys=["tenant"]), native(tenant=tenant)).reason == reason


def test_an_unknown_key_does_not_hide_another_fault() -> None:
    form = NativeFormat()
    assert refusal(form, native(model="m", response=5)).reason == "wrong_type"
    assert form.unknown_keys == 0


@given(
    line=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "id",
                        "time",
                        "stream",
                        "query",
                        "text",
                        "images",
                        "data",
                        "response",
                        "target",
                        "labels",
                        "x",
                    ]
                ),
                inner,
                max_size=7,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_a_line_holds_it_is_one_record_or_one_rejection(line: bytes) -> None:
    (record,) = NativeFormat(["x"]).parse(line, LATEST)
    assert isinstance(record, Wire | LateTarget | Rejection)
    assert not isinstance(record, Wire) or isinstance(record.exchange(), Exchange)


def test_times_are_given_in_utc() -> None:
    given_time = exchange(NATIVE, native(time="2026-03-01T13:30:00+01:30")).time
    assert given_time == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert given_time.tzinfo is UTC
