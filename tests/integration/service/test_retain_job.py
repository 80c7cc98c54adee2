from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from sqlalchemy import func, select

from monitor.service import retain_job
from monitor.service.retain_job import ORPHAN_AGE, RetainJob, RetentionRules
from monitor.store.engine import Database
from monitor.store.tables import (
    EarlyTargetRow,
    ImageRow,
    MeasurementRow,
    QuarantineRow,
    SampleRow,
)
from tests.integration.service.parts import (
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

DAY = timedelta(days=1)
RULES = RetentionRules(content=7 * DAY, samples=30 * DAY, measurements=400 * DAY, early_targets=DAY)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    with database.begin() as session:
        store_reference(session)
    rig = Rig(small_settings(tmp_path), database)
    admit(rig.around.intake, [*traffic(30, 12), late_target("nobody"), b"{}\n"])
    rig.work()
    return rig


def left(rig: Rig) -> dict[str, int]:
    with rig.database.read() as session:
        columns = {
            "texts": SampleRow.text,
            "samples": SampleRow.id,
            "images": ImageRow.content_hash,
            "thumbnails": ImageRow.thumbnail,
            "measurements": MeasurementRow.stream,
            "early targets": EarlyTargetRow.target,
            "excerpts": QuarantineRow.excerpt,
        }
        return {name: session.scalar(select(func.count(c))) or 0 for name, c in columns.items()}


def retain(
    rig: Rig,
    age: timedelta,
    rules: RetentionRules = RULES,
    pause: Callable[[float], bool] = lambda _: False,
) -> list[object]:
    with structlog.testing.capture_logs() as logs:
        RetainJob(
            database=rig.database,
            clock=Clock(NOW + age),
            rules=rules,
            data_dir=rig.settings.data_dir,
            pause=pause,
        )()
    return [entry["event"] for entry in logs]


def test_what_is_young_enough_stays_and_nothing_is_said(rig: Rig) -> None:
    before = left(rig)
    assert (retain(rig, timedelta(minutes=50)), left(rig)) == ([], before)


@pytest.mark.parametrize(
    ("age", "gone"),
    [
        (DAY + timedelta(seconds=1), {"early targets"}),
        (7 * DAY + timedelta(seconds=1), {"early targets", "texts", "thumbnails", "excerpts"}),
        (
            30 * DAY + timedelta(seconds=1),
            {"early targets", "texts", "thumbnails", "excerpts", "samples", "images"},
        ),
        (
            400 * DAY + timedelta(seconds=1),
            {
                "early targets",
                "texts",
                "thumbnails",
                "excerpts",
                "samples",
                "images",
                "measurements",
            },
        ),
    ],
)
def test_each_kind_goes_at_its_age(rig: Rig, age: timedelta, gone: set[str]) -> None:
    before = left(rig)
    retain(rig, age)
    after = left(rig)
    assert {name for name, n in after.items() if n == 0} == gone
    assert {name: n for name, n in after.items() if name not in gone} == {
        name: n for name, n in before.items() if name not in gone
    }


def test_running_twice_deletes_nothing_more(rig: Rig) -> None:
    assert retain(rig, 8 * DAY) == ["retention_applied"]
    assert retain(rig, 8 * DAY) == []


def test_others_see_and_write_between_two_parts_of_what_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def pause(_: float) -> bool:
        with rig.database.begin():
            seen.append(left(rig)["samples"])
        return False

    monkeypatch.setattr(retain_job, "PART", 12)
    retain(rig, 31 * DAY, pause=pause)
    assert sorted({30, 18, 6} & set(seen), reverse=True) == [30, 18, 6]
    assert left(rig)["samples"] == 0


def test_what_is_left_when_told_to_stop_goes_the_next_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retain_job, "PART", 12)
    retain(rig, 31 * DAY, pause=lambda _: True)
    before = left(rig)["samples"]
    retain(rig, 31 * DAY)
    assert (before, left(rig)["samples"]) == (18, 0)


def test_without_content_retention_texts_go_once_they_are_embedded(rig: Rig) -> None:
    rules = RetentionRules(timedelta(0), RULES.samples, RULES.measurements, DAY)
    admit(rig.around.intake, [exchange("open", 60 * 20 + 1)], partition="b")
    retain(rig, timedelta(seconds=1), rules)
    assert (left(rig)["texts"], left(rig)["samples"]) == (1, 31)


def test_measurements_stay_as_they_were_when_their_samples_go(rig: Rig) -> None:
    before = left(rig)["measurements"]
    retain(rig, 31 * DAY)
    rig.work()
    assert left(rig)["measurements"] == before


def test_early_targets_wait_at_least_as_long_as_orphans(rig: Rig) -> None:
    rules = RetentionRules(RULES.content, RULES.samples, RULES.measurements, timedelta(0))
    retain(rig, ORPHAN_AGE - timedelta(seconds=1), rules)
    assert left(rig)["early targets"] == 1


def test_indexes_of_references_that_are_no_longer_stored_go(rig: Rig) -> None:
    folder = rig.settings.data_dir / "references"
    (in_use,) = folder.iterdir()
    (folder / "gone").mkdir()
    assert retain(rig, timedelta(minutes=50)) == ["retention_applied"]
    assert list(folder.iterdir()) == [in_use]
