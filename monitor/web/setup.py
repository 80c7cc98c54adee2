"""What the daemon was set to, as metrics: what rules compare with, and where links lead."""

from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

DISTRIBUTION = "mllm-drift-monitor"


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that an alert depends on, so that no rule repeats a number of theirs."""

    external_url: str
    grafana_url: str
    window_length_seconds: float
    window_lateness_seconds: float
    window_min_samples: int
    reference_max_age_seconds: float


def register_setup(registry: CollectorRegistry, setup: Setup) -> None:
    """One series each, for as long as the process lives."""
    info = Gauge(
        "mllm_monitor_info",
        "Version, and the addresses under which people find the monitor and Grafana.",
        ["version", "external_url", "grafana_url"],
        registry=registry,
    )
    info.labels(
        version(DISTRIBUTION), setup.external_url.rstrip("/"), setup.grafana_url.rstrip("/")
    ).set(1)
    for name, text, value in (
        ("window_length_seconds", "Length of a window.", setup.window_length_seconds),
        ("window_lateness_seconds", "How late an event may come.", setup.window_lateness_seconds),
        ("window_min_samples", "Fewer samples are not judged.", setup.window_min_samples),
        (
            "reference_max_age_seconds",
            "Age at which a reference should be built again.",
            setup.reference_max_age_seconds,
        ),
    ):
        Gauge(f"mllm_monitor_{name}", text, registry=registry).set(value)


def register_process(registry: CollectorRegistry) -> None:
    """Memory, processor time and open files of this process, by the names all programs use."""
    ProcessCollector(registry=registry)
