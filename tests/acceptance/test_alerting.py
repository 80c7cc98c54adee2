"""From traffic that drifts to the person who is told, and back, through all real programs."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.records import floor_time
from tests.acceptance.alerting import Hook, Stack, free_port, hook, require_programs, stack, until
from tests.acceptance.prepared import SETTINGS, program_in
from tests.acceptance.program import Process
from tests.acceptance.traffic import Line, Traffic, as_bytes

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

HURRY = 60  # minutes of the rules pass in seconds
WINDOW = timedelta(minutes=5)
WINDOWS = {
    "pane": "1m",
    "length": "5m",
    "slide": "5m",
    "lateness": "2m",
    "min_samples": 20,
}
STEP = timedelta(seconds=2)
STREAM = "org/llava 1.5"
WORSE, CHANGED = "MllmMonitorAnswersWorse", "MllmMonitorTrafficChanged"
JUDGING = {"traffic", "quality", "bound", "logging", "coverage"}

Alert = Mapping[str, Any]


def normal(window: datetime, seed: int) -> list[Line]:
    traffic = Traffic(seed, image_share=0.5)
    lines = traffic.evenly(int(WINDOW / STEP), STREAM, window, STEP, with_targets=True)
    return [line | {"id": f"{seed}-{line['id']}"} for line in lines]


def drifted(window: datetime, seed: int) -> list[Line]:
    """All questions are written backwards, and every answer is that to another one."""
    lines = normal(window, seed)
    answers = [line["response"] for line in lines]
    random.Random(seed).shuffle(answers)  # noqa: S311 - not for secrecy
    for line, answer in zip(lines, answers, strict=True):
        query = line["query"]
        assert isinstance(query, dict)
        query["text"] = query["text"][::-1]
        line["response"] = answer
    return lines


def post(process: Process, lines: Sequence[Line]) -> None:
    answer = httpx.post(f"{process.address}/v1/exchanges", content=as_bytes(lines), timeout=60)
    assert answer.json()["accepted"] == len(lines)


def fired(told: Hook, receiver: str, name: str) -> Alert | None:
    found = told.first(receiver, name)
    return found[1] if found else None


def is_over(told: Hook, receiver: str, *names: str) -> bool:
    """Whether every alert of these names that the receiver was told of was told to be over."""
    last = [s for (name, _), s in told.standing(receiver).items() if name in names]
    return bool(last) and set(last) == {"resolved"}


def judging(at: Stack) -> list[Alert]:
    return [alert for alert in at.alerts() if alert["labels"]["concern"] in JUDGING]


def all_silenced(at: Stack) -> list[Alert]:
    """The alerts that judge traffic, once there is none that is not suppressed."""
    alerts = judging(at)
    return alerts if all(a["status"]["state"] == "suppressed" for a in alerts) else []


@dataclass(frozen=True, slots=True)
class Story:
    """What everybody was told."""

    told: Hook
    page: Alert
    ticket: Alert
    silenced: Sequence[Alert]
    told_while_blind: Sequence[Alert]


@pytest.fixture(scope="module")
def story(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    require_programs()
    folder = tmp_path_factory.mktemp("alerting")
    listen = f"127.0.0.1:{free_port()}"
    http = {"listen": listen, "external_url": "http://monitor.test/"}
    settings = {**SETTINGS, "windows": WINDOWS, "http": http}
    program = program_in(prepared, folder / "daemon", settings)
    (folder / "stack").mkdir()
    first = floor_time(datetime.now(UTC) - timedelta(minutes=2), WINDOW) - 2 * WINDOW
    with hook() as told, stack(folder / "stack", target=listen, told=told, times=HURRY) as at:
        with program.running("run") as process:
            post(process, drifted(first, 7))
            page = process.until("page", lambda: fired(told, "pager", WORSE))
            ticket = process.until("ticket", lambda: fired(told, "tickets", CHANGED))
            process.terminate()
        until("page of blindness", lambda: fired(told, "pager", "MllmMonitorDown"))
        before = len(told.messages)
        silenced = until("silence", lambda: all_silenced(at))
        told_while_blind = [alert for m in told.messages[before:] for alert in m.alerts]
        with program.running("run") as process:
            post(process, normal(first + WINDOW, 8))
            for receiver, name in (
                ("pager", "MllmMonitorDown"),
                ("pager", WORSE),
                ("tickets", CHANGED),
            ):
                process.until(f"end of {name}", lambda r=receiver, n=name: is_over(told, r, n))
    return Story(told, page, ticket, silenced, told_while_blind)


def test_worse_answers_page_with_a_link_to_their_window_and_a_runbook(story: Story) -> None:
    texts, stream = story.page["annotations"], "org%2Fllava+1.5"
    assert story.page["labels"]["stream"] == STREAM
    assert texts["page_url"].startswith(f"http://monitor.test/window?stream={stream}&end=")
    assert texts["runbook_url"] == f"http://monitor.test/runbooks/{WORSE}"


@pytest.mark.parametrize("part", [STREAM, "as the threshold", "EMI ", " ± ", "n = "])
def test_the_page_says_how_much_and_of_how_many(story: Story, part: str) -> None:
    assert part in story.page["annotations"]["description"]


def test_changed_traffic_is_a_ticket_and_wakes_nobody(story: Story) -> None:
    assert story.ticket["labels"]["severity"] == "warning"
    assert {name for name, _ in story.told.standing("pager")} == {WORSE, "MllmMonitorDown"}


def test_everything_about_one_model_comes_in_one_message(story: Story) -> None:
    streams = [{a["labels"].get("stream") for a in m.alerts} for m in story.told.messages]
    assert {len(names) for names in streams} == {1}


def test_a_blind_monitor_silences_what_it_can_no_longer_judge(story: Story) -> None:
    assert {WORSE, CHANGED} <= {alert["labels"]["alertname"] for alert in story.silenced}
    assert all(alert["status"]["inhibitedBy"] for alert in story.silenced)


def test_nobody_is_told_of_drift_while_the_monitor_is_blind(story: Story) -> None:
    concerns = {alert["labels"]["concern"] for alert in story.told_while_blind}
    assert concerns <= {"monitor"}


@pytest.mark.parametrize("receiver", ["pager", "tickets"])
def test_everything_that_was_told_is_told_to_be_over(story: Story, receiver: str) -> None:
    drift = {k: v for k, v in story.told.standing(receiver).items() if k[0] in {WORSE, CHANGED}}
    assert set(drift.values()) == {"resolved"}


def test_the_watchdog_is_heard_all_the_time(story: Story) -> None:
    assert [m for m in story.told.messages if m.receiver == "watchdog"]
