import json

import pytest

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.kserve import structured
from monitor.traffic.formats.wire import Record
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, exchanges, reasons
from tests.unit.traffic.lines import NOON, answer, request

HEADERS = {
    "Ce-Specversion": "1.0",
    "Ce-Id": "call-1",
    "Ce-Source": "http://logger",
    "Ce-Inferenceservicename": "llava",
    "Ce-Namespace": "vision",
    "Content-Type": "application/json",
}


def event(kind: str, body: object, **headers: str) -> bytes:
    name = f"org.kubeflow.serving.inference.{kind}"
    given = HEADERS | {"Ce-Type": name} | {f"Ce-{key}": value for key, value in headers.items()}
    return structured(given, json.dumps(body).encode(), NOON)


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
    other = event("response", answer("No."), Id="call-2")
    assert sorted(reasons(parsed(ASKED, other))) == ["lost_query", "lost_response"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (event("request", {"instances": [[1, 2]]}), "no_content"),
        (event("response", {"predictions": [1]}), "failed_call"),
        (event("request", request("Why?"), Time="now"), "bad_time"),
        (event("request", request("Why?"), Id=""), "bad_id"),
    ],
)
def test_what_is_no_chat_is_refused(line: bytes, reason: str) -> None:
    assert reasons(parsed(line)) == [reason]


def test_events_of_others_are_passed_over() -> None:
    assert (
        parsed(json.dumps({"specversion": "1.0", "id": "1", "type": "com.example"}).encode()) == []
    )


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(RecordRejectedError):
        structured(HEADERS, body, NOON)
