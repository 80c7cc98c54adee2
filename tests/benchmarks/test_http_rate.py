"""What taking traffic over HTTP costs, against a handler that parses it and nothing else."""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from monitor.web import otlp
from monitor.web.server import serve
from tests.acceptance.program import Process, Program
from tests.integration.web.mutants import mutants
from tests.integration.web.questions import questions
from tests.integration.web.test_mutants import STATUSES, post
from tests.unit.traffic.captured import payload

EXCHANGES = 10_000
SENDERS = 4
ROUNDS = 3
MUTANTS = 50_000
ASKED = 5_000
GROWTH_MAX = 64 * 2**20
SETTINGS = {
    "http": {"listen": "127.0.0.1:0", "max_requests_per_second": 1_000_000},
    "jobs": {"ingest": "1s", "embed": "1s", "measure": "5s"},
}
RECORD = json.loads(payload("litellm_sdk_generic_api_json_array.json"))[0]
STREAMS = 40  # so that the embed job has enough to do


def bodies(size: int, round_: int, streams: int = 1) -> list[bytes]:
    """So many records in each, of calls that were not seen before."""
    now = datetime.now(UTC).timestamp()
    records = [
        RECORD
        | {
            "litellm_call_id": f"{size}-{round_}-{i}",
            "model_group": f"model-{i % streams}",
            "endTime": now - 60 * random.Random(i).random(),  # noqa: S311 - to repeat
        }
        for i in range(EXCHANGES)
    ]
    return [json.dumps(records[i : i + size]).encode() for i in range(0, EXCHANGES, size)]


def bare() -> FastAPI:
    """Reads a body and parses it."""
    app = FastAPI()

    @app.post("/v1/litellm")
    async def take(request: Request) -> JSONResponse:
        msgspec.json.decode(await request.body())
        return JSONResponse({})

    return app


@contextmanager
def bare_process(folder: Path) -> Iterator[str]:
    """The bare handler in a process of its own, as the daemon is."""
    script = "from tests.benchmarks.test_http_rate import stand; stand()"
    program = Program(folder, command=(sys.executable, "-c", script))
    with program.running() as process:
        yield str(process.until("address", process.out.read_text)).strip()


def stand() -> None:
    with serve(bare(), host="127.0.0.1", port=0) as address:
        print(address, flush=True)
        threading.Event().wait()


def seconds(address: str, sent: Sequence[bytes]) -> tuple[float, list[float]]:
    """Wall time of sending all, by a few senders, and the times of the single requests."""
    taken: list[float] = []

    def send(body: bytes) -> None:
        started = time.perf_counter()
        answer = client.post("/v1/litellm", content=body)
        taken.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.text

    with (
        httpx.Client(base_url=address, timeout=120, verify=False) as client,  # noqa: S501 - loopback
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        started = time.perf_counter()
        list(senders.map(send, sent))
        return time.perf_counter() - started, taken


def percentiles(taken: Sequence[float]) -> str:
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]) * 1e3
    return f"{p50:.0f}, {p95:.0f} and {p99:.0f} ms (50, 95, 99 %)"


@pytest.mark.benchmark
@pytest.mark.parametrize(("size", "least"), [(500, 1 / 2), (20, 1 / 10), (1, 1 / 5)])
def test_taking_litellms_batches_costs_some_times_what_parsing_them_does(
    size: int, least: float, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "daemon").mkdir()
    program = Program(tmp_path / "daemon", SETTINGS | {"jobs": {"embed": "1h", "measure": "1h"}})
    theirs, ours = [], []
    with bare_process(tmp_path / "bare") as address, program.running("run") as process:
        process.event("daemon_ready")
        seconds(process.address, bodies(size, -1)[:5])
        for round_ in range(ROUNDS):
            sent = bodies(size, round_)
            theirs.append(seconds(address, sent))
            ours.append(seconds(process.address, sent))
    ratio = min(theirs)[0] / min(ours)[0]
    print(
        f"\n{EXCHANGES} records of {len(json.dumps(RECORD))} bytes, {size} a request: bare "
        f"{EXCHANGES / min(theirs)[0]:.0f} a second, taken {EXCHANGES / min(ours)[0]:.0f}, rate "
        f"{ratio:.2f} (at least {least:.2f}); a request {percentiles(min(ours)[1])}",
        end="",
    )
    assert ratio >= least


@pytest.mark.benchmark
def test_requests_are_answered_while_the_embed_job_is_busy(tmp_path: Path) -> None:
    program = Program(tmp_path, SETTINGS)
    waiting = "SELECT count(*) FROM samples WHERE encoder_digest IS NULL"
    with program.running("run") as process:
        process.event("daemon_ready")
        seconds(process.address, bodies(500, 0, STREAMS))
        ((before,),) = program.query(waiting)
        _, taken = seconds(process.address, bodies(100, 1, STREAMS))
        ((after,),) = program.query(waiting)
    print(
        f"\nwhile {before} to {after} samples wait to be embedded, 100 records a request: "
        + percentiles(taken),
        end="",
    )
    assert min(before, after) > 0
    assert max(taken) < 10  # when exporters give up


def memory(process: Process) -> int:
    return psutil.Process(process.popen.pid).memory_info().rss


@dataclass
class Told:
    """What the answers to damaged requests say."""

    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by path

    def add(self, path: str, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200 and path not in otlp.PATHS:
            self.outcomes.update({(path, k): n for k, n in answer.json()["outcomes"].items()})
        elif answer.status_code == 200:
            self.outcomes[path, "refused"] += refused(answer)

    def __add__(self, other: "Told") -> "Told":
        return Told(self.statuses + other.statuses, self.outcomes + other.outcomes)


def refused(answer: httpx.Response) -> int:
    """Records of an export that were not read."""
    if answer.headers["content-type"] == otlp.PROTOBUF:
        # The same on the wire for both signals.
        response = ExportTraceServiceResponse.FromString(answer.content)
        return int(response.partial_success.rejected_spans)
    said = answer.json().get("partialSuccess", {})
    return sum(int(said[name]) for name in ("rejectedSpans", "rejectedLogRecords") if name in said)


def counted(program: Program) -> Counter[tuple[str, str]]:
    """What the daemon counted, in the words of its answers."""
    counts: Counter[tuple[str, str]] = Counter()
    for source, outcome, count in program.query(
        "SELECT source, outcome, sum(count) FROM counters GROUP BY 1, 2"
    ):
        if source not in otlp.PATHS:
            counts[source, outcome] += count
        elif outcome in otlp.MALFORMED:
            counts[source, "refused"] += count
    return counts


@pytest.mark.benchmark
@pytest.mark.timeout(3_600)
def test_damaged_requests_in_number_are_answered_in_flat_memory(tmp_path: Path) -> None:
    program = Program(tmp_path, SETTINGS | {"jobs": {"embed": "1h", "measure": "1h"}})

    def send(seed: int, count: int) -> Told:
        told = Told()
        for mutant in mutants(seed, count // SENDERS):
            told.add(mutant.path, post(client, mutant))
        return told

    def send_all(seed: int, count: int) -> Told:
        seeds = range(seed, seed + SENDERS)
        return sum(senders.map(send, seeds, [count] * SENDERS), Told())

    with (
        program.running("run") as process,
        httpx.Client(timeout=120, verify=False) as client,  # noqa: S501 - loopback
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        process.event("daemon_ready")
        client.base_url = httpx.URL(process.address)
        started = time.perf_counter()
        told = send_all(10, MUTANTS // 5)
        before = memory(process)
        told += send_all(20, MUTANTS - MUTANTS // 5)
        growth = memory(process) - before
        taken = time.perf_counter() - started
        asked = Counter(post(client, each).status_code // 100 for each in questions(30, ASKED, ""))
        failures = [e["event"] for e in process.events() if e["level"] == "error"]
        assert process.terminate() == 0
    print(
        f"\n{MUTANTS} damaged: {dict(told.statuses)}, {MUTANTS / taken:.0f} a second, "
        f"{told.outcomes.total()} records told, {growth / 2**20:.0f} MiB more; "
        f"{ASKED} questions and actions: {dict(asked)}",
        end="",
    )
    assert failures == []
    assert set(told.statuses) <= STATUSES
    assert told.statuses.total() == MUTANTS
    assert told.outcomes == counted(program)
    assert growth < GROWTH_MAX
    assert set(asked) <= {2, 3, 4}
