from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.records import Exchange, LateTarget, Rejection
from monitor.settings import SourceSettings
from monitor.traffic.formats.detect import IN_PROTOBUF, NAMES, AutoFormat, format_named
from monitor.traffic.formats.native import NativeFormat
from monitor.traffic.formats.openai_chat import OpenAIChatFormat
from monitor.traffic.formats.reading import Reading
from monitor.traffic.formats.wire import MAX_RECORDS, Wire
from tests.unit.traffic import captured
from tests.unit.traffic.captured import exchanges, lines
from tests.unit.traffic.lines import LATEST, chat, exchange, native, records, refusal

CAPTURED = [
    "litellm_sdk_generic_api_json_array.json",
    "mlflow_trace.json",
    "otlp_file_traces_jsonl.ndjson",
    "otlpjson_js_openinference_traces.json",
]
EVENT = b'{"specversion": "1.0", "id": "1", "type": "com.example.other"}'
LATE = b'{"id": "1", "stream": "live", "target": "A taxi."}'


@pytest.mark.parametrize("name", NAMES)
def test_each_name_gives_the_format_of_that_name(name: str) -> None:
    assert format_named(name).name == name


def test_the_settings_know_every_format() -> None:
    field = SourceSettings.model_fields["format"]
    assert get_args(field.annotation) == (*NAMES, *IN_PROTOBUF)


@pytest.mark.parametrize("first", CAPTURED)
@pytest.mark.parametrize("second", CAPTURED)
def test_what_came_before_does_not_change_what_a_line_is(first: str, second: str) -> None:
    (before,), (line,) = lines(first), lines(second)
    auto = format_named("auto")
    auto.parse(before, captured.LATEST)
    alone = exchanges(format_named("auto").parse(line, captured.LATEST))
    assert exchanges(auto.parse(line, captured.LATEST)) == (alone if first != second else [])


def test_an_array_holds_records_of_any_format() -> None:
    array = b"[" + b",".join([native(), chat(), LATE, b"5", b"[]"]) + b"]"
    kinds = [type(record) for record in format_named("auto").parse(array, LATEST)]
    assert kinds == [Wire, Wire, LateTarget, Rejection, Rejection]


def test_an_array_without_records_is_no_array_of_them() -> None:
    assert refusal(format_named("auto"), b"[1, 2, 3]").reason == "not_an_object"


@pytest.mark.parametrize(
    "line",
    [
        b"[{}" + b",{}" * MAX_RECORDS + b"]",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[5' + b",5" * MAX_RECORDS + b"]}]}]}",
    ],
    ids=["array", "export"],
)
def test_records_without_number_are_not_all_read(line: bytes) -> None:
    found = records(format_named("auto"), line)
    assert len(found) <= MAX_RECORDS + 1
    assert [r.reason for r in found[-1:] if isinstance(r, Rejection)] == ["too_long"]


def test_a_record_that_is_no_call_is_passed_over_and_not_refused() -> None:
    assert records(format_named("auto"), EVENT) == []


def test_auto_reads_mixed_lines_as_their_own_formats_do() -> None:
    auto = format_named("auto")
    lines = [chat(), native(), chat(), chat(), LATE, native(model="m")]
    native_format, openai = NativeFormat(), OpenAIChatFormat()
    expected = [
        exchange(openai, chat()),
        exchange(native_format, native()),
        exchange(openai, chat()),
        exchange(openai, chat()),
    ]
    assert [exchange(auto, line) for line in lines[:4]] == expected
    assert records(auto, LATE) == [LateTarget("1", "live", "A taxi.")]
    assert exchange(auto, native(model="m")) == expected[1]


@pytest.mark.parametrize("before", [native(), chat()])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (native(response=5), "wrong_type"),
        (native(time=None), "missing_field"),
        (chat(response={}), "failed_call"),
        (chat(time="now"), "bad_time"),
        (b'{"spans": []}', "unknown_format"),
        (b"{}", "unknown_format"),
        (b"[]", "not_an_object"),
        (b"{", "broken_json"),
    ],
)
def test_the_reason_does_not_depend_on_the_line_before(
    before: bytes, line: bytes, reason: str
) -> None:
    auto = format_named("auto")
    exchange(auto, before)
    assert refusal(auto, line).reason == reason


def test_what_fitted_last_is_tried_first() -> None:
    auto = format_named("auto")
    assert isinstance(auto, AutoFormat)
    exchange(auto, chat())
    assert isinstance(auto._last, OpenAIChatFormat)


def test_auto_counts_unknown_keys_and_knows_label_keys() -> None:
    auto = format_named("auto", Reading(label_keys=["tenant"]))
    assert exchange(auto, native(tenant="acme", model="m")).labels == {"tenant": "acme"}
    assert auto.unknown_keys == 1


def test_the_formats_of_an_auto_are_its_own() -> None:
    one, other = format_named("auto"), format_named("auto")
    exchange(one, native(model="m"))
    assert (one.unknown_keys, other.unknown_keys) == (1, 0)


@given(
    line=st.sampled_from([chat(), native(labels={"a": 1}), LATE]),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    end=st.integers(1, 400),
)
def test_a_damaged_line_is_one_record_or_one_rejection(
    line: bytes, flips: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(line)
    for at, value in flips:
        damaged[at % len(line)] = value
    (record,) = records(format_named("auto"), bytes(damaged[:end]))
    assert isinstance(record, Wire | LateTarget | Rejection)
    assert not isinstance(record, Wire) or isinstance(record.exchange(), Exchange)
