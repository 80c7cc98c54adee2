"""Programs of the system that tests of deployment need."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def program(name: str, package: str) -> str:
    """Its path; skips where it is not installed, fails in CI, which installs it."""
    found = shutil.which(name)
    if found is None:
        said = f"{name} is not installed; it comes with Debian's {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return found


def done(command: Sequence[str | Path]) -> str:
    """What it printed; it must end with 0."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
