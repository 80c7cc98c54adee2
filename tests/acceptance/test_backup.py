"""A backup that was taken while the daemon worked brings everything back."""

import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.prepared import SETTINGS, program_in
from tests.acceptance.program import Program, Result
from tests.acceptance.test_daemon import UNSETTLED, exchanges, is_up_to_date, scrape

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

TAKEN = "SELECT 1 FROM samples LIMIT 1"
SAMPLES = "SELECT pane_start, priority FROM samples ORDER BY 1, 2"
COUNTED = "SELECT count(*) FROM measurements"
MEASURED = (
    "SELECT window_start, slice_key, signal, n, round(value, 9), verdict FROM measurements"
    " ORDER BY 1, 2, 3"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A daemon at work, of which a backup was taken."""

    program: Program
    backup: Path
    second: Result


@pytest.fixture(scope="module")
def kept(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("kept") / "daemon"
    settings = {**SETTINGS, "sources": [{"path": "live.jsonl"}]}
    program = program_in(prepared, folder, settings)
    (folder / "live.jsonl").write_bytes(exchanges("kept"))
    with program.running("run") as process:
        process.until("samples", lambda: program.query(TAKEN))
        backup = folder / "backup.db"
        program.done("db", "backup", backup.name)
        second = program.run("db", "backup", backup.name)
        process.until("rest", lambda: program.query(UNSETTLED) == [(0, 0)])
        process.until("snapshot", lambda: is_up_to_date(program, scrape(process.address)))
        yield Kept(program, backup, second)


def test_only_its_owner_can_read_a_backup(kept: Kept) -> None:
    assert stat.S_IMODE(kept.backup.stat().st_mode) == 0o600


def test_a_backup_is_never_written_over(kept: Kept) -> None:
    assert (kept.second.status, kept.second.stderr) == (
        2,
        "mllm-monitor: cannot make backup.db: File exists\n",
    )


def test_a_restored_daemon_reads_on_and_comes_to_the_same_measurements(
    kept: Kept, tmp_path: Path
) -> None:
    restored = Program(tmp_path, kept.program.settings)
    shutil.copy(kept.backup, restored.database)
    shutil.copy(kept.program.folder / "live.jsonl", tmp_path)  # indexes are not brought back
    expected = kept.program.query(MEASURED)
    with restored.running("run") as process:
        process.until("the same windows", lambda: restored.query(COUNTED) == [(len(expected),)])
        process.until("rest", lambda: restored.query(UNSETTLED) == [(0, 0)])
    assert restored.query(MEASURED) == expected
    assert restored.query(SAMPLES) == kept.program.query(SAMPLES)
