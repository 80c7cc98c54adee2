import json
import subprocess
from datetime import timedelta

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.records import Signal
from monitor.web.api import measurements
from monitor.web.app import SECURITY_HEADERS
from tests.integration.service.parts import START, everything_measured
from tests.integration.web.conftest import WEIRD, Site
from tests.programs import program

PATHS = ["/", "/metrics", "/healthz", "/readyz", "/api/v1/streams", "/static/style.css"]
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def families(site: Site) -> dict[str, Metric]:
    text = site.client.get("/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    # The client library adds the time at which it began to count.
    return {name: family for name, family in found.items() if not name.endswith("_created")}


def promtool(text: str) -> str:
    command = [program("promtool", "prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


# --- metrics

NAMES_OF_WINDOWS = {
    "discrepancy_nats",
    "mutual_information_nats",
    "emi_nats",
    "emi_samples",
    "emi_stderr_nats",
    "emid_nats",
    "emid_bound",
    "novelty_ratio",
    "image_share_ratio",
    "signal_threshold",
    "signal_p_value",
    "signal_excess_ratio",
    "signal_drifting",
    "signal_evidence_ratio",
    "signal_persistent",
    "window_samples",
    "window_end_timestamp_seconds",
    "targets_window_end_timestamp_seconds",
    "window_last_success_timestamp_seconds",
    "targets_ratio",
    "teacher_targets_ratio",
    "image_state_ratio",
    "image_logging_shift_ratio",
    "reference_info",
    "reference_created_timestamp_seconds",
    "reference_targets_ratio",
    "newest_exchange_timestamp_seconds",
    "windows_due",
}
NAMES_OF_ITSELF = {
    "snapshot_timestamp_seconds",
    "window_interval_seconds",
    "exchanges",
    "unknown_keys",
    "sampled",
    "embed_seconds",
    "pending_samples",
    "job_seconds",
    "job_failures",
    "source_lag_seconds",
    "teacher_calls",
    "teacher_tokens",
    "teacher_skipped",
    "teacher_breaker_open",
    "leader",
}


def with_samples(site: Site) -> set[str]:
    return {
        name.removeprefix("mllm_monitor_")
        for name, family in families(site).items()
        if family.samples
    }


def test_before_any_traffic_every_family_is_announced(site: Site) -> None:
    announced = {name.removeprefix("mllm_monitor_") for name in families(site)}
    assert announced == NAMES_OF_WINDOWS | NAMES_OF_ITSELF


def test_before_any_traffic_nothing_is_claimed_about_windows(site: Site) -> None:
    assert with_samples(site) == NAMES_OF_ITSELF - {
        "exchanges",
        "unknown_keys",
        "source_lag_seconds",
    }


def test_after_a_measured_window_every_metric_of_windows_has_a_value(measured: Site) -> None:
    assert with_samples(measured) >= NAMES_OF_WINDOWS


def test_every_signal_has_its_threshold_p_value_excess_and_verdict(measured: Site) -> None:
    text = measured.client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("stream") == "llava" and sample.labels.get("slice") == "all":
                found.setdefault(family.name, set()).add(sample.labels.get("signal", ""))
    for kind in ("threshold", "p_value", "excess_ratio", "drifting"):
        assert found[f"mllm_monitor_signal_{kind}"] == {signal.value for signal in Signal}


def test_the_values_are_those_of_the_snapshot(measured: Site) -> None:
    state = measured.rig.around.publisher.latest().streams["llava"]
    expected = {
        (m.slice_key, m.signal.value): m.excess_ratio
        for m in state.measurements
        if m.excess_ratio is not None
    }
    family = families(measured)["mllm_monitor_signal_excess_ratio"]
    got = {
        (s.labels["slice"], s.labels["signal"]): s.value
        for s in family.samples
        if s.labels["stream"] == "llava"
    }
    assert got == expected


def test_hostile_names_are_escaped_so_that_they_come_back_whole(measured: Site) -> None:
    text = measured.client.get("/metrics").text
    streams = {
        sample.labels["stream"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "stream" in sample.labels
    }
    assert streams == {"llava", WEIRD}


def test_promtool_has_nothing_to_say(measured: Site, site: Site) -> None:
    assert promtool(measured.client.get("/metrics").text) == ""


def test_promtool_has_nothing_to_say_before_any_traffic(site: Site) -> None:
    assert promtool(site.client.get("/metrics").text) == ""


def test_openmetrics_is_spoken_where_it_is_asked_for(measured: Site) -> None:
    answer = measured.client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert {f.name for f in parse_openmetrics(answer.text)} >= {
        f"mllm_monitor_{name}" for name in NAMES_OF_WINDOWS
    }


def test_metrics_come_compressed_to_those_who_take_that(measured: Site) -> None:
    answers = [
        measured.client.get("/metrics", headers={"Accept-Encoding": accepted})
        for accepted in ("gzip", "identity")
    ]
    assert [a.headers.get("content-encoding") for a in answers] == ["gzip", None]
    a_series = 'mllm_monitor_window_samples{slice="all",stream="llava"} '
    assert [a_series in a.text for a in answers] == [True, True]


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/html", "application/openmetrics-text; version=x", "text/plain;;="]
)
def test_whatever_else_is_asked_for_gets_the_text_format(site: Site, accept: str) -> None:
    answer = site.client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_a_stream_that_left_the_snapshot_leaves_the_scrape(measured: Site) -> None:
    measured.rig.clock.now += timedelta(days=2)
    measured.publish()
    assert with_samples(measured) & NAMES_OF_WINDOWS == set()


# --- health


def test_health_is_plain_and_does_not_depend_on_readiness(site: Site) -> None:
    site.reasons.append("the encoders are loading")
    answer = site.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_it_is_ready_once_nothing_is_waited_for(site: Site) -> None:
    site.reasons.append("the encoders are loading")
    before = site.client.get("/readyz")
    site.reasons.clear()
    after = site.client.get("/readyz")
    assert (before.status_code, before.json()) == (
        503,
        {"ready": False, "reasons": ["the encoders are loading"]},
    )
    assert (after.status_code, after.json()) == (200, {"ready": True, "reasons": []})


# --- headers and errors


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    headers = site.client.get(path).headers
    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "server" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/static/../app.py", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/v1/exchanges", 405),
        ("GET", "/v1/exchanges", 405),
    ],
)
def test_every_error_is_json_with_one_key(site: Site, method: str, path: str, status: int) -> None:
    answer = site.client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


# --- the API


def get(site: Site, **query: str | int) -> httpx.Response:
    return site.client.get("/api/v1/measurements", params=query)


DAY = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}


def test_streams_show_the_newest_window_as_the_snapshot_has_it(measured: Site) -> None:
    streams = {s["stream"]: s for s in measured.client.get("/api/v1/streams").json()["streams"]}
    state = measured.rig.around.publisher.latest().streams[WEIRD]
    assert streams[WEIRD]["measurements"] == [measurements.as_json(m) for m in state.measurements]
    assert state.reference is not None
    assert streams[WEIRD]["reference"] == state.reference.identity


def test_measurements_of_a_time_are_those_whose_windows_end_in_it(measured: Site) -> None:
    stored = [measurements.as_json(m) for m in everything_measured(measured.rig.database)]
    answer = get(measured, **DAY)
    assert answer.json() == {"measurements": stored, "is_cut": False, "next": None}


def test_they_can_be_asked_for_by_stream_slice_and_signal(measured: Site) -> None:
    found = get(measured, **DAY, stream=WEIRD, slice="tenant=t1", signal="emi").json()
    assert {(m["stream"], m["slice"], m["signal"]) for m in found["measurements"]} == {
        (WEIRD, "tenant=t1", "emi")
    }


def test_a_limit_cuts_and_says_so(measured: Site) -> None:
    whole = get(measured, **DAY).json()["measurements"]
    cut = get(measured, **DAY, limit=7).json()
    assert (cut["measurements"], cut["is_cut"]) == (whole[:7], True)
    assert get(measured, **DAY, limit=len(whole)).json()["is_cut"] is False


def test_the_number_of_rows_is_bounded_without_being_asked(
    measured: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "MAX_ROWS", 5)
    found = get(measured, **DAY).json()
    assert (len(found["measurements"]), found["is_cut"]) == (5, True)


def test_times_may_have_any_offset(measured: Site) -> None:
    utc = get(measured, start="2026-03-01T12:00:00Z", end="2026-03-01T12:20:00Z").json()
    east = get(measured, start="2026-03-01T14:00:00+02:00", end="2026-03-01T14:20:00+02:00").json()
    unescaped = measured.client.get(
        "/api/v1/measurements?start=2026-03-01T14:00:00+02:00&end=2026-03-01T14:20:00+02:00"
    ).json()
    assert utc["measurements"]
    assert utc == east == unescaped


@pytest.mark.parametrize(
    "query",
    [
        {"start": "yesterday"},
        {"start": "2026-03-01T12:00:00"},
        {"end": "0001-01-01T00:00:00Z"},
        {"end": "0001-01-01T00:00:00+23:59"},
        {"start": "9999-12-31T23:59:59-23:59"},
        {"signal": "mood"},
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "5001"},
        {"limit": "many"},
        {"limit": "9" * 5000},
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_what_is_wrong(
    site: Site, query: dict[str, str]
) -> None:
    answer = get(site, **query)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize("name", ["\0", "%", "' OR 1=1 --", "\ud83d"])
def test_any_name_may_be_asked_for(site: Site, name: str) -> None:
    from urllib.parse import quote  # noqa: PLC0415 - only here

    path = f"/api/v1/measurements?stream={quote(name, errors='surrogatepass')}"
    assert site.client.get(path).json()["measurements"] == []


def test_a_measurement_has_the_documented_keys(measured: Site) -> None:
    (first, *_) = get(measured, **DAY, stream="llava", slice="all", signal="emi").json()[
        "measurements"
    ]
    assert list(first)[:14] == [
        "stream",
        "slice",
        "signal",
        "window_start",
        "window_end",
        "n",
        "value",
        "stderr",
        "null_mean",
        "threshold",
        "excess_ratio",
        "p_value",
        "verdict",
        "reference",
    ]
    assert first["window_start"].endswith("Z")


def test_what_is_insufficient_has_a_reason_and_no_value(measured: Site) -> None:
    rows = get(measured, **DAY, stream="llava").json()["measurements"]
    short = [m for m in rows if m["verdict"] == "insufficient"]
    assert short
    assert [m for m in short if m["value"] is not None or not m["reason"]] == []
    assert START.year == 2026
    assert json.dumps(rows)
