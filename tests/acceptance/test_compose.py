"""The commands of deploy/compose.yaml, run as processes on a real PostgreSQL."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import yaml

from tests.acceptance.program import Process, Program
from tests.deploy.dockerfile import ROOT

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.postgres]

DEPLOY = ROOT / "deploy"
SERVICES: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
TOKEN = "given-in-the-environment"  # noqa: S105 - of this test


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE composed")
        yield postgres_url.replace("/postgres?", "/composed?")
        server.execute("DROP DATABASE composed WITH (FORCE)")


def service(name: str, folder: Path, database: str) -> Program:
    """One service: its command, beside this Python instead of in the image."""
    entry = SERVICES[name].get("entrypoint", ["mllm-monitor"])
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "MLLM_MONITOR_CONFIG": str(DEPLOY / "compose" / "monitor.yaml"),
        "MLLM_MONITOR_DATABASE__URL": database,
        "MLLM_MONITOR_HTTP__TOKENS": TOKEN,
        "MLLM_MONITOR_HTTP__LISTEN": "127.0.0.1:0",
    }
    place = folder / name  # what it writes goes beside
    place.mkdir(exist_ok=True)
    return Program(place, environ=environ, command=entry)


def script(name: str) -> str:
    """Its shell script, as compose hands it over."""
    (text,) = SERVICES[name]["command"]
    return str(text).replace("$$", "$")


@contextmanager
def ended(shell: Process) -> Iterator[None]:
    """End what the shell started too; a container ends as a whole."""
    try:
        yield
    finally:
        for child in psutil.Process(shell.popen.pid).children(recursive=True):
            child.kill()
        shell.kill()


def admitted(process: Process) -> float:
    text = httpx.get(f"{process.address}/metrics", timeout=60).raise_for_status().text
    lines = [line for line in text.splitlines() if 'outcome="admitted"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_they_upgrade_build_a_reference_and_feed_the_monitor(tmp_path: Path, database: str) -> None:
    service("migrate", tmp_path, database).done(*SERVICES["migrate"]["command"])
    reference = service("reference", tmp_path, database)
    few = script("reference").replace("--count 1800", "--count 400")
    assert few != script("reference")
    reference.done(few)
    again = reference.done(few)  # a second `up` builds none
    listed = service("monitor", tmp_path, database).done("reference", "list", "--json").json_lines()
    assert len(listed) == 1
    assert again.stderr == ""

    with service("monitor", tmp_path, database).running("run") as monitor:
        monitor.event("daemon_ready")
        sped = script("traffic").replace("--per-minute 36", "--per-minute 600")
        sped = sped.replace("http://monitor:9750", monitor.address)
        with service("traffic", tmp_path, database).running(sped) as traffic, ended(traffic):
            monitor.until("posted exchanges", lambda: admitted(monitor) >= 3)
            assert traffic.is_running()
