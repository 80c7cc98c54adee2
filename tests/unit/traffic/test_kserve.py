import json

import pytest

from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Record
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, exchanges, reasons
from tests.unit.traffic.lines import NOON, answer, request

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "call-1",
    "source": "http://logger",
    "inferenceservicename": "llava",
    "namespace": "vision",
    "time": NOON.isoformat(),
}


def event(kind: str, body: object, **attributes: str) -> bytes:
    name = f"org.kubeflow.serving.inference.{kind}"
    return json.dumps(ATTRIBUTES | {"type": name, "data": body} | attributes).encode()


ASKED, SAID = event("request", request("Why?")), event("response", answer("So."))


def parsed(*lines: bytes) -> list[Record]:
    joiner = Joiner()
    form = format_named("auto", joiner=joiner)
    return [r for line in lines for r in form.parse(line, LATEST)] + joiner.flush()


@pytest.mark.parametrize("lines", [[ASKED, SAID], [SAID, ASKED], [ASKED, ASKED, SAID, SAID]])
def test_a_request_and_its_response_are_one_exchange_in_any_order(lines: list[bytes]) -> None:
    (found,) = exchanges(parsed(*lines))
    assert (found.id, found.stream, found.time) == ("call-1", "llava", NOON)
    assert (found.text, found.response) == ("Why?", "So.")
    assert found.labels == {"namespace": "vision"}


def test_halves_of_different_calls_are_not_joined() -> None:
    other = event("response", answer("No."), id="call-2")
    assert sorted(reasons(parsed(ASKED, other))) == ["lost_query", "lost_response"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (event("request", {"instances": [[1, 2]]}), "no_content"),
        (event("response", {"predictions": [1]}), "failed_call"),
        (event("request", request("Why?"), time="now"), "bad_time"),
        (event("request", request("Why?"), id=""), "bad_id"),
    ],
)
def test_what_is_no_chat_is_refused(line: bytes, reason: str) -> None:
    assert reasons(parsed(line)) == [reason]


def test_events_of_others_are_passed_over() -> None:
    assert (
        parsed(json.dumps({"specversion": "1.0", "id": "1", "type": "com.example"}).encode()) == []
    )
