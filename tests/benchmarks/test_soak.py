"""Two daemons on one PostgreSQL under live traffic, one of them disturbed each minute.

`SOAK_MINUTES` says for how long. Two simulators post, one to each daemon, a third writes a log that
the first daemon follows. What they sent must be there once, every window be measured once, and
nothing grow that retention holds.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import psycopg
import pytest

from tests.acceptance.alerting import free_port
from tests.acceptance.program import Process, Program
from tests.acceptance.test_replicas import UNFINISHED, leads, rows

MINUTES = float(os.environ.get("SOAK_MINUTES", "5"))
PER_MINUTE = 60
LOOK_SECONDS, DISTURB_SECONDS = 10, 60
MIB = 2**20
SLIDE = timedelta(seconds=15)
# Longer than a window, its lateness and the half minute until another one measures, or the samples
# of a window would be gone before it is measured.
RETENTION = timedelta(minutes=4)
SETTINGS = {
    "windows": {"pane": "5s", "length": "60s", "slide": "15s", "lateness": "45s"},
    "sampling": {"per_pane": 32},  # more than come, so that every exchange is known by its id
    "reference": {"null_draws": 50},
    "retention": {"samples": "4m", "measurements": "5m"},
    "privacy": {"content_retention": "1m"},
    "jobs": {"retain": "10s"},
    "logging": {"format": "json"},
}
PROBLEMS = {"job_failed"}  # that connections were lost
SEVER = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
SHAPE = (
    "SELECT pg_database_size(current_database()), (SELECT count(*) FROM samples),"
    " (SELECT count(*) FROM measurements),"
    " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
)


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE soak")
        yield postgres_url.replace("/postgres?", "/soak?")
        server.execute("DROP DATABASE soak WITH (FORCE)")


@dataclass
class Soak:
    """The two daemons, what is done to them and what is seen of them."""

    url: str
    programs: tuple[Program, Program]
    processes: list[Process] = field(default_factory=list)
    measured: dict[str, dict[datetime, set[datetime]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    errors: Counter[str] = field(default_factory=Counter)

    def start(self, stack: ExitStack, i: int) -> None:
        process = stack.enter_context(self.programs[i].running("run"))
        process.event("daemon_ready")
        self.processes[i : i + 1] = [process]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return list(rows(self.url, sql))

    def ended(self, i: int) -> None:
        self.errors.update(
            e["event"] for e in self.processes[i].events() if e["level"] in {"error", "critical"}
        )

    def leader(self) -> int:
        return int(leads(self.processes[1]))

    def kill(self, i: int) -> None:
        self.processes[i].kill()

    def end(self, i: int) -> None:
        assert self.processes[i].terminate() == 0

    def sever(self, _: int) -> None:
        """What a restart of the server is to those who are connected."""
        self.ask(SEVER)

    def look(self) -> str:
        for stream, start, at in self.ask("SELECT stream, start, measured_at FROM windows"):
            self.measured[stream][start].add(at)
        ((size, samples, measurements, connections),) = self.ask(SHAPE)
        daemons = [psutil.Process(process.popen.pid) for process in self.processes]
        seen = [
            f"{d.memory_info().rss / MIB:.0f} MiB, {d.num_fds()} files, {d.num_threads()} threads"
            for d in daemons
        ]
        return (
            f"{' and '.join(seen)}; database {size / MIB:.0f} MiB, {samples} samples, "
            f"{measurements} measurements, {connections} connections"
        )


@pytest.mark.benchmark
@pytest.mark.postgres
@pytest.mark.timeout(0)
def test_nothing_is_lost_doubled_or_left_behind(tmp_path: Path, database: str) -> None:
    first, second = (replica(tmp_path, name, database) for name in ("first", "second"))
    soak = Soak(database, (first, second))
    first.done("db", "upgrade")
    first.done("simulate", "--count=600", "--seed=1", "--out=good.jsonl")
    first.done("reference", "build", "good.jsonl")
    disturbances: list[tuple[str, Callable[[int], None], Callable[[], int]]] = [
        ("killed the one that measures", soak.kill, soak.leader),
        ("cut all connections to the database", soak.sever, soak.leader),
        ("ended the one that measures", soak.end, soak.leader),
        ("killed the other", soak.kill, lambda: 1 - soak.leader()),
    ]
    with ExitStack() as stack:
        for i in (0, 1):
            soak.start(stack, i)
        senders = send(stack, soak)
        disturb, next_at = cycle(disturbances), monotonic() + DISTURB_SECONDS
        while any(sender.is_running() for sender in senders):
            sleep(LOOK_SECONDS)
            seen = soak.look()
            if monotonic() > next_at:
                what, do, whom = next(disturb)
                print(f"\n{seen}; {what}", end="", flush=True)
                do(i := whom())
                if not soak.processes[i].is_running():
                    soak.ended(i)
                    soak.start(stack, i)
                next_at += DISTURB_SECONDS
        assert [sender.wait() for sender in senders] == [0, 0, 0]
        soak.processes[0].until("rest", lambda: all(soak.ask(query) == [] for query in UNFINISHED))
        print(f"\n{soak.look()}; all sent", end="")
        for i in (0, 1):
            soak.end(i)
            soak.ended(i)
    counted = dict(soak.ask("SELECT outcome, sum(count)::int FROM counters GROUP BY 1"))
    ((oldest,),) = soak.ask("SELECT now() - min(stored_at) FROM samples")
    windows = {stream: sorted(of_it) for stream, of_it in soak.measured.items()}
    print(
        f"\n{counted}, {sum(map(len, windows.values()))} windows of {len(windows)} streams, "
        f"oldest sample {oldest}, {dict(soak.errors)}",
        end="",
    )
    assert counted["admitted"] == len(senders) * count()
    assert set(windows) == {"posted", "followed"}
    assert {b - a for starts in windows.values() for a, b in pairwise(starts)} == {SLIDE}
    assert max(len(at) for of_it in soak.measured.values() for at in of_it.values()) == 1
    assert oldest < RETENTION + timedelta(minutes=1)
    assert set(soak.errors) <= PROBLEMS


def count() -> int:
    """How many exchanges each simulator sends."""
    return int(MINUTES * PER_MINUTE)


def replica(folder: Path, name: str, database: str) -> Program:
    place = folder / name
    place.mkdir()
    sources = [{"type": "jsonl", "path": "calls.jsonl"}] if name == "first" else []
    listen = f"127.0.0.1:{free_port()}"  # the same after a start, for those who send
    own = {"http": {"listen": listen}, "data_dir": str(place), "sources": sources}
    settings = {**SETTINGS, **own}
    return Program(place, settings, {"MLLM_MONITOR_DATABASE__URL": database})


def send(stack: ExitStack, soak: Soak) -> list[Process]:
    """Simulators that send what happens now, and go on when a daemon is back."""
    addresses = [f"{process.address}/v1/exchanges" for process in soak.processes]
    outs = [("posted", addresses[0]), ("posted", addresses[1]), ("followed", "calls.jsonl")]
    return [
        stack.enter_context(
            soak.programs[0].running(
                "simulate",
                "--live",
                f"--count={count()}",
                f"--per-minute={PER_MINUTE}",
                f"--seed={seed}",
                f"--stream={stream}",
                f"--out={out}",
            )
        )
        for seed, (stream, out) in enumerate(outs, start=2)
    ]
