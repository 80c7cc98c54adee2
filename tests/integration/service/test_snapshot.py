from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.records import ALL, Signal, Verdict, WindowId
from monitor.service.snapshot import KEEP_SILENT, NEED_TARGETS, Publisher
from monitor.service.telemetry import JOBS, Telemetry
from monitor.service.verdict import in_words
from monitor.store.engine import Database
from monitor.store.windows import record_window
from tests.integration.service.parts import (
    HOUR,
    NOW,
    Clock,
    Rig,
    admit,
    exchange,
    late_target,
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
    shown.refresh(again=())
    assert shown.latest().streams["llava"].measurements is before
    shown.refresh(again={"llava"})
    assert shown.latest().streams["llava"].measurements is not before


def test_streams_that_were_not_measured_are_not_read_again_with_those_that_were(rig: Rig) -> None:
    shown = rig.around.publisher
    admit(rig.around.intake, [exchange(f"o{i}", i / 2, stream="other") for i in range(30)])
    rig.work()
    shown.refresh()
    before = shown.latest().streams
    admit(rig.around.intake, [late_target("o1", stream="other")])
    rig.work()
    assert rig.jobs.measure.measured == {"other"}
    shown.refresh(again=rig.jobs.measure.measured)
    after = shown.latest().streams
    assert after["llava"].measurements is before["llava"].measurements
    assert after["other"].measurements is not before["other"].measurements


def test_a_new_window_is_seen_at_once(rig: Rig) -> None:
    shown = rig.around.publisher
    shown.refresh()
    before = shown.latest().streams["llava"].measurements
    admit(rig.around.intake, traffic(60, 12, start=12, seed=1))
    rig.work()
    shown.refresh(again=())
    after = shown.latest().streams["llava"].measurements
    assert after[0].window.end > before[0].window.end


def test_only_the_newest_window_is_in_it(rig: Rig) -> None:
    rig.around.publisher.refresh()
    state = rig.around.publisher.latest().streams["llava"]
    assert state.summary is not None
    windows = {m.window for m in state.measurements if m.signal not in NEED_TARGETS}
    assert windows == {state.summary.window}


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


def wait_for_targets(rig: Rig, windows_later: int) -> WindowId:
    """A window with all its targets, and a later one for which none has come; the first of them."""
    rig.around.publisher.refresh()
    state = rig.around.publisher.latest().streams["llava"]
    assert state.summary is not None
    window = state.summary.window
    step = windows_later * (window.end - window.start)
    later = WindowId(window.start + step, window.end + step)
    known = [
        replace(m, window=window, verdict=Verdict.IN_CONTROL, value=0.1, null_mean=0.1)
        for m in state.measurements
    ]
    waiting = [
        replace(m, window=later, verdict=Verdict.INSUFFICIENT, value=None)
        if m.signal in NEED_TARGETS
        else replace(m, window=later)
        for m in known
    ]
    with rig.database.begin() as session:
        record_window(session, state.summary, known)
        record_window(session, replace(state.summary, window=later), waiting)
    return window


def shown_windows(rig: Rig, targets_within: timedelta) -> dict[Signal, WindowId]:
    found = Publisher(database=rig.database, clock=Clock(NOW), targets_within=targets_within)
    found.refresh()
    measured = found.latest().streams["llava"].measurements
    return {m.signal: m.window for m in measured if m.slice_key == ALL}


def test_while_the_newest_window_waits_for_targets_emi_of_the_last_that_has_them_is_shown(
    rig: Rig,
) -> None:
    before = wait_for_targets(rig, 3)
    shown = shown_windows(rig, 2 * (before.end - before.start))
    assert {shown[signal] for signal in NEED_TARGETS} == {before}
    assert shown[Signal.TEXTUAL_DISCREPANCY].start > before.end


def test_targets_that_can_no_longer_come_are_not_waited_for(rig: Rig) -> None:
    before = wait_for_targets(rig, 3)
    shown = shown_windows(rig, (before.end - before.start) / 2)
    assert before not in shown.values()


def test_words_say_which_window_emi_is_of_where_later_ones_wait(rig: Rig) -> None:
    before = wait_for_targets(rig, 1)
    found = Publisher(database=rig.database, clock=Clock(NOW), targets_within=HOUR)
    found.refresh()
    said = " ".join(in_words(found.latest().streams["llava"].measurements))
    assert f"in the window {before.start:%H:%M} to {before.end:%H:%M}: later ones wait" in said
