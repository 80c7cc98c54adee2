"""Killed at random instants and started again: nothing is lost, doubled or measured otherwise.

Instants are drawn over the work (samples embedded plus windows measured), so that they fall into
every stage on a fast machine and on a slow one; a short random delay puts them inside of units.
"""

import gzip
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance.prepared import SETTINGS, START, program_in
from tests.acceptance.program import Process, Program
from tests.acceptance.state import COUNTS, EVERYTHING, FOLLOWED, WINDOWS, State
from tests.acceptance.traffic import Line, Traffic, as_bytes

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

STEPS = {"busy": 1.0, "even": 3.0, "quiet": 6.0}  # seconds between exchanges
MINUTES = 24
KILLS = 10
DELAY_MAX_SECONDS = 0.2

WORK = (
    "SELECT (SELECT count(*) FROM samples WHERE encoder_digest IS NOT NULL)"
    " + (SELECT count(*) FROM windows)"
)
FOLLOWING = {**SETTINGS, "sources": [{"path": "live.jsonl"}]}
SETTLED = (
    "SELECT (SELECT sum(offset) FROM cursors),"
    " (SELECT count(*) FROM samples WHERE encoder_digest IS NULL),"
    " (SELECT count(*) FROM panes WHERE revision <> settled_revision)"
)


def log_lines(seed: int, minutes: int, repeated: Collection[str]) -> list[Line | bytes]:
    """Interleaved streams in order of time, but for stragglers; with repeats and rubbish.

    Exchanges of the ``repeated`` streams come again, and some of their targets by themselves.
    """
    rng = np.random.default_rng(seed)
    lines: list[Line] = []
    for number, (stream, step) in enumerate(STEPS.items()):
        traffic = Traffic(seed + number, image_share=0.3)
        count = int(minutes * 60 / step)
        lines += traffic.evenly(count, stream, START, timedelta(seconds=step), with_targets=True)
    for line in lines:
        line["labels"] = {"tenant": ("acme", "zenith")[int(rng.integers(2))]}
    lines.sort(key=lambda line: str(line["time"]))
    late = rng.choice(len(lines), 40, replace=False)
    moved: list[tuple[float, Line | bytes]] = [(float(i), line) for i, line in enumerate(lines)]
    for i in late:  # up to some 500 lines, which is more than the accepted lateness
        moved[i] = (i + float(rng.uniform(20, 500)), lines[i])
    of_repeated = [i for i, line in enumerate(lines) if str(line["stream"]) in repeated]
    apart = rng.choice(of_repeated, 30, replace=False)
    for i in apart:  # the target comes by itself, some after the window was measured
        target = {key: lines[i][key] for key in ("id", "stream", "target")}
        del lines[i]["target"]
        moved.append((i + float(rng.uniform(1, 300)), target))
    again = rng.choice(of_repeated, 25, replace=False)
    moved += [(i + float(rng.uniform(1, 100)), lines[i]) for i in again]
    rubbish = (b"{broken", b"[1, 2]", b'{"id": "x", "stream": "even"}', b"\xff\xfe", b"null")
    moved += [(float(rng.uniform(0, len(lines))), rubbish[i % 5]) for i in range(40)]
    return [line for _, line in sorted(moved, key=lambda item: item[0])]


def work_done(program: Program) -> int:
    return sum(work for (work,) in program.query(WORK))


def kill_at(process: Process, program: Program, work: float, delay: float) -> None:
    """Let it work until so much is done in all, and a moment longer."""
    process.until("work", lambda: work_done(program) >= work)
    time.sleep(delay)
    assert process.is_running()
    process.kill()


def kill_points(seed: int, kills: int, work: int) -> Sequence[tuple[float, float]]:
    """Random amounts of work, ascending, before its end; and random delays."""
    rng = np.random.default_rng(seed)
    points = np.sort(rng.uniform(0, 0.95 * work, kills))
    return list(zip(points.tolist(), rng.uniform(0, DELAY_MAX_SECONDS, kills), strict=True))


@pytest.fixture(scope="module")
def replayed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[State, State]:
    """What a replay left that ran through, and one that was killed again and again."""
    lines = log_lines(seed=11, minutes=MINUTES, repeated=STEPS)
    thirds = [as_bytes(lines[i * len(lines) // 3 : (i + 1) * len(lines) // 3]) for i in range(3)]
    files = {"1.jsonl": thirds[0], "2.jsonl.gz": gzip.compress(thirds[1]), "3.jsonl": thirds[2]}
    programs = []
    for name in ("through", "killed"):
        programs.append(program_in(prepared, tmp_path_factory.mktemp("replay") / name))
        for file, content in files.items():
            (programs[-1].folder / file).write_bytes(content)
    through, killed = programs
    through.done("replay", *files)
    for point, delay in kill_points(seed=12, kills=KILLS, work=work_done(through)):
        with killed.running("replay", *files) as process:
            kill_at(process, killed, point, delay)
    killed.done("replay", *files)
    return State.of(through), State.of(killed)


@pytest.mark.parametrize("table", EVERYTHING, ids=lambda sql: sql.partition(" FROM ")[2].split()[0])
def test_a_replay_killed_ten_times_leaves_what_one_that_ran_through_does(
    replayed: tuple[State, State], table: str
) -> None:
    through, killed = replayed
    assert killed.tables[table] == through.tables[table]


def test_the_replay_measures_dozens_of_windows_of_every_stream(
    replayed: tuple[State, State],
) -> None:
    through, _ = replayed
    windows = [stream for stream, *_ in through.tables[WINDOWS]]
    assert {stream: windows.count(stream) >= MINUTES for stream in set(windows)} == dict.fromkeys(
        STEPS, True
    )


def test_the_replay_counts_every_kind_of_trouble_in_the_log(
    replayed: tuple[State, State],
) -> None:
    through, _ = replayed
    outcomes = {outcome for _, _, outcome, _ in through.tables[COUNTS]}
    assert outcomes >= {"admitted", "duplicate", "late", "target", "broken_json"}


def test_a_daemon_killed_while_its_file_grows_and_rotates_measures_what_a_replay_does(
    prepared: Path, tmp_path: Path
) -> None:
    # Repeats only where panes are not full: how many repeats of exchanges that are not kept are
    # recognised depends on how the file was cut into batches.
    lines = log_lines(seed=21, minutes=6, repeated=("even", "quiet"))
    thirds = [as_bytes(lines[i * len(lines) // 3 : (i + 1) * len(lines) // 3]) for i in range(3)]
    daemon = program_in(prepared, tmp_path / "daemon", FOLLOWING)
    log = GrowingLog(daemon.folder / "live.jsonl")
    delays = iter(np.random.default_rng(22).uniform(0, 2.5, 5).tolist())

    log.append(halves(thirds[0])[0])
    kill_after_start(daemon, next(delays))
    log.append(halves(thirds[0])[1])
    with daemon.running("run") as process:
        process.until("reading", lambda: daemon.query("SELECT 1 FROM cursors"))
        log.rotate()
        log.append(halves(thirds[1])[0])
        time.sleep(next(delays))
        process.kill()
    log.append(halves(thirds[1])[1])
    kill_after_start(daemon, next(delays))
    log.rotate()
    log.append(halves(thirds[2])[0])
    kill_after_start(daemon, next(delays))
    kill_after_start(daemon, next(delays))
    log.append(halves(thirds[2])[1])
    with daemon.running("run") as process:
        total = sum(map(len, thirds))
        process.until("end of the work", lambda: daemon.query(SETTLED) == [(total, 0, 0)])
        assert process.terminate() == 0

    replay = program_in(prepared, tmp_path / "replay")
    for i, content in enumerate(thirds):
        (replay.folder / f"{i}.jsonl").write_bytes(content)
    replay.done("replay", *(f"{i}.jsonl" for i in range(3)))
    assert State.of(daemon, FOLLOWED).differences(State.of(replay, FOLLOWED)) == {}


class GrowingLog:
    """A file as loggers write and rotate it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rotations = 0

    def append(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(content)

    def rotate(self) -> None:
        older = [self.path.with_name(f"{self.path.name}.{i}") for i in range(self._rotations + 2)]
        for i in range(self._rotations, 0, -1):
            older[i].rename(older[i + 1])
        self.path.rename(older[1])
        self._rotations += 1


def halves(content: bytes) -> tuple[bytes, bytes]:
    """Cut within a line."""
    middle = content.index(b'"query"', len(content) // 2)
    return content[:middle], content[middle:]


def kill_after_start(daemon: Program, delay: float) -> None:
    with daemon.running("run") as process:
        process.event("daemon_ready")
        time.sleep(delay)
        process.kill()
