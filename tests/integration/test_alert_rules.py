"""What deploy/ gives to Prometheus and Alertmanager, by their own tools and against the docs."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "deploy" / "runbooks"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULES = PROMETHEUS / "rules" / "mllm-monitor.yml"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
SECTIONS = (
    "What it means",
    "How sure it is",
    "Look first at",
    "What usually caused it",
    "Silence it rightly",
    "Accept a new normal",
)


PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}


def said_by(name: str, *arguments: str) -> tuple[int, str]:
    found = program(name, PACKAGES[name])
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    status, said = said_by("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert status == 0, said


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_fire_when_they_should_and_only_then(path: Path) -> None:
    status, said = said_by("promtool", "test", "rules", str(path))
    assert status == 0, said


def test_amtool_accepts_the_routes() -> None:
    status, said = said_by("amtool", "check-config", str(ALERTMANAGER))
    assert status == 0, said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "MllmMonitorAnswersWorse", "severity": "critical"}, "pager"),
        ({"alertname": "MllmMonitorTrafficChanged", "severity": "warning"}, "tickets"),
        ({"alertname": "MllmMonitorBoundLarge", "severity": "info"}, "notes"),
        ({"alertname": "MllmMonitorWatchdog", "severity": "none"}, "watchdog"),
        ({"alertname": "SomethingElse"}, "tickets"),
    ],
)
def test_severity_says_who_is_told(labels: Mapping[str, str], receiver: str) -> None:
    given = [f"{name}={value}" for name, value in labels.items()]
    _, said = said_by("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *given)
    assert said.split()[0] == receiver


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_with_its_texts(name: str) -> None:
    told = [
        texts
        for path in TESTS
        for case in yaml.safe_load(path.read_text())["tests"]
        for check in case.get("alert_rule_test", [])
        for texts in check["exp_alerts"]
        if check["alertname"] == name
    ]
    assert told
    assert all(alert["exp_annotations"]["description"] for alert in told)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "MllmMonitorWatchdog"])
def test_every_alert_is_tested_for_not_firing(name: str) -> None:
    titles = [case["name"] for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    assert any(title.startswith(f"{name.removeprefix('MllmMonitor')} does not") for title in titles)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}")
def test_every_alert_says_who_must_act_on_what(rule: Mapping[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info", "none"}
    assert rule["labels"]["concern"] in {
        *("traffic", "quality", "bound", "logging", "coverage", "monitor"),
    }
    assert "{{" not in rule["annotations"]["summary"]
    assert f"/runbooks/{rule['alert']}" in rule["annotations"]["runbook_url"]


def test_only_lost_quality_and_a_blind_monitor_wake_somebody() -> None:
    critical = {r["alert"]: r["labels"]["concern"] for r in ALERTS if _wakes(r)}
    assert set(critical.values()) == {"quality", "monitor"}
    assert [name for name, concern in critical.items() if concern == "quality"] == [
        "MllmMonitorAnswersWorse"
    ]


def _wakes(rule: Mapping[str, Any]) -> bool:
    return bool(rule["labels"]["severity"] == "critical")


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_answers_the_six_questions(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(SECTIONS)
    first_steps = text.split("## Look first at")[1].split("## ")[0]
    assert re.findall(r"^(\d)\. ", first_steps, re.MULTILINE) == ["1", "2", "3"]


def documented() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE)
    parts = {"histogram": ("_count", "_sum", "_bucket"), "gauge": ("",), "counter": ("",)}
    return {f"mllm_monitor_{name}{part}" for name, kind in rows for part in parts[kind]}


@pytest.mark.parametrize("path", [RULES, *sorted(RUNBOOKS.glob("*"))], ids=lambda path: path.stem)
def test_every_metric_that_is_named_exists(path: Path) -> None:
    # Names with a colon are recorded by the rules themselves; a histogram is also named as such.
    named = set(re.findall(r"(?<![:\w])(mllm_monitor_\w+)(?!:)\b", path.read_text()))
    assert {n for n in named if n not in documented() and f"{n}_count" not in documented()} == set()


def test_every_recorded_series_that_is_used_is_recorded() -> None:
    recorded = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    used = set(re.findall(r"\b(\w+:mllm_monitor_\w+:\w+)", RULES.read_text()))
    assert used == recorded
