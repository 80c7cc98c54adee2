"""Every expression of the dashboards, asked of a Prometheus that saw the daemon through a drift."""

import json
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from monitor.records import floor_time
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from tests.acceptance.alerting import free_port, hook, require_programs, stack
from tests.acceptance.dashboards import (
    BOARDS,
    Asked,
    Prometheus,
    Series,
    asked,
    board,
    managed_rules,
    urls,
)
from tests.acceptance.prepared import SETTINGS, START
from tests.acceptance.program import Program
from tests.acceptance.test_alerting import HURRY, STREAM, WINDOW, WINDOWS, post
from tests.acceptance.traffic import Line, write

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

WORSE, CHANGED = "MllmMonitorAnswersWorse", "MllmMonitorTrafficChanged"
EXTERNAL_URL, GRAFANA_URL = "http://monitor.test", "http://grafana.test"
QUESTIONS = [question for path in BOARDS for question in asked(board(path))]
LINKS = sorted({url for path in BOARDS for url in urls(board(path)) if "external_url" in url})
PER_MINUTE = 30
IN_A_WINDOW = round(PER_MINUTE * WINDOW / timedelta(minutes=1))

Chosen = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to ask, with all values of each variable chosen, by dashboard."""

    prometheus: Prometheus
    daemon: str
    chosen: Mapping[str, Chosen]

    def ask(self, question: Asked) -> list[Series]:
        return self.prometheus.ask(question, self.chosen[question.who.partition(":")[0]])

    def panel(self, who: str) -> list[Series]:
        (question,) = (q for q in QUESTIONS if q.who == who)
        return self.ask(question)


def logged(
    path: Path, seed: int, start: datetime, count: int, drifts: Sequence[Drift] = ()
) -> list[Line]:
    """Simulated traffic, in a file as well: with images that its texts are about, of tenants."""
    mix = Mix(stream=STREAM, per_minute=PER_MINUTE)
    exchanges = simulate(seed, start=start, count=count, drifts=drifts, mix=mix)
    lines: list[Line] = [json.loads(as_native_line(exchange)) for exchange in exchanges]
    write(path, lines)
    return lines


def answered_at_random(lines: Sequence[Line]) -> list[Line]:
    answers = [line["response"] for line in lines]
    random.Random(3).shuffle(answers)  # noqa: S311 - not for secrecy
    return [line | {"response": answer} for line, answer in zip(lines, answers, strict=True)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A calm window from a file, then one that is posted: blurred images, answers at random."""
    require_programs()
    folder = tmp_path_factory.mktemp("dashboards")
    for name in ("daemon", "stack"):
        (folder / name).mkdir()
    first = floor_time(datetime.now(UTC) - timedelta(minutes=2), WINDOW) - 2 * WINDOW
    logged(folder / "good-day.jsonl", 1, START, 600)
    logged(folder / "calm.jsonl", 8, first, IN_A_WINDOW)
    blurred = [Drift(DriftKind.BLUR, severity=5)]
    wrong = logged(folder / "wrong.jsonl", 9, first + WINDOW, IN_A_WINDOW, blurred)
    listen = f"127.0.0.1:{free_port()}"
    settings = {
        **SETTINGS,
        "sources": [{"type": "jsonl", "path": str(folder / "calm.jsonl")}],
        "windows": {**WINDOWS, "min_samples": 15},
        "http": {"listen": listen, "external_url": EXTERNAL_URL, "grafana_url": GRAFANA_URL},
    }
    program = Program(folder / "daemon", settings)
    program.done("reference", "build", str(folder / "good-day.jsonl"))
    started = time.time()
    with (
        hook() as told,
        stack(folder / "stack", target=listen, told=told, times=HURRY) as at,
        program.running("run") as process,
    ):
        process.until("calm", lambda: at.ask('mllm_monitor_signal_drifting{signal="emi"} == 0'))
        post(process, answered_at_random(wrong))
        for name in (WORSE, CHANGED):
            # A moment ago, so that a step of every range falls on it.
            firing = f'ALERTS{{alertname="{name}",alertstate="firing",slice="all"}} offset 2s'
            process.until(name, lambda query=firing: at.ask(query))
        prometheus = Prometheus(at.prometheus, started, time.time())
        chosen = {board(path)["uid"]: _all(prometheus, path) for path in BOARDS}
        yield Seen(prometheus, process.address, chosen)


def _all(prometheus: Prometheus, path: Path) -> Chosen:
    chosen: dict[str, Sequence[str]] = {}
    for variable in board(path)["templating"]["list"]:
        if variable["type"] == "query":
            chosen[variable["name"]] = prometheus.values(variable["query"]["query"], chosen)
    return chosen


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.who)
def test_every_expression_has_series(seen: Seen, question: Asked) -> None:
    assert seen.ask(question)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_variable_has_values(seen: Seen, path: Path) -> None:
    chosen = seen.chosen[board(path)["uid"]]
    assert chosen
    assert all(chosen.values())


def test_links_lead_to_the_address_that_the_monitor_is_known_by(seen: Seen) -> None:
    assert {tuple(chosen["external_url"]) for chosen in seen.chosen.values()} == {(EXTERNAL_URL,)}


@pytest.mark.parametrize("url", LINKS)
def test_links_of_values_lead_to_pages_that_there_are(seen: Seen, url: str) -> None:
    (ends,) = seen.panel("mllm-stream: Windows A")
    filled = {
        "external_url": seen.daemon,
        "__data.fields.external_url": seen.daemon,
        "__field.labels.stream:percentencode": quote(STREAM, safe=""),
        "__data.fields.stream:percentencode": quote(STREAM, safe=""),
        "__field.labels.slice:percentencode": quote("tenant=acme", safe=""),
        "__data.fields.unix_seconds.numeric": f"{ends['numbers'][0]:.0f}",
        "__value.time:date:seconds": f"{seen.prometheus.end:.0f}",
    }
    asked_for = re.sub(r"\$\{([^}]+)\}", lambda found: filled[found[1]], url)
    answer = httpx.get(asked_for, timeout=60)
    assert answer.status_code == 200
    assert STREAM in answer.text or asked_for == f"{seen.daemon}/"


def test_slices_of_the_stream_can_be_chosen_beside_the_whole(seen: Seen) -> None:
    assert {"all", "tenant=acme", "tenant=globex"} <= set(seen.chosen["mllm-stream"]["slice"])


def test_the_fleet_says_that_answers_are_worse_by_which_signal_and_since_when(seen: Seen) -> None:
    (state,) = seen.panel("mllm-fleet: Streams A")
    (worst,) = seen.panel("mllm-fleet: Streams B")
    (since,) = seen.panel("mllm-fleet: Streams E")
    assert state == {"labels": {"stream": STREAM}, "numbers": [3.0]}
    assert worst["labels"]["signal"]
    assert worst["numbers"][0] > 1
    assert seen.prometheus.start < since["numbers"][0] / 1_000 < seen.prometheus.end


def test_the_parts_of_the_bound_add_up_to_it(seen: Seen) -> None:
    parts = [seen.panel(f"mllm-stream: Its parts {ref}")[0]["numbers"][-1] for ref in "ABCD"]
    (whole,) = seen.panel("mllm-stream: Bound on the drop A")
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(whole["numbers"][0])


def test_the_reference_is_marked_where_it_came(seen: Seen) -> None:
    (mark,) = seen.panel("mllm-stream: Reference changed")
    assert mark["labels"]["stream"] == STREAM
    assert set(mark["numbers"]) == {1.0}


def test_alerts_are_marked_by_name(seen: Seen) -> None:
    marks = seen.panel("mllm-stream: Alerts")
    assert {WORSE, CHANGED} <= {mark["labels"]["alertname"] for mark in marks}


@pytest.mark.parametrize("rule", managed_rules(), ids=lambda rule: rule["title"])
def test_every_managed_alert_asks_what_prometheus_understands(
    seen: Seen, rule: Mapping[str, object]
) -> None:
    for query in _queries(rule):
        seen.prometheus.ask(query, {})


def test_managed_alerts_fire_for_the_drift_with_what_their_links_need(seen: Seen) -> None:
    fired = {
        rule["title"]: seen.prometheus.ask(_queries(rule)[0], {})[0]["labels"]
        for rule in managed_rules()
        if rule["title"] in {WORSE, CHANGED}
    }
    assert set(fired) == {WORSE, CHANGED}
    for labels in fired.values():
        assert labels["stream"] == STREAM
        assert labels["external_url"] == EXTERNAL_URL
        assert labels["grafana_url"] == GRAFANA_URL


def test_samples_of_a_managed_alert_have_labels_that_are_among_its_own(seen: Seen) -> None:
    (rule,) = (rule for rule in managed_rules() if rule["title"] == WORSE)
    alert, samples = (seen.prometheus.ask(query, {}) for query in _queries(rule))
    assert [s for s in samples if s["labels"].items() <= alert[0]["labels"].items()]


def _queries(rule: Mapping[str, object]) -> list[Asked]:
    data = rule["data"]
    assert isinstance(data, list)
    return [
        Asked(f"{rule['title']} {part['refId']}", part["model"]["expr"], instant=True)
        for part in data
        if part["datasourceUid"] != "__expr__"
    ]
