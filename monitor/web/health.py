"""How the monitor itself is, for the strip on top of the overview; without a query."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry

from monitor.service.intake import ADMITTED, SAMPLED
from monitor.service.snapshot import Snapshot

_FAILURES, _LAG = "mllm_monitor_job_failures_total", "mllm_monitor_source_lag_seconds"


@dataclass(frozen=True, slots=True)
class Health:
    """What a person asks first who does not trust the rest of the page."""

    reasons: Sequence[str]  # why it is not ready; none when it is
    admitted: int
    sampled: int
    pending: int
    failures: Mapping[str, int]  # jobs that have failed, and how often since the start
    lag_seconds: float | None
    measured_at: datetime | None


def health_of(snapshot: Snapshot, registry: CollectorRegistry, reasons: Sequence[str]) -> Health:
    """From the snapshot and the instruments of the jobs."""
    failures = {
        labels["job"]: int(value) for labels, value in _samples(registry, _FAILURES) if value
    }
    measured = [s.summary.measured_at for s in snapshot.streams.values() if s.summary]
    counted = {ADMITTED: 0, SAMPLED: 0}
    for *_, outcome, count in snapshot.counts:
        if outcome in counted:
            counted[outcome] += count
    return Health(
        reasons=reasons,
        admitted=counted[ADMITTED],
        sampled=counted[SAMPLED],
        pending=snapshot.pending_samples,
        failures=failures,
        lag_seconds=max((value for _, value in _samples(registry, _LAG)), default=None),
        measured_at=max(measured, default=None),
    )


def _samples(registry: CollectorRegistry, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for family in registry.restricted_registry([name]).collect():
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


def instrument(registry: CollectorRegistry, name: str) -> float | None:
    """The value of an instrument without labels, if there is one of that name."""
    return next((value for _, value in _samples(registry, name)), None)
