"""A daemon that takes the traffic of 200 streams: what each part costs a core, and whether it ends.

Windows are short so that many come due in minutes. Traffic is simulated exchanges, nine of ten with
an image, posted to the daemon by another process; Prometheus asks every five seconds. Costs are
processor time, which other work on the machine moves less than it moves the clock.
"""

import gzip
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.orm import Session

from monitor.commands.daemon import run_daemon
from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.service import teaching, wiring
from monitor.service.daemon import Job
from monitor.service.snapshot import Snapshot, StreamState
from monitor.service.telemetry import Telemetry
from monitor.settings import Settings
from monitor.store.engine import Database
from monitor.web.app import FAST
from monitor.web.metrics import Exposition
from tests.acceptance.program import Process, Program
from tests.integration.service.parts import HOUR, START

pytestmark = pytest.mark.benchmark

STREAMS, EACH_SECOND, IN_A_REQUEST, SECONDS, IDLE_SECONDS = 200, 60, 20, 150, 30
SENT = EACH_SECOND * SECONDS
SCRAPE_SECONDS = 5
MIB = 2**20
SETTINGS: Mapping[str, object] = {
    "http": {"listen": "127.0.0.1:0", "max_requests_per_second": 1_000_000},
    "windows": {"pane": "10s", "length": "1m", "slide": "1m", "lateness": "10s", "min_samples": 10},
    "slices": {"labels": ["tenant"]},
    "reference": {"null_draws": 50},
    "retention": {"samples": "100s"},
    "jobs": {"retain": "20s"},
    "logging": {"format": "json"},
}
COUNTED = "from tests.benchmarks.test_many_streams import stand; stand()"


def stand() -> None:
    """The daemon; at its end it writes what its jobs and its write transactions took."""
    spent, held = defaultdict[str, float](float), list[float]()
    guarded, begin = wiring.guarded, Database.begin

    def counted(name: str, job: Job, telemetry: Telemetry) -> Callable[[], None]:
        inner = guarded(name, job, telemetry)

        def run() -> None:
            before = time.thread_time()
            inner()
            spent[name] += time.thread_time() - before

        return run

    @contextmanager
    def timed(self: Database) -> Iterator[Session]:
        with begin(self) as session:
            started = time.perf_counter()
            yield session
        held.append(time.perf_counter() - started)

    wiring.guarded = counted
    teaching.guarded = counted
    Database.begin = timed  # type: ignore[method-assign]  # the same, timed
    run_daemon(Settings.model_validate(json.loads(Path("monitor.yaml").read_text())))
    held.sort()
    at = [held[int(share * (len(held) - 1))] for share in (0.5, 0.99, 1)]
    print(json.dumps({"jobs": spent, "all": time.process_time(), "held": at}))


def bodies(path: Path) -> Iterator[tuple[int, bytes]]:
    """Requests: how many exchanges were in those before, and the next ones, of now."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for sent in range(0, len(lines), IN_A_REQUEST):
        now = datetime.now(UTC).timestamp()
        part = [
            {**line, "stream": f"model-{i % STREAMS}", "time": now}
            for i, line in enumerate(lines[sent : sent + IN_A_REQUEST], start=sent)
        ]
        yield sent, "\n".join(map(json.dumps, part)).encode()


def post(client: httpx.Client, path: Path) -> None:
    """Post at an even rate."""
    started = time.monotonic()
    for sent, body in bodies(path):
        if (wait := started + sent / EACH_SECOND - time.monotonic()) > 0:
            time.sleep(wait)
        client.post("/v1/exchanges", content=body).raise_for_status()


@contextmanager
def scraped(process: Process, client: httpx.Client) -> Iterator[list[float]]:
    """Ask for the metrics now and then; how long that took, and in the end how much it was."""
    taken: list[float] = []
    is_over = threading.Event()

    def scrape() -> None:
        while not is_over.wait(SCRAPE_SECONDS):
            started = time.perf_counter()
            client.get("/metrics").raise_for_status()
            taken.append(time.perf_counter() - started)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


def cpu(process: Process) -> float:
    times = psutil.Process(process.popen.pid).cpu_times()
    return times.user + times.system


@pytest.mark.timeout(1_200)
def test_200_streams_are_watched_by_a_part_of_a_core(tmp_path: Path) -> None:
    program = Program(tmp_path, SETTINGS)
    program.done("simulate", "--count=600", "--seed=1", "--out=good.jsonl")
    program.done("reference", "build", "good.jsonl")
    program.done("simulate", f"--count={SENT}", "--seed=2", "--out=day.jsonl")
    program.command = (sys.executable, "-c", COUNTED)
    program.environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    program.settings = None  # it reads the file itself
    with program.running() as process, httpx.Client(timeout=120) as client:
        process.event("daemon_ready")
        client.base_url = httpx.URL(process.address)
        started = cpu(process)
        with scraped(process, client) as taken:
            post(client, tmp_path / "day.jsonl")
        me = psutil.Process(process.popen.pid)
        rss, files, threads = me.memory_info().rss, me.num_fds(), me.num_threads()
        series = sum(line[0] != "#" for line in client.get("/metrics").text.splitlines())
        loaded = cpu(process)
        unsettled = "SELECT count(*) FROM panes WHERE revision <> settled_revision"
        process.until("the last window", lambda: program.query(unsettled) == [(0,)])
        stored = "SELECT count(*) FROM samples"
        process.until("an end of what is kept", lambda: program.query(stored) == [(0,)])
        idle = cpu(process)
        time.sleep(IDLE_SECONDS)
        idle = cpu(process) - idle
        stopping = time.monotonic()
        assert process.terminate() == 0
        stopped = time.monotonic() - stopping
    told = json.loads(process.out.read_text())
    jobs, events = told["jobs"], process.events()
    sizes = [e["n"] for e in events if e["event"] == "window_measured"]
    windows = len(sizes)
    ((admitted,),) = program.query("SELECT sum(count) FROM counters WHERE outcome = 'admitted'")
    ((kept,),) = program.query("SELECT sum(count) FROM counters WHERE outcome = 'sampled'")
    http = told["all"] - sum(jobs.values()) - started
    size = (tmp_path / "mllm-monitor.db").stat().st_size
    median, p99, longest = (1000 * seconds for seconds in told["held"])
    print(
        f"\n{STREAMS} streams, {SENT} exchanges, {kept} kept, {windows} windows; "
        f"{(loaded - started) / SECONDS:.2f} of a core under traffic"
        f"\n  an exchange taken {1000 * http / SENT:.2f} ms (pages and scrapes among it), "
        f"a sample embedded {1000 * jobs['embed'] / kept:.1f} ms, "
        f"a window of {sum(sizes) / windows:.0f} measured {1000 * jobs['measure'] / windows:.0f} ms"
        f"\n  a stream and second without traffic {1e6 * idle / STREAMS / IDLE_SECONDS:.0f} us, "
        f"retention {jobs['retain']:.1f} s in all"
        f"\n  write lock held {median:.1f} ms, {p99:.0f} ms (99 %), {longest:.0f} ms at most"
        f"\n  {rss / MIB:.0f} MiB, {files} files, {threads} threads, database {size / MIB:.0f} MiB;"
        f" {series} series in {sorted(taken)[len(taken) // 2]:.2f} s; stopped in {stopped:.1f} s"
    )
    assert admitted == SENT
    assert windows > STREAMS
    assert [e["event"] for e in events if e["level"] in {"error", "critical"}] == []
    assert files < 64


def measured(stream: str, slices: int, rng: np.random.Generator) -> Iterator[Measurement]:
    """Every signal with all that it may say, in so many slices, the whole window among them."""
    for key in (ALL, *(f"tenant=t{i}" for i in range(1, slices))):
        for signal in Signal:
            yield Measurement(
                stream=stream,
                slice_key=key,
                signal=signal,
                window=WindowId(START, START + HOUR),
                n=1_500,
                verdict=Verdict.IN_CONTROL,
                reference="normal@0123",
                value=rng.random(),
                stderr=rng.random(),
                threshold=rng.random(),
                excess_ratio=rng.normal(),
                p_value=rng.random(),
                evidence=rng.random(),
                evidence_threshold=1e4,
                persistent=False,
            )


@pytest.mark.parametrize("slices", [1, 4, 21])
def test_what_prometheus_is_given_is_bounded_and_made_once(slices: int) -> None:
    end = START + HOUR
    streams, rng = {}, np.random.default_rng(1)
    for name in (f"model-{i}" for i in range(STREAMS)):
        window = WindowId(START, end)
        summary = WindowSummary(
            name, window, "normal@0123", 1, 9_000, 1_500, 700, {"inline": 9}, end
        )
        streams[name] = StreamState(end, None, summary, tuple(measured(name, slices, rng)), end)
    latest = [Snapshot(end, streams)]
    exposition = Exposition(CollectorRegistry(), lambda: latest[0], HOUR / 4)
    page, first = with_cost(lambda: exposition("")[0])
    latest[0] = Snapshot(end + HOUR / 60, streams, [("http", "auto", "admitted", 1)])
    _, again = with_cost(lambda: exposition("")[0])
    small, compressing = with_cost(lambda: gzip.compress(page, FAST))
    series = sum(line[:1] != b"#" for line in page.splitlines())
    print(
        f"\n{STREAMS} streams, {slices} slices: {series} series, {len(page) / MIB:.1f} MiB, "
        f"{first:.2f} s of a core after all were measured, {again:.3f} s a scrape until then, "
        f"and {compressing:.2f} s to make {len(small) / MIB:.1f} MiB of it",
        end="",
    )
    of_a_signal = 7  # its value and what is said of every signal
    assert series <= STREAMS * (slices * (of_a_signal * len(Signal) + 3) + 20) + 10
    assert again < 0.5 * first  # a twentieth with slices


def with_cost(make: Callable[[], bytes]) -> tuple[bytes, float]:
    """What is made, and what it took of a core."""
    started = time.process_time()
    made = make()
    return made, time.process_time() - started
