"""Settings with small windows, and a folder in which a reference for them is active."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.acceptance.program import Program
from tests.acceptance.traffic import Traffic, write

START = datetime(2026, 3, 2, tzinfo=UTC)
SETTINGS: Mapping[str, object] = {
    "windows": {
        "pane": "1m",
        "length": "5m",
        "slide": "1m",
        "lateness": "2m",
        "min_samples": 20,
    },
    "sampling": {"per_pane": 24},
    "reference": {"null_draws": 50},
    "slices": {"labels": ["tenant"]},
    "http": {"listen": "127.0.0.1:0"},
    "jobs": {"ingest": "1s", "embed": "1s", "measure": "1s"},
}


def prepare(folder: Path) -> Path:
    """Build the reference."""
    program = Program(folder, SETTINGS)
    normal = Traffic(1, image_share=0.5).evenly(
        300, "normal", START, timedelta(seconds=5), with_targets=True
    )
    write(folder / "normal.jsonl", normal)
    program.done("reference", "build", "normal.jsonl")
    return folder


def program_in(prepared: Path, folder: Path, settings: Mapping[str, object] = SETTINGS) -> Program:
    """A program in a copy of the prepared folder."""
    shutil.copytree(prepared, folder)
    return Program(folder, settings)
