"""What the daemon says about its own work: timings, failures, lags."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitor.service.completion import Outcome
from monitor.store.teacher import Skip

JOBS = ("ingest", "embed", "measure", "retain", "teacher")


class Telemetry:
    """Instruments on one registry. Every job has its series from the start, at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._job_seconds = Histogram(
            "mllm_monitor_job_seconds",
            "Wall time of one run of a job.",
            ["job"],
            buckets=(0.01, 0.1, 0.5, 1, 5, 15, 60, 300),
            registry=registry,
        )
        self._job_failures = Counter(
            "mllm_monitor_job_failures_total",
            "Runs of a job, or units of its work, that failed.",
            ["job"],
            registry=registry,
        )
        self.embed_seconds = Histogram(
            "mllm_monitor_embed_seconds",
            "Wall time to embed one batch of samples.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60),
            registry=registry,
        )
        self.source_lag = Gauge(
            "mllm_monitor_source_lag_seconds",
            "Age of the newest exchange read from a source that still has unread data, else 0.",
            ["source"],
            registry=registry,
        )
        self.teacher_calls = Counter(
            "mllm_monitor_teacher_calls_total",
            "Calls of the teacher, by how they ended.",
            ["outcome"],
            registry=registry,
        )
        self.teacher_skipped = Counter(
            "mllm_monitor_teacher_skipped_total",
            "Samples that the teacher was to answer and does not, by why.",
            ["reason"],
            registry=registry,
        )
        self.teacher_tokens = Counter(
            "mllm_monitor_teacher_tokens_total",
            "Tokens that calls of the teacher cost, estimated where it does not tell.",
            registry=registry,
        )
        self.teacher_breaker = Gauge(
            "mllm_monitor_teacher_breaker_open",
            "1 where the teacher is left alone because it failed, else 0.",
            registry=registry,
        )
        self.leader = Gauge(
            "mllm_monitor_leader", "1 where this process measures windows.", registry=registry
        )
        for job in JOBS:
            self._job_seconds.labels(job)
            self._job_failures.labels(job)
        for outcome in Outcome:
            self.teacher_calls.labels(outcome)
        for reason in Skip:
            self.teacher_skipped.labels(reason)

    @contextmanager
    def job(self, name: str) -> Iterator[None]:
        """Time one run."""
        with self._job_seconds.labels(name).time():
            yield

    def failed(self, job: str) -> None:
        """Count one failed unit of work."""
        self._job_failures.labels(job).inc()
