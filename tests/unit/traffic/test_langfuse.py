import json

import pytest

from monitor.records import LateTarget
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Record, Wire
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, exchanges, reasons

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
CREATE: dict[str, object] = {
    "id": SPAN,
    "traceId": TRACE,
    "model": "model",
    "startTime": "2026-03-01T12:00:00Z",
    "input": [{"role": "user", "content": "Why?"}],
}
UPDATE: dict[str, object] = {
    "id": SPAN,
    "traceId": TRACE,
    "endTime": "2026-03-01T12:00:02Z",
    "output": {"role": "assistant", "content": "So."},
}


def event(kind: str, body: object) -> dict[str, object]:
    return {"id": "e", "type": kind, "timestamp": "2026-03-01T12:00:03Z", "body": body}


def batch(*events: object) -> bytes:
    return json.dumps({"batch": list(events), "metadata": {}}).encode()


def parsed(*lines: bytes) -> list[Record]:
    joiner = Joiner()
    form = format_named("auto", joiner=joiner)
    return [r for line in lines for r in form.parse(line, LATEST)] + joiner.flush()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("is_one_batch", [True, False])
def test_an_update_may_come_before_its_create(first: int, *, is_one_batch: bool) -> None:
    events = [event("generation-create", CREATE), event("generation-update", UPDATE)]
    told = [events[first], events[1 - first]]
    (found,) = exchanges(parsed(batch(*told)) if is_one_batch else parsed(*map(batch, told)))
    assert (found.id, found.stream) == (f"{TRACE}:{SPAN}", "model")
    assert (found.text, found.response, found.time.second) == ("Why?", "So.", 2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Why?", "So."),
        ({"messages": [{"role": "user", "content": "Why?"}]}, {"content": "So."}),
        (json.dumps([{"role": "user", "content": "Why?"}]), json.dumps({"content": "So."})),
        ([{"role": "user", "content": "Why?"}], [{"role": "assistant", "content": "So."}]),
    ],
)
def test_input_and_output_are_whatever_the_application_gave(asked: object, said: object) -> None:
    whole = CREATE | {"input": asked, "output": said, "endTime": "2026-03-01T12:00:02Z"}
    (found,) = exchanges(parsed(batch(event("generation-create", whole))))
    assert (found.text, found.response) == ("Why?", "So.")


def test_a_media_token_is_an_image_that_is_only_marked() -> None:
    mark = "@@@langfuseMedia:type=image/png|id=x|source=base64_data_uri@@@"
    content = [{"type": "image_url", "image_url": {"url": mark}}]
    whole = CREATE | UPDATE | {"input": [{"role": "user", "content": content}]}
    (found,) = exchanges(parsed(batch(event("generation-create", whole))))
    assert [image.state for image in found.images] == ["marker_only"]


def test_scores_of_another_name_are_passed_over_and_a_correction_is_a_target() -> None:
    whole = event("generation-create", CREATE | UPDATE)
    at = {"traceId": TRACE, "observationId": SPAN}
    scores = [
        event("score-create", at | {"name": "quality", "value": 0.5}),
        event("score-create", at | {"name": "output", "value": 0.5}),
        event("score-create", at | {"name": "output", "value": "Because."}),
    ]
    records = parsed(batch(whole, *scores))
    assert isinstance(records[0], Wire)
    assert records[1:] == [LateTarget(f"{TRACE}:{SPAN}", "model", "Because.")]


@pytest.mark.parametrize("key", ["reference_answer", "expected_output"])
def test_the_reference_answer_in_the_metadata_is_the_target(key: str) -> None:
    whole = CREATE | UPDATE | {"metadata": {key: "Because."}}
    (found,) = exchanges(parsed(batch(event("generation-create", whole))))
    assert found.target == "Because."


def test_traces_spans_and_other_events_are_passed_over() -> None:
    kinds = ["trace-create", "span-create", "span-update", "event-create", "sdk-log", ""]
    assert parsed(batch(*(event(kind, CREATE | UPDATE) for kind in kinds))) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (5, "not_an_object"),
        (event("generation-create", 5), "wrong_type"),
        (event("generation-create", CREATE | UPDATE | {"id": None}), "missing_field"),
        (event("generation-create", CREATE | UPDATE | {"endTime": 1}), "absurd_time"),
        (event("generation-create", CREATE | {"level": "ERROR"}), "failed_call"),
        (event("generation-create", CREATE | UPDATE | {"input": "{"}), "broken_json"),
        (event("generation-create", CREATE), "lost_response"),
        (event("generation-update", UPDATE), "lost_query"),
    ],
)
def test_what_is_wrong_with_an_event_costs_only_that_event(bad: object, reason: str) -> None:
    other = event("generation-create", CREATE | UPDATE | {"id": "aaaaaaaaaaaaaaaa"})
    records = parsed(batch(bad, other))
    assert (len(exchanges(records)), reasons(records)) == (1, [reason])
