"""docs/metrics.md and what is exported say the same."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from monitor.records import (
    ALL,
    ImageState,
    Measurement,
    ReferenceVersion,
    Signal,
    Verdict,
    WindowId,
    WindowSummary,
)
from monitor.service.snapshot import Snapshot, StreamState
from monitor.service.telemetry import JOBS, Telemetry
from monitor.web.metrics import measured_families, other_families
from monitor.web.setup import Setup, register_setup
from tests.integration.service.parts import NOW, START

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
OF_THE_TYPE = {"le"}  # of every histogram


def full_snapshot() -> Snapshot:
    """One stream with every signal, every count and a reference."""
    window = WindowId(START, START + timedelta(hours=1))
    measurements = tuple(
        Measurement(
            "llava",
            ALL,
            signal,
            window,
            9,
            Verdict.DRIFTING,
            "n@1",
            *(0.1, 0.1, 0, 1, 2, 0.5),
            evidence=20.0,
            evidence_threshold=5000.0,
            persistent=False,
        )
        for signal in Signal
    )
    states = {state.value: 1 for state in ImageState}
    summary = WindowSummary("llava", window, "n@1", 1, 9, 9, 3, states, NOW)
    facts = {"calibration": {"exchanges": 4, "targets": 1}}
    version = ReferenceVersion("d" * 64, "n", NOW, "e" * 64, facts)
    counts = [("a", "auto", outcome, 1) for outcome in ("admitted", "sampled", "unknown_keys")]
    return Snapshot(
        NOW, {"llava": StreamState(NOW, version, summary, measurements, NOW)}, counts, 3
    )


@pytest.fixture(scope="module")
def exported() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of every metric, by the name that a query uses."""
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    telemetry.source_lag.labels("a").set(1)
    register_setup(registry, Setup("http://monitor/", "http://grafana/", 3600, 600, 30, 7776000))
    families = [*of_snapshot(), *registry.collect()]
    return {_name(family): (family.type, _labels(family)) for family in families}


def of_snapshot() -> list[Metric]:
    snapshot = full_snapshot()
    return [
        *measured_families(snapshot.streams),
        *other_families(snapshot, timedelta(minutes=5)),
    ]


def _name(family: Metric) -> str:
    plain = family.name.removeprefix("mllm_monitor_")
    return f"{plain}_total" if family.type == "counter" else plain


def _labels(family: Metric) -> frozenset[str]:
    assert family.samples, family.name
    return frozenset(label for s in family.samples for label in s.labels) - OF_THE_TYPE


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_page_lists_every_metric_with_its_type_and_labels_and_no_other(
    exported: dict[str, tuple[str, frozenset[str]]],
) -> None:
    assert documented() == exported


def test_every_metric_has_the_prefix() -> None:
    registry = CollectorRegistry()
    Telemetry(registry)
    names = [family.name for family in (*of_snapshot(), *registry.collect())]
    assert [name for name in names if not name.startswith("mllm_monitor_")] == []


@pytest.mark.parametrize(
    "word", [*(s.value for s in Signal), *(s.value for s in ImageState), *JOBS]
)
def test_every_value_of_the_closed_labels_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in PAGE.read_text(encoding="utf-8")


BESIDE_VALUES = {
    "mllm_monitor_window_samples",
    "mllm_monitor_emi_stderr_nats",
    "mllm_monitor_emi_samples",
}


def test_every_signal_has_exactly_one_value_series() -> None:
    of_values = {
        (s.name, *sorted(s.labels.items()))
        for family in of_snapshot()
        for s in family.samples
        if "slice" in s.labels and "signal" not in s.labels and s.name not in BESIDE_VALUES
    }
    assert len(of_values) == len(Signal)


def test_links_are_exported_without_the_slash_at_their_end() -> None:
    registry = CollectorRegistry()
    register_setup(registry, Setup("http://monitor/", "", 3600, 600, 30, 7776000))
    (info,) = (f for f in registry.collect() if f.name == "mllm_monitor_info")
    assert info.samples[0].labels["external_url"] == "http://monitor"
    assert info.samples[0].labels["grafana_url"] == ""
