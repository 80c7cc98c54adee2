from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import structlog

from monitor.records import ALL, Measurement, Sample, Signal, Verdict
from monitor.service import measure_job as measure_module
from monitor.service.measure import slices_of, uniform_sample
from monitor.store.engine import Database
from monitor.store.panes import PaneState
from monitor.store.windows import latest_windows
from tests.integration.service.parts import (
    MINUTE,
    NOW,
    PANE,
    START,
    Rig,
    admit,
    at,
    everything_measured,
    exchange,
    late_target,
    small_settings,
    store_reference,
    traffic,
)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    yield Rig(small_settings(tmp_path), database)  # noqa: PT022 - a subclass may close it


def work(rig: Rig, lines: list[bytes]) -> list[Measurement]:
    """Admit the lines, close everything and measure."""
    admit(rig.around.intake, lines)
    rig.work()
    return everything_measured(rig.database)


def windows(measured: list[Measurement]) -> set[tuple[float, float]]:
    """Start and end of each window, in minutes since ``START``."""
    return {((m.window.start - START) / MINUTE, (m.window.end - START) / MINUTE) for m in measured}


def activated(rig: Rig, stream: str = "*", *, salt: str = "") -> str:
    with rig.database.begin() as session:
        return store_reference(session, salt=salt, stream=stream)


def test_every_window_that_holds_an_event_is_measured(rig: Rig) -> None:
    activated(rig)
    assert windows(work(rig, traffic(60, 12))) == {(-10, 5), (-5, 10), (0, 15), (5, 20), (10, 25)}


def test_every_signal_is_measured_of_the_whole(rig: Rig) -> None:
    activated(rig)
    measured = work(rig, traffic(80, 14.9))
    whole = [m for m in measured if (m.window.start, m.slice_key) == (START, ALL)]
    assert sorted(m.signal for m in whole) == sorted(Signal)


def test_with_images_and_targets_every_signal_has_a_value_and_a_threshold(rig: Rig) -> None:
    identity = activated(rig)
    measured = work(rig, traffic(80, 14.9))
    whole = [m for m in measured if m.window.start == START]
    assert {m.reference for m in whole} == {identity}
    assert [m.signal for m in whole if m.value is None or m.threshold is None] == []


def test_exchanges_that_all_look_the_same_are_drifting(rig: Rig) -> None:
    activated(rig)
    lines = [exchange(f"e{i}", i / 10, query={"text": "same"}, response="same") for i in range(60)]
    measured = work(rig, lines)
    verdicts = {m.signal: m.verdict for m in measured if m.window.start == START}
    assert verdicts[Signal.TEXTUAL_DISCREPANCY] is Verdict.DRIFTING
    assert verdicts[Signal.RESPONSE_DISCREPANCY] is Verdict.DRIFTING


def test_too_few_samples_are_insufficient_with_the_reason_and_no_value(rig: Rig) -> None:
    activated(rig)
    measured = work(rig, traffic(9, 4))
    assert {(m.verdict, m.value, m.threshold, m.reason, m.n) for m in measured} == {
        (Verdict.INSUFFICIENT, None, None, "too_few_samples: 9 of 10", 9)
    }


def test_a_window_waits_until_all_its_samples_are_embedded(rig: Rig) -> None:
    activated(rig)
    admit(rig.around.intake, traffic(60, 14.9))
    rig.jobs.ingest.run(lambda: False)
    rig.jobs.measure()
    before = everything_measured(rig.database)
    rig.jobs.embed()
    rig.jobs.measure()
    assert (before, bool(everything_measured(rig.database))) == ([], True)


def test_the_windows_that_a_run_had_to_leave_are_counted_until_they_are_measured(rig: Rig) -> None:
    activated(rig)
    admit(rig.around.intake, traffic(60, 12))
    rig.jobs.ingest.run(lambda: False)
    rig.jobs.measure()
    waiting = dict(rig.jobs.measure.left)
    rig.jobs.embed()
    rig.jobs.measure()
    assert (waiting, rig.jobs.measure.left) == ({"llava": 5}, {"llava": 0})


def test_a_window_is_not_measured_before_its_lateness_has_passed(
    database: Database, tmp_path: Path
) -> None:
    rig = Rig(small_settings(tmp_path), database)
    activated(rig)
    rig.clock.now = at(24.9)
    assert windows(work(rig, traffic(60, 12))) == {(-10, 5), (-5, 10)}
    rig.clock.now = at(25)
    rig.work()
    assert (0, 15) in windows(everything_measured(database))


def test_what_was_measured_is_not_measured_again(rig: Rig) -> None:
    activated(rig)
    work(rig, traffic(60, 12))
    with structlog.testing.capture_logs() as logs:
        rig.work()
    assert [entry for entry in logs if entry["event"] == "window_measured"] == []


def test_a_late_target_replaces_the_measurements_of_its_windows_and_of_no_other(rig: Rig) -> None:
    activated(rig)
    lines = [exchange(f"e{i}", i / 2) for i in range(80)]
    before = work(rig, lines)
    admit(rig.around.intake, [late_target(f"e{i}") for i in range(79, 67, -1)])
    with structlog.testing.capture_logs() as logs:
        rig.work()
    again = [entry["start"] for entry in logs if entry["event"] == "window_measured"]
    after = everything_measured(rig.database)
    assert again == [at(m).isoformat() for m in (20, 25, 30, 35)]
    assert len(after) == len(before)
    gap = {m.window.start: m.n for m in after if m.signal is Signal.OUTPUT_GAP}
    assert (gap[at(25)], gap[at(15)]) == (12, 0)


def test_a_window_that_fails_is_counted_and_the_next_ones_are_measured(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    activated(rig)
    record = measure_module.record_window

    def fails_once(session: object, summary: object, measurements: object) -> bool:
        if getattr(summary, "window").start == START:  # noqa: B009 - typed as object
            raise RuntimeError("no space left")
        return record(session, summary, measurements)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(measure_module, "record_window", fails_once)
    with structlog.testing.capture_logs() as logs:
        measured = work(rig, traffic(60, 12))
    assert windows(measured) == {(-10, 5), (-5, 10), (5, 20), (10, 25)}
    assert [entry["start"] for entry in logs if entry["event"] == "window_failed"] == [
        START.isoformat()
    ]
    assert rig.metric("job_failures_total", job="measure") == 1
    assert rig.jobs.measure.left == {"llava": 1}
    monkeypatch.undo()
    rig.work()
    assert (0, 15) in windows(everything_measured(rig.database))


def test_told_to_stop_it_stops_between_two_windows(rig: Rig) -> None:
    activated(rig)
    admit(rig.around.intake, traffic(60, 12))
    rig.jobs.ingest.run(lambda: False)
    rig.jobs.embed()
    rig.around.stop.set()
    rig.jobs.measure()
    assert everything_measured(rig.database) == []
    rig.around.stop.clear()
    rig.jobs.measure()
    assert len(windows(everything_measured(rig.database))) == 5


# --- references


def test_without_a_reference_that_is_told_once_and_a_later_one_measures_the_backlog(
    rig: Rig,
) -> None:
    with structlog.testing.capture_logs() as logs:
        assert work(rig, traffic(60, 12)) == []
        rig.work()
    told = [(e["event"], e["stream"]) for e in logs if e["log_level"] == "warning"]
    assert told == [("no_active_reference", "llava")]
    activated(rig)
    rig.work()
    assert len(windows(everything_measured(rig.database))) == 5


def test_a_streams_own_reference_goes_before_the_general_one(rig: Rig) -> None:
    activated(rig, "llava")
    measured = work(rig, [*traffic(60, 12), *traffic(60, 12, stream="gpt")])
    assert {m.stream for m in measured} == {"llava"}


def test_a_reference_of_other_encoders_is_counted_each_time_and_told_once(rig: Rig) -> None:
    activated(rig, salt="other")
    with structlog.testing.capture_logs() as logs:
        assert work(rig, traffic(60, 12)) == []
        rig.work()
    told = [e for e in logs if e["event"] == "reference_unusable"]
    assert len(told) == 1
    assert "\n" not in told[0]["problem"]
    assert "encoder digest" in told[0]["problem"]
    assert rig.metric("job_failures_total", job="measure") == 2


def test_a_new_reference_judges_windows_not_yet_measured_and_leaves_the_others(rig: Rig) -> None:
    first = activated(rig)
    work(rig, traffic(60, 12))
    rig.clock.now = NOW + timedelta(hours=1)
    rig.salt = "other"
    second_rig = Rig(rig.settings, rig.database, clock=rig.clock, salt="other")
    second = activated(second_rig, salt="other")
    measured = work(second_rig, traffic(60, 4.9, start=100, seed=5))
    by_window = {m.window.start: m.reference for m in measured}
    assert by_window[START] == first
    assert by_window[at(100)] == second


def test_samples_embedded_by_other_encoders_do_not_count(rig: Rig) -> None:
    other = Rig(rig.settings, rig.database, clock=rig.clock, salt="other")
    admit(other.around.intake, traffic(60, 12))
    other.work()
    activated(rig)
    rig.work()
    measured = everything_measured(rig.database)
    assert {(m.n, m.verdict) for m in measured} == {(0, Verdict.INSUFFICIENT)}


# --- slices


def sliced(database: Database, folder: Path, most: int) -> Rig:
    slices = {"labels": ["tenant"], "max_per_label": most}
    rig = Rig(small_settings(folder, slices=slices), database)
    activated(rig)
    return rig


def test_slices_are_measured_beside_the_whole_and_their_numbers_add_up(
    database: Database, tmp_path: Path
) -> None:
    rig = sliced(database, tmp_path, most=5)
    measured = work(rig, traffic(90, 14.9))
    n = {
        m.slice_key: m.n
        for m in measured
        if m.window.start == START and m.signal is Signal.TEXTUAL_DISCREPANCY
    }
    assert sorted(n) == ["all", "tenant=t0", "tenant=t1", "tenant=t2"]
    assert sum(n.values()) == 2 * n["all"]


def test_values_beyond_the_cap_are_measured_together(database: Database, tmp_path: Path) -> None:
    rig = sliced(database, tmp_path, most=1)
    lines = [exchange(f"e{i}", i / 10, labels={"tenant": f"t{min(i % 8, 3)}"}) for i in range(48)]
    measured = work(rig, lines)
    n = {
        m.slice_key: m.n
        for m in measured
        if m.window.start == START and m.signal is Signal.TEXTUAL_DISCREPANCY
    }
    kept = n["all"]
    assert sorted(n) == ["all", "tenant=other", "tenant=t3"]
    assert n["tenant=other"] + n["tenant=t3"] == kept


def a_sample(number: int, label: str | None = None) -> Sample:
    return Sample(
        id=number,
        exchange_id=f"e{number}",
        pane_start=START,
        priority=number,
        labels={} if label is None else {"tenant": label},
        image_states=(),
        encoder_digest="d",
        z_v=None,
        z_t=b"",
        z_y=b"",
        z_target=None,
        novelty_v=None,
        novelty_t=None,
        novelty_reference=None,
    )


def test_the_most_frequent_values_are_named_and_ties_go_by_name() -> None:
    labels = ["b", "a", "c", "c", None]
    samples = [a_sample(i, label) for i, label in enumerate(labels)]
    found = slices_of(samples, ["tenant"], 2)
    assert {key: rows.tolist() for key, rows in found.items()} == {
        "tenant=a": [1],
        "tenant=c": [2, 3],
        "tenant=other": [0],
    }


def test_a_label_that_nobody_has_makes_no_slice() -> None:
    assert slices_of([a_sample(1)], ["tenant"], 2) == {}


# --- unequal panes


def pane(number: int, *, seen: int, kept: int, largest: int | None) -> PaneState:
    return PaneState(START + number * PANE, seen, 1, kept, largest)


def test_panes_that_dropped_nothing_give_everything() -> None:
    samples = [a_sample(i) for i in range(10)]
    panes = [pane(0, seen=4, kept=4, largest=7), pane(1, seen=6, kept=6, largest=9)]
    assert uniform_sample(samples, panes, 4) == samples


def test_a_window_is_cut_at_the_smallest_priority_at_which_a_pane_dropped_something() -> None:
    samples = [a_sample(i) for i in range(10)]
    panes = [
        pane(0, seen=50, kept=4, largest=5),
        pane(1, seen=9, kept=4, largest=8),
        pane(2, seen=2, kept=2, largest=3),
    ]
    assert [s.priority for s in uniform_sample(samples, panes, 4)] == [0, 1, 2, 3, 4, 5]


def test_a_busy_pane_counts_for_as_much_as_its_traffic(database: Database, tmp_path: Path) -> None:
    rig = Rig(small_settings(tmp_path), database)  # 40 in a pane
    activated(rig)
    busy = [exchange(f"b{i}", i / 1000) for i in range(900)]
    quiet = [exchange(f"q{i}", 5 + i / 100) for i in range(100)]
    work(rig, [*busy, *quiet])
    with database.read() as session:
        (summary,) = latest_windows(session)
    # The newest window with events starts at the pane of the quiet traffic: all its 40 samples.
    assert (summary.window.start, summary.n, summary.seen) == (at(5), 40, 100)
    measured = everything_measured(database)
    both = {m.n for m in measured if m.window.start == START and m.slice_key == ALL}
    n = next(m.n for m in measured if m.window.start == START and m.signal is Signal.IMAGE_SHARE)
    assert both <= {0, n}
    # 40 of the busy pane, and of the quiet one what lies below their largest priority: 100 draws
    # at 40 / 900, so beyond 20 with a chance under one in a million.
    assert 40 <= n <= 60


def test_a_repeat_in_a_quiet_pane_costs_the_window_no_sample(rig: Rig) -> None:
    activated(rig)
    admit(rig.around.intake, [exchange("lonely", 1)])
    lines = [exchange("lonely", 1), *traffic(30, 4, start=5.5)]
    measured = work(rig, lines)
    n = {m.n for m in measured if m.window.start == START and m.signal is Signal.IMAGE_SHARE}
    assert n == {31}


def test_the_summary_says_what_the_window_was_made_of(rig: Rig) -> None:
    identity = activated(rig)
    work(rig, traffic(30, 4.9))
    with rig.database.read() as session:
        (summary,) = latest_windows(session)
    assert (summary.seen, summary.n, summary.n_targets) == (30, 30, 20)
    assert summary.image_states == {"inline": 15}
    assert (summary.reference, summary.measured_at) == (identity, NOW)


def test_windows_that_overlap_add_no_evidence(rig: Rig) -> None:
    activated(rig)
    measured = work(rig, traffic(160, 29.9))
    counted = {m.window.start for m in measured if m.evidence is not None}
    assert counted == {at(0), at(15)}


def test_evidence_of_a_window_builds_on_the_one_before(rig: Rig) -> None:
    activated(rig)
    lines = [exchange(f"e{i}", i / 10, query={"text": "same"}, response="same") for i in range(450)]
    trail = [
        (m.evidence, m.evidence_since)
        for m in work(rig, lines)
        if (m.signal, m.slice_key) == (Signal.TEXTUAL_DISCREPANCY, ALL) and m.evidence is not None
    ]
    assert [since for _, since in trail] == [START] * 3
    assert [evidence for evidence, _ in trail] == pytest.approx(
        np.mean([(4 / 3, 2), (4 / 3 * 7 / 3, 6), (4 / 3 * 37 / 9, 14)], axis=1), rel=0.06
    )
