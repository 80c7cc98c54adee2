import errno
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from monitor.commands.daemon import running
from monitor.errors import (
    AlreadyRunningError,
    ReferenceMismatchError,
    SchemaMismatchError,
    StoreError,
)
from monitor.service import wiring
from monitor.service.daemon import guarded, scheduled, stop_on_signals
from monitor.service.logs import configure_logs
from monitor.service.telemetry import Telemetry
from monitor.service.wiring import opened_database, schedule
from monitor.store.engine import Database, open_database
from monitor.store.migrations import current_revision, expected_revision
from monitor.store.pending import pending_count
from tests.integration.service.parts import (
    Clock,
    Rig,
    admit,
    exchange,
    hash_encoders,
    small_settings,
    store_reference,
)

SOON = timedelta(milliseconds=10)
PATIENCE = 30  # seconds; a test that is fine waits for a fraction of one


def metric(telemetry: Telemetry, name: str, job: str) -> float | None:
    return telemetry.registry.get_sample_value(f"mllm_monitor_{name}", {"job": job})


# --- one job


def test_a_job_that_fails_is_counted_logged_and_run_again() -> None:
    telemetry, tried = Telemetry(CollectorRegistry()), threading.Semaphore(0)

    def fails() -> None:
        tried.release()
        raise RuntimeError("no space left")

    with (
        structlog.testing.capture_logs() as logs,
        scheduled({"embed": (SOON, guarded("embed", fails, telemetry))}),
    ):
        assert tried.acquire(timeout=PATIENCE)
        assert tried.acquire(timeout=PATIENCE)
    failures = metric(telemetry, "job_failures_total", "embed")
    assert failures is not None
    assert failures >= 2
    assert {(entry["event"], entry["job"]) for entry in logs} == {("job_failed", "embed")}


def test_a_problem_that_lasts_is_told_once_counted_each_time_and_told_to_be_over() -> None:
    telemetry = Telemetry(CollectorRegistry())
    away, full = StoreError("the database is away"), StoreError("the disk is full")
    ends: list[Exception | None] = [away, away, full, full, None, None, away]
    runs = iter(ends)

    def job() -> None:
        if (end := next(runs)) is not None:
            raise end

    run = guarded("embed", job, telemetry)
    with structlog.testing.capture_logs() as logs:
        for _ in ends:
            run()
    told = [(entry["event"], entry.get("problem")) for entry in logs]
    assert told == [
        ("job_failed", "the database is away"),
        ("job_failed", "the disk is full"),
        ("job_recovered", None),
        ("job_failed", "the database is away"),
    ]
    assert metric(telemetry, "job_failures_total", "embed") == 5


def test_every_run_is_timed_also_one_that_fails() -> None:
    telemetry = Telemetry(CollectorRegistry())
    guarded("measure", lambda: None, telemetry)()
    guarded("measure", lambda: 1 / 0, telemetry)()  # type: ignore[arg-type,return-value]  # raises
    assert metric(telemetry, "job_seconds_count", "measure") == 2


def test_leaving_waits_for_the_unit_at_hand_and_starts_none_after() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), []

    def job() -> None:
        begun.set()
        may_end.wait(PATIENCE)
        done.append(1)

    with scheduled({"slow": (SOON, job)}):
        assert begun.wait(PATIENCE)
        may_end.set()
    count = len(done)
    assert count >= 1
    assert len(done) == count


def test_a_job_never_runs_beside_itself() -> None:
    lock, overlaps, runs = threading.Lock(), [], threading.Semaphore(0)

    def job() -> None:
        if not lock.acquire(blocking=False):
            overlaps.append(1)
            return
        runs.release()
        threading.Event().wait(0.05)
        lock.release()

    with scheduled({"slow": (SOON, job)}):
        for _ in range(3):
            assert runs.acquire(timeout=PATIENCE)
    assert overlaps == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_to_stop_and_the_handlers_of_before_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(PATIENCE)
    assert signal.getsignal(number) is before


# --- the plan


def test_each_job_is_planned_at_its_interval(database: Database, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, jobs={"ingest": "3s", "retain": "1h"})
    rig = Rig(settings, database)
    plan = schedule(settings, rig.jobs, rig.around)
    intervals = {name: interval.total_seconds() for name, (interval, _) in plan.items()}
    assert intervals == {"ingest": 3, "embed": 2, "measure": 5, "retain": 3600}


def test_the_snapshot_follows_what_was_ingested(database: Database, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    rig = Rig(settings, database)
    admit(rig.around.intake, [exchange("a")])
    schedule(settings, rig.jobs, rig.around)["ingest"][1]()
    assert list(rig.around.publisher.latest().streams) == ["llava"]


# --- the database


def test_an_embedded_database_is_made_and_brought_to_the_right_revision(tmp_path: Path) -> None:
    with opened_database(small_settings(tmp_path)) as database:
        assert current_revision(database) == expected_revision()


def test_opening_a_database_that_is_right_waits_for_no_writer(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with opened_database(settings) as writer, writer.begin(), opened_database(settings) as other:
        assert current_revision(other) == expected_revision()


@pytest.mark.postgres
def test_a_postgresql_at_no_revision_is_refused_with_the_command_that_mends_it(
    postgres_url: str, tmp_path: Path
) -> None:
    import psycopg  # noqa: PLC0415 - only here

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE unmade")
    head, _, query = postgres_url.partition("?")
    url = f"{head.rpartition('/')[0]}/unmade" + (f"?{query}" if query else "")
    settings = small_settings(tmp_path, database={"url": url})
    with pytest.raises(SchemaMismatchError, match="db upgrade"), opened_database(settings):
        pass
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE unmade WITH (FORCE)")


# --- the whole


@pytest.fixture
def quick_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.commands.daemon.load_encoders", lambda settings: hash_encoders())


@pytest.mark.usefixtures("quick_encoders")
def test_a_second_daemon_on_the_same_file_is_refused(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with (
        running(settings, clock=Clock(), stop=threading.Event()),
        pytest.raises(AlreadyRunningError, match="already works on"),
        running(settings, clock=Clock(), stop=threading.Event()),
    ):
        pass


@pytest.mark.usefixtures("quick_encoders")
def test_a_reference_of_other_encoders_refuses_the_start_with_both_digests(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with opened_database(settings) as database, database.begin() as session:
        store_reference(session, salt="other")
    with pytest.raises(ReferenceMismatchError) as refused:  # noqa: SIM117 - read apart
        with running(settings, clock=Clock(), stop=threading.Event()):
            pass
    assert hash_encoders().digest[:12] in str(refused.value)
    assert hash_encoders("other").digest[:12] in str(refused.value)


@pytest.mark.usefixtures("quick_encoders")
def test_claims_of_a_daemon_that_was_killed_are_taken_up_at_once(tmp_path: Path) -> None:
    from monitor.store.pending import claim_pending  # noqa: PLC0415 - only here

    settings = small_settings(tmp_path, jobs={"embed": "1s", "ingest": "1s"})
    clock = Clock()
    with opened_database(settings) as database:
        rig = Rig(settings, database, clock=clock)
        admit(rig.around.intake, [exchange("a")])
        with database.begin() as session:
            claim_pending(session, 10, wiring.utc_now(), timedelta(days=1))
    embedded = threading.Event()
    with running(settings, clock=clock, stop=threading.Event()) as (_, around):
        for _ in range(PATIENCE * 10):
            with around.database.read() as session:
                if not pending_count(session):
                    embedded.set()
                    break
            around.stop.wait(0.1)
    assert embedded.is_set()


@pytest.mark.usefixtures("quick_encoders")
def test_leaving_ends_every_thread_of_the_daemon(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with running(small_settings(tmp_path), clock=Clock(), stop=threading.Event()):
        pass
    left = [t.name for t in threading.enumerate() if t not in before and t.is_alive()]
    assert [name for name in left if not name.startswith("asyncio")] == []


@pytest.mark.usefixtures("quick_encoders")
def test_leaving_tells_the_jobs_to_stop_before_it_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, told = threading.Event(), []
    running_job = threading.Event()

    def backlog() -> None:
        running_job.set()
        told.append(stop.wait(PATIENCE))

    monkeypatch.setattr("monitor.commands.daemon.schedule", lambda *_: {"ingest": (SOON, backlog)})
    with running(small_settings(tmp_path), clock=Clock(), stop=stop):
        assert running_job.wait(PATIENCE)
    assert told == [True]


def test_asked_to_stop_while_the_encoders_load_it_ends_as_soon_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    def load(settings: object) -> object:
        del settings
        os.kill(os.getpid(), signal.SIGTERM)
        return hash_encoders()

    monkeypatch.setattr("monitor.commands.daemon.load_encoders", load)
    with stop_on_signals(stop), running(small_settings(tmp_path), clock=Clock(), stop=stop):
        assert stop.wait(PATIENCE)


# --- logs


class Full(io.StringIO):
    """A log on a disk without space."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., io.StringIO]]:
    import logging  # noqa: PLC0415 - only here

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with ExitStack() as stack:
        stack.callback(structlog.reset_defaults)

        def configure(form: str, stream: io.StringIO | None = None) -> io.StringIO:
            stream = stream or io.StringIO()
            monkeypatch.setattr(sys, "stderr", stream)
            configure_logs(level="info", form=form)
            return stream

        yield configure
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("form", ["json", "console"])
def test_work_goes_on_while_its_log_cannot_be_written(
    logged: Callable[..., io.StringIO], form: str
) -> None:
    logged(form, Full())
    telemetry = Telemetry(CollectorRegistry())
    guarded("embed", lambda: structlog.get_logger().info("embedded"), telemetry)()
    assert metric(telemetry, "job_failures_total", "embed") == 0
    guarded("embed", lambda: 1 / 0, telemetry)()  # type: ignore[arg-type,return-value]  # raises
    assert metric(telemetry, "job_failures_total", "embed") == 1


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variables(
    logged: Callable[[str], io.StringIO], form: str
) -> None:
    stream = logged(form)

    def fails(content: str) -> None:
        raise RuntimeError("no space left" + content[:0])

    said = " ".join(["patient", "zero"])  # not to be found in the source line
    guarded("embed", lambda: fails(said), Telemetry(CollectorRegistry()))()
    assert "no space left" in stream.getvalue()
    assert said not in stream.getvalue()


def test_json_logs_are_one_object_a_line_also_from_libraries(
    logged: Callable[[str], io.StringIO],
) -> None:
    import logging  # noqa: PLC0415 - only here

    stream = logged("json")
    structlog.get_logger().info("window_measured", n=3)
    logging.getLogger("uvicorn.error").warning("odd %s", "request")
    logging.getLogger("apscheduler.scheduler").warning("skipped: still running")
    entries = [json.loads(row) for row in stream.getvalue().splitlines()]
    assert [(e["event"], e["level"]) for e in entries] == [
        ("window_measured", "info"),
        ("odd request", "warning"),
    ]


def test_below_the_level_nothing_is_logged(logged: Callable[[str], io.StringIO]) -> None:
    stream = logged("json")
    structlog.get_logger().debug("batch_admitted")
    assert stream.getvalue() == ""


def test_opening_a_file_database_twice_is_fine_for_reading(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with opened_database(settings), open_database(settings.database.url) as other:
        assert current_revision(other) == expected_revision()
