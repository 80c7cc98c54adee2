"""The daemon as a process: fed, scraped, ended and started again."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.prepared import SETTINGS, START, program_in
from tests.acceptance.program import Process, Program
from tests.acceptance.traffic import Traffic, as_bytes
from tests.programs import program

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

FREE_PORT = {"MLLM_MONITOR_HTTP__LISTEN": "127.0.0.1:0"}
VALUE = "mllm_monitor_discrepancy_nats"
STEP = timedelta(seconds=2)  # the last pane alone is enough for the last window
COUNT = 180

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(address: str) -> Series:
    """Every sample on /metrics."""
    text = httpx.get(f"{address}/metrics", timeout=60).raise_for_status().text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def measured(series: Series) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What the windows gave, without what the daemon says about itself."""
    about_windows = ("discrepancy", "mutual", "emi", "novelty", "image_", "signal_", "window_")
    return {
        key: value
        for key, value in series.items()
        if key[0].removeprefix("mllm_monitor_").startswith(about_windows)
    }


def streams_with(series: Series, name: str) -> set[str]:
    return {dict(labels)["stream"] for metric, labels in series if metric == name}


def until_measured(process: Process, *streams: str) -> Series:
    """Wait until each stream has a discrepancy."""

    def look() -> Series | None:
        series = scrape(process.address)
        return series if streams_with(series, VALUE) >= set(streams) else None

    return process.until(f"measurement of {' and '.join(streams)}", look)


def exchanges(stream: str, count: int = COUNT) -> bytes:
    lines = Traffic(5, image_share=0.5).evenly(count, stream, START, STEP, with_targets=True)
    return as_bytes(lines)


@dataclass(frozen=True, slots=True)
class Life:
    """What two daemons showed, one after the other on the same database."""

    fed: Series
    exposition: str
    status: int
    events: list[str]
    second: Series  # of the next one, before there was any traffic


@pytest.fixture(scope="module")
def life(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("life") / "daemon"
    program = program_in(prepared, folder, {**SETTINGS, "sources": [{"path": "live.jsonl"}]})
    (folder / "live.jsonl").write_bytes(exchanges("from-file"))
    with program.running("run") as process:
        answer = httpx.post(
            f"{process.address}/v1/exchanges", content=exchanges("from-http"), timeout=60
        )
        assert answer.json()["accepted"] == COUNT
        until_measured(process, "from-file", "from-http")
        # So that nothing changes between the last scrape and the end.
        process.until("rest", lambda: program.query(UNSETTLED) == [(0, 0)])
        process.until("snapshot", lambda: is_up_to_date(program, scrape(process.address)))
        fed = scrape(process.address)
        exposition = httpx.get(f"{process.address}/metrics", timeout=60).text
        status = process.terminate()
        events = [event["event"] for event in process.events()]
    with program.running("run") as process:
        second = scrape(process.address)
    return Life(fed, exposition, status, events, second)


UNSETTLED = (
    "SELECT (SELECT count(*) FROM samples WHERE encoder_digest IS NULL),"
    " (SELECT count(*) FROM panes WHERE revision <> settled_revision)"
)
NEWEST = "SELECT stream, CAST(strftime('%s', max(end)) AS REAL) FROM windows GROUP BY 1"


def is_up_to_date(program: Program, series: Series) -> bool:
    shown = {
        (dict(labels)["stream"], value)
        for (name, labels), value in series.items()
        if name == "mllm_monitor_window_end_timestamp_seconds"
    }
    return shown == set(program.query(NEWEST))


def test_traffic_from_a_file_and_over_http_is_measured(life: Life) -> None:
    assert streams_with(life.fed, VALUE) == {"from-file", "from-http"}


def test_promtool_has_nothing_to_say_about_the_metrics(life: Life) -> None:
    said = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        input=life.exposition,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_sigterm_ends_the_daemon_with_status_0(life: Life) -> None:
    assert (life.status, life.events[-1]) == (0, "daemon_stopped")


def test_a_restarted_daemon_shows_the_last_measurements_before_any_new_traffic(life: Life) -> None:
    assert measured(life.second) == measured(life.fed)


def test_the_metrics_count_both_ways_in(life: Life) -> None:
    counted = {
        (dict(labels)["source"], dict(labels)["outcome"]): value
        for (name, labels), value in life.fed.items()
        if name == "mllm_monitor_exchanges_total" and value
    }
    assert sorted(counted.values()) == [COUNT, COUNT]
    assert {outcome for _, outcome in counted} == {"admitted"}


@pytest.fixture
def unset(tmp_path: Path) -> Program:
    """A program without settings, in an empty folder; only the port is given."""
    return Program(tmp_path, environ=FREE_PORT)


def test_the_daemon_runs_from_an_empty_folder_without_settings(unset: Program) -> None:
    with unset.running("run") as process:
        process.event("daemon_ready")
        answers = {
            path: httpx.get(process.address + path, timeout=60).status_code
            for path in ("/", "/metrics", "/healthz", "/readyz", "/api/v1/streams")
        }
        status = process.terminate()
    assert (set(answers.values()), status) == ({200}, 0)


def test_the_daemon_is_alive_before_it_is_ready(prepared: Path, tmp_path: Path) -> None:
    program = program_in(prepared, tmp_path / "daemon")  # with a reference, which takes a moment
    with program.running("run") as process:
        address = process.address
        before = httpx.get(f"{address}/readyz", timeout=60)
        assert httpx.get(f"{address}/healthz", timeout=60).status_code == 200
        process.until("readiness", lambda: httpx.get(f"{address}/readyz", timeout=60).is_success)
    assert (before.status_code, before.json()["reasons"]) == (503, ["the encoders are loading"])


def test_a_second_daemon_on_the_same_database_is_refused_in_one_line(unset: Program) -> None:
    with unset.running("run") as first:
        first.event("daemon_ready")
        second = unset.run("run")
        assert first.is_running()
    assert second.status == 2
    (line,) = second.stderr.splitlines()
    assert str(first.popen.pid) in line


def test_a_signal_lets_the_daemon_finish_the_batch_at_hand(prepared: Path, tmp_path: Path) -> None:
    program = program_in(prepared, tmp_path / "daemon", {**SETTINGS, **LARGE_PANES})
    with program.running("run") as process:
        process.event("daemon_ready")
        httpx.post(f"{process.address}/v1/exchanges", content=exchanges("much", 1_500), timeout=60)
        process.until("first batch", lambda: program.query(EMBEDDED)[0][0])
        status = process.terminate()
    # A claim that is left is a batch that was cut short; the daemon was not done either.
    ((left, claimed),) = program.query(LEFT)
    assert (status, left > 0, claimed) == (0, True, 0)


LARGE_PANES = {"sampling": {"per_pane": 5_000}}
EMBEDDED = "SELECT count(*) FROM samples WHERE encoder_digest IS NOT NULL"
LEFT = "SELECT count(*), count(claimed_until) FROM samples WHERE encoder_digest IS NULL"


@pytest.fixture
def empty_postgres(postgres_url: str) -> Iterator[str]:
    """A database in which nothing has been made."""
    name = "acceptance"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield postgres_url.replace("/postgres?", f"/{name}?")
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.postgres
def test_a_postgresql_is_refused_until_it_is_upgraded_by_hand(
    empty_postgres: str, tmp_path: Path
) -> None:
    environ = {**FREE_PORT, "MLLM_MONITOR_DATABASE__URL": empty_postgres}
    program = Program(tmp_path, environ=environ)
    refused = program.run("run")
    assert refused.status == 2
    (line,) = refused.stderr.splitlines()
    assert "mllm-monitor db upgrade" in line
    program.done("db", "upgrade")
    with program.running("run") as process:
        process.event("daemon_ready")
        answer = httpx.post(f"{process.address}/v1/exchanges", content=exchanges("a"), timeout=60)
        status = process.terminate()
    assert (answer.json()["accepted"], status) == (COUNT, 0)
