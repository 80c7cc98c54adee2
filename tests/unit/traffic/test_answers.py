import json
from collections.abc import Sequence

import pytest

from monitor.records import LateTarget
from monitor.traffic.formats.answers import TARGET_KEYS, AnswerPaths
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.lookup import within
from monitor.traffic.formats.reading import Reading
from monitor.traffic.formats.wire import Record, Wire
from tests.unit.traffic.captured import LATEST

ANSWER = "A taxi."
ASKED = [{"role": "user", "content": "What is unusual?"}]
SAID = {"id": "r-1", "model": "m", "choices": [{"message": {"content": "A man irons."}}]}
TIME = 1_772_366_400


def native(place: dict[str, object]) -> object:
    query = {"text": "What is unusual?"}
    return {"id": "a", "time": TIME, "stream": "s", "query": query, "response": "x", **place}


def openai(place: dict[str, object]) -> object:
    return {"id": "a", "time": TIME, "request": {"messages": ASKED}, "response": SAID, **place}


def of_request(place: dict[str, object]) -> object:
    request = {"messages": ASKED, "metadata": place}
    return {"id": "a", "time": TIME, "request": request, "response": SAID}


def litellm(place: dict[str, object]) -> object:
    return {
        "litellm_call_id": "a",
        "call_type": "completion",
        "status": "success",
        "startTime": TIME,
        "endTime": TIME,
        "model": "m",
        "messages": ASKED,
        "response": SAID,
        "metadata": {"requester_metadata": place},
        **place,
    }


def langfuse(place: dict[str, object]) -> object:
    body = {
        "id": "a",
        "traceId": "t",
        "endTime": "2026-03-01T12:00:00Z",
        "model": "m",
        "input": ASKED,
        "output": "A man irons.",
        "metadata": place,
    }
    return {"batch": [{"type": "generation-create", "body": body}]}


def otlp(place: dict[str, object]) -> object:
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "What?"}]}])
    said = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "A man."}]}])
    values = {
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": messages,
        "gen_ai.output.messages": said,
        **{k: v if isinstance(v, str) else json.dumps(v) for k, v in place.items()},
    }
    span = {
        "traceId": "0" * 31 + "1",
        "spanId": "0" * 15 + "1",
        "name": "chat",
        "endTimeUnixNano": str(TIME * 10**9),
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in values.items()],
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def kserve(place: dict[str, object]) -> object:
    about = {"id": "a", "time": "2026-03-01T12:00:00Z", "specversion": "1.0", "source": "m"}
    asked = {"messages": ASKED, "model": "m", "metadata": place}
    request = about | {"type": "org.kubeflow.serving.inference.request", "data": asked}
    response = about | {"type": "org.kubeflow.serving.inference.response", "data": SAID}
    return [request, response]


FORMATS = [native, openai, of_request, litellm, langfuse, otlp, kserve]


def target(record: object, paths: Sequence[str] = TARGET_KEYS) -> str | None:
    form = format_named("auto", Reading(answers=AnswerPaths(tuple(paths))))
    (found,) = [r for r in form.parse(json.dumps(record).encode(), LATEST) if isinstance(r, Wire)]
    return found.exchange().target


@pytest.mark.parametrize("make", FORMATS)
@pytest.mark.parametrize("key", [*TARGET_KEYS, "ideal"])
def test_a_name_is_found_in_the_metadata_of_every_format(make: object, key: str) -> None:
    assert callable(make)
    nested = {"metadata": {key: ANSWER}} if make is openai else {key: ANSWER}
    assert target(make(nested), [*TARGET_KEYS, "ideal"]) == ANSWER
    assert target(make(nested), ["other"]) is None


@pytest.mark.parametrize("make", FORMATS)
def test_a_path_leads_into_the_record(make: object) -> None:
    assert callable(make)
    assert target(make({"checks": {"answer": ANSWER}}), ["none.of", "checks.answer"]) == ANSWER


def test_a_path_leads_from_the_top_of_the_record() -> None:
    paths = ["metadata.requester_metadata.checks.answer"]
    assert target(litellm({"checks": {"answer": ANSWER}}), paths) == ANSWER
    assert target(of_request({"gold": ANSWER}), ["request.metadata.gold"]) == ANSWER


def test_paths_are_tried_in_their_order_and_empty_or_other_values_are_none() -> None:
    values = {"a": "", "b": 7, "c": ["x"], "d": None, "e": ANSWER, "f": "later"}
    look_up = within(values)
    assert AnswerPaths(("none", *values)).find(look_up, look_up) == ANSWER
    assert AnswerPaths(("a", "b", "c", "d")).find(look_up, look_up) is None


def test_a_text_that_is_json_is_taken_out_of_its_quotes() -> None:
    look_up = within({"a": json.dumps(ANSWER), "b": '"A taxi," he said'})
    assert AnswerPaths(("a",)).find(look_up, look_up) == ANSWER
    assert AnswerPaths(("b",)).find(look_up, look_up) == '"A taxi," he said'


def test_a_target_in_its_own_place_counts_more() -> None:
    assert target(native({"target": "Mine.", "expected_output": ANSWER})) == "Mine."
    assert target(openai({"target": "Mine.", "metadata": {"expected_output": ANSWER}})) == "Mine."


def test_scores_of_a_name_that_is_set_are_targets() -> None:
    at = {"traceId": "t", "timestamp": "2026-03-01T12:00:00Z"}
    line = json.dumps(at | {"name": "gold", "value": ANSWER}).encode()
    form = format_named("auto", Reading(answers=AnswerPaths(("gold",))))
    assert [r.target for r in form.parse(line, LATEST) if isinstance(r, LateTarget)] == [ANSWER]
    assert not format_named("auto").parse(line, LATEST)


def parsed(line: object) -> list[Record]:
    return list(format_named("auto").parse(json.dumps(line).encode(), LATEST))


def test_a_late_target_need_not_name_a_stream() -> None:
    assert parsed({"id": "a", "target": ANSWER}) == [LateTarget("a", "", ANSWER)]


def test_an_exchange_must_name_one() -> None:
    line = native({})
    assert isinstance(line, dict)
    del line["stream"]
    (record,) = parsed(line)
    assert getattr(record, "reason", None) == "missing_field"


def test_a_call_that_failed_is_no_target_without_a_stream() -> None:
    line = {"id": "a", "target": ANSWER, "request": {"messages": ASKED}, "error": "no"}
    (record,) = parsed(line)
    assert getattr(record, "reason", None) == "failed_call"
