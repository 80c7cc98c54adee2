from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.records import Signal
from monitor.service.snapshot import KEEP_SILENT, Publisher
from monitor.service.telemetry import JOBS, Telemetry
from monitor.store.engine import Database
from tests.integration.service.parts import (
    NOW,
    Clock,
    Rig,
    admit,
    exchange,
    small_settings,
    store_reference,
    traffic,
)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    with database.begin() as session:
        store_reference(session)
    rig = Rig(small_settings(tmp_path), database)
    admit(rig.around.intake, traffic(60, 12))
    rig.work()
    yield rig  # noqa: PT022 - nothing to close


def publisher(rig: Rig, after: timedelta = timedelta()) -> Publisher:
    return Publisher(database=rig.database, clock=Clock(NOW + after))


def test_before_the_first_refresh_there_is_nothing(rig: Rig) -> None:
    snapshot = publisher(rig).latest()
    assert (dict(snapshot.streams), snapshot.taken_at) == ({}, NOW)


def test_after_a_restart_one_refresh_shows_what_was_measured_before(rig: Rig) -> None:
    rig.around.publisher.refresh()
    anew = publisher(rig)
    anew.refresh()
    before, after = rig.around.publisher.latest(), anew.latest()
    assert after.streams["llava"].measurements == before.streams["llava"].measurements
    assert len(after.streams["llava"].measurements) == len(Signal)


def test_what_was_not_measured_since_is_not_read_again_unless_asked(rig: Rig) -> None:
    shown = rig.around.publisher
    shown.refresh()
    before = shown.latest().streams["llava"].measurements
    shown.refresh(again=False)
    assert shown.latest().streams["llava"].measurements is before
    shown.refresh()
    assert shown.latest().streams["llava"].measurements is not before


def test_a_new_window_is_seen_at_once(rig: Rig) -> None:
    shown = rig.around.publisher
    shown.refresh()
    before = shown.latest().streams["llava"].measurements
    admit(rig.around.intake, traffic(60, 12, start=12, seed=1))
    rig.work()
    shown.refresh(again=False)
    after = shown.latest().streams["llava"].measurements
    assert after[0].window.end > before[0].window.end


def test_only_the_newest_window_is_in_it(rig: Rig) -> None:
    rig.around.publisher.refresh()
    state = rig.around.publisher.latest().streams["llava"]
    assert state.summary is not None
    assert {m.window for m in state.measurements} == {state.summary.window}


def test_a_stream_keeps_its_last_values_for_a_day_and_then_leaves(rig: Rig) -> None:
    late = publisher(rig, KEEP_SILENT - timedelta(seconds=1))
    late.refresh()
    assert late.latest().streams["llava"].measurements
    too_late = publisher(rig, KEEP_SILENT)
    too_late.refresh()
    assert "llava" not in too_late.latest().streams


def test_a_stream_with_traffic_that_is_not_measured_stays_without_old_values(rig: Rig) -> None:
    later = NOW + KEEP_SILENT
    rig.clock.now = later
    minutes = (later - timedelta(hours=1) - NOW) / timedelta(minutes=1) + 20 * 60
    admit(rig.around.intake, [exchange("new", minutes)], partition="b")
    rig.around.publisher.refresh()
    state = rig.around.publisher.latest().streams["llava"]
    assert (state.measurements, state.summary is None) == ((), False)


def test_a_stream_that_was_never_measured_stays_to_say_what_is_missing(
    database: Database, tmp_path: Path
) -> None:
    rig = Rig(small_settings(tmp_path), database)
    admit(rig.around.intake, [exchange("old", 0)])
    rig.work()
    rig.clock.now += timedelta(days=3)
    rig.around.publisher.refresh()
    state = rig.around.publisher.latest().streams["llava"]
    assert (state.reference, state.summary) == (None, None)


def test_it_counts_what_waits_for_embeddings(database: Database, tmp_path: Path) -> None:
    rig = Rig(small_settings(tmp_path), database)
    admit(rig.around.intake, [exchange(f"e{i}") for i in range(7)])
    rig.around.publisher.refresh()
    before = rig.around.publisher.latest().pending_samples
    rig.work()
    rig.around.publisher.refresh()
    assert (before, rig.around.publisher.latest().pending_samples) == (7, 0)


def test_a_snapshot_that_was_handed_out_does_not_change(rig: Rig) -> None:
    rig.around.publisher.refresh()
    held = rig.around.publisher.latest()
    counts = list(held.counts)
    admit(rig.around.intake, [exchange("more", 12.5)])
    rig.around.publisher.refresh()
    assert list(held.counts) == counts
    assert rig.around.publisher.latest() is not held


def test_every_job_has_its_series_from_the_start() -> None:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - only here

    registry = CollectorRegistry()
    Telemetry(registry)
    values = [
        registry.get_sample_value("mllm_monitor_job_failures_total", {"job": job}) for job in JOBS
    ]
    assert values == [0.0] * len(JOBS)
