"""Two daemons on one PostgreSQL: either takes traffic, the one that measures may be killed."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.acceptance.prepared import SETTINGS, START
from tests.acceptance.program import Process, Program
from tests.acceptance.test_daemon import STEP, scrape, streams_with
from tests.acceptance.traffic import Traffic, as_bytes, write

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.postgres]

COUNT, BATCH = 240, 20
PER_PANE = 24
UNFINISHED = (
    "SELECT 1 FROM panes WHERE revision <> settled_revision",
    "SELECT 1 FROM samples WHERE encoder_digest IS NULL",
)


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE replicas")
        yield postgres_url.replace("/postgres?", "/replicas?")
        server.execute("DROP DATABASE replicas WITH (FORCE)")


def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(sql).fetchall()


def replica(folder: Path, name: str, database: str) -> Program:
    place = folder / name
    place.mkdir()
    environ = {"MLLM_MONITOR_DATABASE__URL": database}
    return Program(place, {**SETTINGS, "data_dir": str(place)}, environ)


def post(process: Process, lines: list[dict[str, object]]) -> None:
    httpx.post(
        f"{process.address}/v1/exchanges", content=as_bytes(lines), timeout=60
    ).raise_for_status()


def leads(process: Process) -> bool:
    """Whether it is the one that measures."""
    return scrape(process.address)["mllm_monitor_leader", frozenset()] == 1


def test_two_daemons_share_the_work_and_one_goes_on_alone(tmp_path: Path, database: str) -> None:
    first, second = (replica(tmp_path, name, database) for name in ("first", "second"))
    first.done("db", "upgrade")
    normal = Traffic(1, image_share=0.5).evenly(300, "normal", START, STEP * 2, with_targets=True)
    first.done("reference", "build", str(write(tmp_path / "normal.jsonl", normal)))
    lines = Traffic(5, image_share=0.5).evenly(COUNT, "shared", START, STEP, with_targets=True)
    batches = [lines[i : i + BATCH] for i in range(0, COUNT, BATCH)]
    with ExitStack() as stack:
        with first.running("run") as killed:
            killed.event("leadership_taken")
            left = stack.enter_context(second.running("run"))
            for batch, taker in zip(batches[:8], [killed, left] * 4, strict=True):
                post(taker, batch)
            killed.event("window_measured")
            leaders = leads(killed), leads(left)
            measured_by_other = [e for e in left.events() if e["event"] == "window_measured"]
        with psycopg.connect(database) as server:  # what the killed one had claimed runs out
            server.execute("UPDATE samples SET claimed_until = NULL")
            server.execute("UPDATE leases SET until = now()")
        for batch in batches[6:]:  # two of them again, as a client that got no answer would
            post(left, batch)
        left.event("leadership_taken")
        left.until("rest", lambda: all(rows(database, query) == [] for query in UNFINISHED))
        shown = streams_with(scrape(left.address), "mllm_monitor_window_samples")
        errors = [event for event in left.events() if event["level"] == "error"]
    assert (leaders, measured_by_other) == ((True, False), [])
    assert (shown, errors) == ({"shared"}, [])
    kept = COUNT * int(STEP.total_seconds()) // 60 * PER_PANE
    assert rows(database, "SELECT count(*) FROM samples") == [(kept,)]
