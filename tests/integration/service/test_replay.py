"""``run`` over growing files and ``replay`` over finished ones give the same measurements."""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from monitor.records import Measurement
from monitor.service.replay import Replay
from monitor.settings import Settings
from monitor.store.engine import Database, open_database
from monitor.store.tables import SampleRow
from tests.integration.service.parts import (
    MINUTE,
    Clock,
    Rig,
    at,
    everything_measured,
    file_feed,
    late_target,
    small_settings,
    store_reference,
    traffic,
)

PIECES = 40
SLICES = {"labels": ["tenant"], "max_per_label": 2}


def lines() -> list[bytes]:
    """Two streams with a busy pane, a gap, targets that come later and some disorder."""
    calm = traffic(160, 40)
    busy = traffic(120, 4, start=41, seed=1)
    after_the_gap = traffic(60, 12, start=120, seed=2)
    other = traffic(80, 50, stream="gpt", seed=3)
    rows = [*calm, *busy, *after_the_gap]
    for i in range(0, 150, 7):  # each target within the lateness of its exchange
        rows.insert(i + 20, late_target(f"llava-0-{i}", f"late {i}"))
    rng = random.Random(0)  # noqa: S311 - to disturb an order
    for i in range(0, len(rows) - 1, 5):
        j = min(len(rows) - 1, i + rng.randrange(4))
        rows[i], rows[j] = rows[j], rows[i]
    for i, row in enumerate(other):
        rows.insert(3 * i, row)
    return rows


@contextmanager
def fresh(migrated: Path, folder: Path, name: str) -> Iterator[Database]:
    path = shutil.copy(migrated, folder / f"{name}.db")
    with open_database(f"sqlite:///{path}") as database:
        with database.begin() as session:
            store_reference(session)
        yield database


def replayed(
    database: Database,
    folder: Path,
    *paths: Path,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> Replay:
    settings = small_settings(folder, slices=SLICES)
    with ExitStack() as stack:
        feed = file_feed(*paths, follow=False, name="replay")
        stack.enter_context(feed.source)
        rig = Rig(settings, database, [feed], follows_clock=False)
        replay = Replay(
            database=database,
            jobs=rig.jobs,
            source=feed.source,
            length=settings.windows.length,
            lateness=settings.windows.lateness,
        )
        assert replay.run(should_stop=lambda: False, report=report)
        return replay


def watched(database: Database, folder: Path, content: Sequence[bytes]) -> None:
    """The daemon's jobs, while the file grows by pieces that end anywhere, on a running clock."""
    log = folder / "growing.jsonl"
    log.write_bytes(b"")
    whole = b"".join(content)
    clock = Clock(at(0))
    feed = file_feed(log)
    with feed.source:
        rig = Rig(small_settings(folder, slices=SLICES), database, [feed], clock=clock)
        for i in range(PIECES):
            start, end = i * len(whole) // PIECES, (i + 1) * len(whole) // PIECES
            with log.open("ab") as file:
                file.write(whole[start:end])
            clock.now = max(clock.now, newest(whole[:end]) + MINUTE / 2)
            rig.work()
        for minutes in (150, 200):
            clock.now = at(minutes)
            rig.work()


def newest(content: bytes) -> datetime:
    """Newest event time in whole lines."""
    records = (json.loads(row) for row in content.split(b"\n")[:-1])
    return max((datetime.fromisoformat(r["time"]) for r in records if "time" in r), default=at(0))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "whole.jsonl"
    path.write_bytes(b"".join(lines()))
    return path


def facts(measured: Sequence[Measurement]) -> list[Measurement]:
    return sorted(measured, key=lambda m: (m.stream, m.window, m.slice_key, m.signal))


def test_replay_and_run_give_the_same_measurements(
    migrated_file: Path, tmp_path: Path, log: Path
) -> None:
    with fresh(migrated_file, tmp_path, "replay") as database:
        replayed(database, tmp_path, log)
        expected = facts(everything_measured(database))
    with fresh(migrated_file, tmp_path, "run") as database:
        watched(database, tmp_path, lines())
        got = facts(everything_measured(database))
    assert len(expected) > 500
    assert got == expected


def test_a_replay_done_twice_changes_nothing(
    migrated_file: Path, tmp_path: Path, log: Path
) -> None:
    with fresh(migrated_file, tmp_path, "twice") as database:
        replayed(database, tmp_path, log)
        once = everything_measured(database)
        replayed(database, tmp_path, log)
        assert everything_measured(database) == once


def test_a_replay_that_was_stopped_goes_on_and_ends_the_same(
    migrated_file: Path, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh(migrated_file, tmp_path, "whole") as database:
        replayed(database, tmp_path, log)
        expected = everything_measured(database)
    monkeypatch.setattr("monitor.service.ingest_job.BATCH_LINES", 50)
    settings = small_settings(tmp_path, slices=SLICES)
    with fresh(migrated_file, tmp_path, "stopped") as database:
        finished = [begun_again(database, settings, log, batches=2) for _ in range(3)]
        finished.append(begun_again(database, settings, log, batches=1000))
        assert finished == [False, False, False, True]
        assert everything_measured(database) == expected


def begun_again(database: Database, settings: Settings, log: Path, *, batches: int) -> bool:
    """A new process that is told to stop after some batches."""
    feed = file_feed(log, follow=False, name="replay")
    with feed.source:
        rig = Rig(settings, database, [feed], follows_clock=False)
        replay = Replay(
            database=database,
            jobs=rig.jobs,
            source=feed.source,
            length=settings.windows.length,
            lateness=settings.windows.lateness,
        )
        answers = iter([False] * batches)
        return replay.run(should_stop=lambda: next(answers, True), report=lambda *_: None)


def test_a_replay_tells_how_many_samples_are_embedded_while_it_works(
    migrated_file: Path, tmp_path: Path, log: Path
) -> None:
    told: list[int] = []
    with fresh(migrated_file, tmp_path, "told") as database:
        replayed(
            database,
            tmp_path,
            log,
            report=lambda stage, done, _: told.extend([done] if "embedded" in stage else []),
        )
        with database.read() as session:
            count = session.scalar(select(func.count()).select_from(SampleRow))
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == count


def test_the_measurements_of_a_replay_are_those_of_windows_with_its_events(
    migrated_file: Path, tmp_path: Path, log: Path
) -> None:
    early = tmp_path / "early.jsonl"
    early.write_bytes(b"".join(traffic(40, 10, start=-600, seed=9)))
    with fresh(migrated_file, tmp_path, "two") as database:
        replayed(database, tmp_path, early)
        replay = replayed(database, tmp_path, log)
        own = list(replay.measurements())
        everything = everything_measured(database)
    assert {m.window.end <= at(-500) for m in everything} == {True, False}
    assert facts(own) == facts([m for m in everything if m.window.end > at(-500)])
