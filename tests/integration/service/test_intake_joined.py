"""Calls told in several records, and what a failing store does to them."""

import json
import threading
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from monitor.commands import daemon
from monitor.service import intake as intake_module
from monitor.service.intake import Batch
from monitor.store.engine import Database
from monitor.store.tables import SampleRow
from monitor.traffic.formats.detect import format_named
from tests.integration.service.parts import START, Clock, hash_encoders, make_intake, small_settings


def event(id_: str, kind: str, data: object, minutes: float) -> bytes:
    """A CloudEvent of KServe's logger."""
    line = {
        "specversion": "1.0",
        "id": id_,
        "type": f"org.kubeflow.serving.inference.{kind}",
        "source": "logger",
        "time": (START + timedelta(minutes=minutes)).isoformat(),
        "inferenceservicename": "llava",
        "data": data,
    }
    return json.dumps(line).encode()


def asked(id_: str, minutes: float = 0) -> bytes:
    return event(id_, "request", {"messages": [{"role": "user", "content": "Why?"}]}, minutes)


def answered(id_: str, minutes: float = 0) -> bytes:
    choice = {"message": {"role": "assistant", "content": "So."}}
    return event(id_, "response", {"id": "r", "choices": [choice]}, minutes)


def kept(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(SampleRow.exchange_id)))


def test_a_failed_batch_gives_its_calls_when_it_is_read_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, form = make_intake(database), format_named("auto")
    intake.admit(Batch("file", "a", [asked("1"), asked("2")]), form)
    second = Batch("file", "a", [answered("1", 1), asked("3", 1), answered("3", 2)])
    with monkeypatch.context() as broken:
        broken.setattr(intake_module, "add_counts", _fail)
        with pytest.raises(OSError, match="no room"):
            intake.admit(second, form)
    assert kept(database) == set()
    assert intake.admit(second, form).accepted == 2
    assert kept(database) == {"1", "3"}
    for _ in range(2):
        again = intake.admit(second, form)
        assert (again.accepted, again.outcomes) == (0, {"duplicate": 3})


def test_a_half_whose_other_half_never_comes_is_counted(database: Database) -> None:
    lines = [asked("1"), asked("2", 1), answered("2", 2), asked("3", 9), answered("3", 9)]
    receipt = make_intake(database).admit(Batch("file", "a", lines), format_named("auto"))
    assert (receipt.accepted, receipt.outcomes["lost_response"]) == (2, 1)


def test_at_the_end_of_the_traffic_what_waits_is_counted(database: Database) -> None:
    form, intake = format_named("auto"), make_intake(database)
    first = intake.admit(Batch("file", "a", [asked("1")]), form)
    last = intake.admit(Batch("file", "a", [answered("2")], is_last=True), form)
    assert (first.outcomes, last.outcomes) == ({}, {"lost_query": 1, "lost_response": 1})


def test_what_is_about_no_call_is_counted_as_passed_over(database: Database) -> None:
    other = event("1", "something", {}, 0)
    receipt = make_intake(database).admit(Batch("file", "a", [other]), format_named("auto"))
    assert receipt.outcomes == {"passed_over": 1}


def test_halves_posted_in_different_requests_are_one_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "load_encoders", lambda _: hash_encoders())
    settings = small_settings(tmp_path)
    with daemon.running(settings, clock=Clock(), stop=threading.Event()) as (address, around):
        posts = [
            httpx.post(f"{address}/v1/exchanges", content=f("1"), timeout=60)
            for f in (asked, answered)
        ]
        assert [post.json()["accepted"] for post in posts] == [0, 1]
        assert kept(around.database) == {"1"}


def _fail(*_: object) -> None:
    raise OSError("no room")
