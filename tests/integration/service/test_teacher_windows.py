"""Windows whose targets are the teacher's."""

import json
from datetime import timedelta
from pathlib import Path

from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.service.target_mix import NOT_COMPARABLE, OF_TARGETS
from monitor.store.engine import Database
from monitor.store.history import recorded_window
from monitor.store.samples import window_samples
from monitor.store.targets import set_teacher_target
from monitor.store.windows import measurements_of
from monitor.web.metrics import other_families
from tests.integration.service.parts import (
    START,
    STREAM,
    Rig,
    admit,
    at,
    small_settings,
    store_reference,
    traffic,
)


def taught(database: Database, folder: Path, *, targets: bool) -> Rig:
    """Traffic of a quarter of an hour, in which the teacher has answered what had no target."""
    rig = Rig(small_settings(folder), database)
    with database.begin() as session:
        store_reference(session)
    lines = traffic(80, 14.9)
    admit(rig.around.intake, lines if targets else [without_target(line) for line in lines])
    rig.work()
    with database.begin() as session:
        for sample in window_samples(session, STREAM, at(-60), at(60)):
            set_teacher_target(session, sample.id, f"A taxi, I think, {sample.exchange_id}.")
    rig.work()
    return rig


def without_target(line: bytes) -> bytes:
    return json.dumps({**json.loads(line), "target": None}).encode()


def window(rig: Rig) -> tuple[WindowSummary, dict[Signal, Measurement]]:
    """The window that holds all of it."""
    at_it = WindowId(START, START + timedelta(minutes=15))
    with rig.database.read() as session:
        summary = recorded_window(session, STREAM, at_it)
        measured = measurements_of(session, STREAM, at_it)
    assert summary is not None
    return summary, {m.signal: m for m in measured if m.slice_key == ALL}


def exported(rig: Rig) -> float | None:
    rig.around.publisher.refresh()
    families = other_families(rig.around.publisher.latest(), timedelta(minutes=5))
    (family,) = (f for f in families if f.name == "mllm_monitor_teacher_targets_ratio")
    return next((s.value for s in family.samples if s.labels == {"stream": STREAM}), None)


def test_a_teachers_targets_are_not_compared_with_logged_ones(
    database: Database, tmp_path: Path
) -> None:
    rig = taught(database, tmp_path, targets=False)
    summary, measured = window(rig)
    assert (summary.n, summary.n_targets, summary.n_teacher_targets) == (80, 80, 80)
    assert {s for s, m in measured.items() if m.reason == NOT_COMPARABLE} == OF_TARGETS
    assert {m.verdict for s, m in measured.items() if s in OF_TARGETS} == {Verdict.INSUFFICIENT}
    assert measured[Signal.TEXTUAL_DISCREPANCY].value is not None
    assert exported(rig) == 1.0


def test_a_few_of_the_teachers_are_measured_with_the_others(
    database: Database, tmp_path: Path
) -> None:
    rig = taught(database, tmp_path, targets=True)
    summary, measured = window(rig)
    assert (summary.n_targets, summary.n_teacher_targets) == (80, 27)
    assert (measured[Signal.EMI].n, measured[Signal.EMI].reason) == (80, None)


def test_a_later_target_makes_the_window_one_of_logged_targets(
    database: Database, tmp_path: Path
) -> None:
    rig = taught(database, tmp_path, targets=False)
    lines = [{"id": f"{STREAM}-0-{i}", "target": f"target {i}"} for i in range(80)]
    admit(rig.around.intake, [json.dumps(line).encode() for line in lines], partition="b")
    rig.work()
    summary, measured = window(rig)
    assert (summary.n_targets, summary.n_teacher_targets) == (80, 0)
    assert measured[Signal.EMI].value is not None
