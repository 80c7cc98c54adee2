"""The long-running process: jobs on a schedule until told to stop."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from monitor.errors import MonitorError
from monitor.service.telemetry import Telemetry

log = structlog.get_logger()
Job = Callable[[], None]


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop``; the handlers of before come back at the end."""

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {
        number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def guarded(name: str, job: Job, telemetry: Telemetry) -> Job:
    """The job timed; a failure is logged and counted, and the next run finds the work again.

    What has a name, such as a database that is away, is told once for as long as it lasts.
    """
    told = ""

    def run() -> None:
        nonlocal told
        with telemetry.job(name):
            try:
                job()
            except MonitorError as exc:
                telemetry.failed(name)
                if str(exc) != told:
                    told = str(exc)
                    log.error("job_failed", job=name, problem=told)  # noqa: TRY400 - one line
            except Exception:  # one failed run must not end the schedule
                telemetry.failed(name)
                log.exception("job_failed", job=name)
            else:
                if told:
                    log.info("job_recovered", job=name)
                told = ""

    return run


@contextmanager
def scheduled(jobs: Mapping[str, tuple[timedelta, Job]]) -> Iterator[None]:
    """Run each job at its interval; leaving waits until every running unit is finished.

    There is no job store: jobs come from code, progress from the database.
    """
    scheduler = BackgroundScheduler(timezone="UTC")
    closed = threading.Event()

    def unless_closed(job: Job) -> Job:
        def run() -> None:
            # A job may be handed to a thread while the scheduler shuts down.
            if not closed.is_set():
                job()

        return run

    for name, (interval, job) in jobs.items():
        scheduler.add_job(
            unless_closed(job),
            IntervalTrigger(seconds=interval.total_seconds(), timezone="UTC"),
            id=name,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
    scheduler.start()
    try:
        yield
    finally:
        closed.set()
        scheduler.shutdown(wait=True)
