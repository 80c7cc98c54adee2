"""Resident memory of a replay does not grow with the length of the log."""

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

START = datetime(2026, 3, 1, tzinfo=UTC)
PER_SECOND = 10
SUBJECTS = ("bridge", "harbour", "market", "garden", "station", "tower", "library", "kitchen")
SETTINGS = """
database: {{url: "sqlite:///{folder}/monitor.db"}}
data_dir: {folder}/data
sampling: {{per_pane: 32}}
windows: {{pane: 5m, length: 15m, slide: 15m}}
reference: {{null_draws: 50}}
"""


def write_log(path: Path, count: int, start: datetime) -> None:
    """Text exchanges at a steady rate; every tenth with a target."""
    with path.open("wb") as log:
        for i in range(count):
            subject, other = SUBJECTS[i % 8], SUBJECTS[(i // 8) % 8]
            exchange = {
                "id": f"{start:%d}-{i}",
                "time": (start + timedelta(seconds=i / PER_SECOND)).isoformat(),
                "stream": "text",
                "query": {"text": f"What stands beside the {subject} and the {other}, no. {i}?"},
                "response": f"Beside the {subject} there is a {other} and a sign with {i % 97}.",
            }
            if i % 10 == 0:
                exchange["target"] = (
                    f"A {other} stands beside the {subject}; the sign says {i % 97}."
                )
            log.write(json.dumps(exchange).encode() + b"\n")


def peak_mb(folder: Path, *arguments: str) -> float:
    """Peak resident memory of one command, megabytes."""
    command = [sys.executable, "-m", "monitor", "--config", str(folder / "m.yaml"), *arguments]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (folder / "err").read_text()[-2000:]
    return usage.ru_maxrss / 1024


def replay_mb(folder: Path, count: int) -> float:
    folder.mkdir()
    (folder / "m.yaml").write_text(SETTINGS.format(folder=folder))
    write_log(folder / "good.jsonl", 600, START - timedelta(days=1))
    write_log(folder / "log.jsonl", count, START)
    peak_mb(folder, "reference", "build", str(folder / "good.jsonl"))
    peak = peak_mb(folder, "replay", "--json", str(folder / "log.jsonl"))
    lines = (folder / "out").read_text().splitlines()
    measured = {json.loads(line)["window_start"] for line in lines}
    assert len(measured) == math.ceil(count / PER_SECOND / (15 * 60))
    return peak


@pytest.mark.benchmark
@pytest.mark.timeout(1_800)
def test_a_log_ten_times_as_long_takes_at_most_a_tenth_more_memory(tmp_path: Path) -> None:
    small = replay_mb(tmp_path / "small", 100_000)
    large = replay_mb(tmp_path / "large", 1_000_000)
    print(
        f"\nreplay of 100,000 text exchanges: {small:.0f} MB, of 1,000,000: {large:.0f} MB, "
        f"ratio {large / small:.3f} (at most 1.10)"
    )
    assert large <= 1.1 * small
