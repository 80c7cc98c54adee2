"""Labels that come after, before and without their calls, by any of the names of those."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from monitor.service.intake import Batch, Intake, Receipt
from monitor.store.engine import Database
from monitor.store.tables import SampleRow
from monitor.traffic.formats.detect import format_named
from tests.integration.service.parts import PANE, STREAM, at, exchange, make_intake, outcomes

DAY = timedelta(days=1)
ANSWER = "A taxi."
TRACE = "0af7651916cd43dd8448eb211c80319c"
ASKED = [{"role": "user", "content": "What is unusual?"}]


def litellm(call: str, response: str, minutes: float = 0) -> bytes:
    moment = at(minutes).timestamp()
    said = {"id": response, "model": "m", "choices": [{"message": {"content": "A man."}}]}
    return json.dumps(
        {
            "litellm_call_id": call,
            "call_type": "completion",
            "status": "success",
            "startTime": moment,
            "endTime": moment,
            "model": "m",
            "messages": ASKED,
            "response": said,
        }
    ).encode()


def generation(name: str, minutes: float = 0, trace: str = TRACE) -> bytes:
    body = {
        "id": name,
        "traceId": trace,
        "endTime": at(minutes).isoformat(),
        "model": "m",
        "input": ASKED,
        "output": "A man.",
    }
    return json.dumps({"batch": [{"type": "generation-create", "body": body}]}).encode()


def score(minutes: float, observation: str | None = None, trace: str = TRACE) -> bytes:
    at_once = {"traceId": trace, "name": "output", "timestamp": at(minutes).isoformat()}
    return json.dumps(
        at_once | {"value": ANSWER, **({"observationId": observation} if observation else {})}
    ).encode()


def label(name: str, **more: str) -> bytes:
    return json.dumps({"id": name, "target": ANSWER, **more}).encode()


def patient(database: Database) -> Intake:
    return make_intake(database, target_lateness=DAY)


def admit(intake: Intake, *lines: bytes) -> Receipt:
    """Each line on its own, by a format that has seen none before: as after a restart."""
    for line in lines:
        receipt = intake.admit(Batch("file", "a", [line]), format_named("auto"))
    return receipt


def targets(database: Database) -> dict[str, str | None]:
    with database.read() as session:
        rows = session.execute(select(SampleRow.exchange_id, SampleRow.target))
        return {name: target for name, target in rows}  # noqa: C416 - rows, not pairs


@pytest.mark.parametrize("name", ["call-1", "chatcmpl-1"])
@pytest.mark.parametrize("more", [{}, {"stream": "m"}])
@pytest.mark.parametrize("is_early", [False, True])
def test_a_label_finds_its_call_by_its_id_or_that_of_the_response(
    database: Database,
    name: str,
    more: dict[str, str],
    is_early: bool,  # noqa: FBT001 - a case
) -> None:
    call, later = litellm("call-1", "chatcmpl-1"), litellm("call-2", "chatcmpl-2", 90)
    said = label(name, **more)
    admit(patient(database), *([said, call, later] if is_early else [call, later, said]))
    assert targets(database) == {"call-1": ANSWER, "call-2": None}
    assert outcomes(database)["target"] == 1


@pytest.mark.parametrize("observation", [None, "00f067aa0ba902b7"])
def test_a_correction_hours_later_finds_the_generation_by_trace_or_span(
    database: Database, observation: str | None
) -> None:
    one = generation("00f067aa0ba902b7")
    other = generation("00f067aa0ba902b8", 200, trace="1" * 32)
    admit(patient(database), one, other, score(240, observation))
    assert targets(database)[f"{TRACE}:00f067aa0ba902b7"] == ANSWER


def test_a_correction_of_a_trace_of_two_kept_calls_is_given_to_none(database: Database) -> None:
    calls = generation("00f067aa0ba902b7"), generation("00f067aa0ba902b8", 1)
    admit(patient(database), *calls, score(240))
    assert set(targets(database).values()) == {None}
    found = outcomes(database)
    assert (found["target_ambiguous"], found.get("target", 0)) == (1, 0)


def test_a_label_of_a_call_that_was_not_kept_is_no_error(database: Database) -> None:
    receipt = admit(patient(database), label("chatcmpl-9"))
    assert receipt.outcomes == {"target": 1}


def test_a_label_without_a_stream_is_late_by_the_newest_event_of_its_partition(
    database: Database,
) -> None:
    limit = PANE + timedelta(minutes=30)
    minutes = limit / timedelta(minutes=1)
    intake = make_intake(database, target_lateness=timedelta(minutes=30))
    admit(intake, exchange("a"), exchange("b", minutes - 0.1, stream="other"))
    assert admit(intake, label("a")).outcomes == {"target": 1}
    admit(intake, exchange("c", minutes, stream="other"))
    assert admit(intake, label("a")).outcomes == {"target_late": 1}
    assert admit(intake, label("a", stream=STREAM)).outcomes == {"target": 1}
