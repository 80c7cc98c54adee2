"""What the clients in JavaScript need, installed once for each lock file, beside pip's packages."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "clients" / "js"
FILES = ("package.json", "package-lock.json")
INSTALLED = Path(sys.prefix) / "node-clients"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@cache
def node_modules() -> Path:
    """The folder of the packages; skips where they cannot be had, fails in CI."""
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()
    there = INSTALLED / digest[:12]
    if shutil.which("node") is None or shutil.which("npm") is None:
        _not_here("node or npm is not installed; make system-packages as root installs them")
    if not there.exists():
        _install(there)
    return there / "node_modules"


def _install(there: Path) -> None:
    """All of it or nothing, whoever else does so at the same time."""
    there.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.parent) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for name in FILES:
            shutil.copy(FOLDER / name, made)
        npm = subprocess.run(INSTALL, cwd=made, capture_output=True, text=True, check=False)
        if npm.returncode:
            _not_here(f"npm could not install the clients: {npm.stderr[-1_000:]}")
        try:
            made.rename(there)
        except OSError:
            if not there.exists():
                raise


def _not_here(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
