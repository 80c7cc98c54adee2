"""What the clients in JavaScript need, installed once for each lock file, beside pip's packages."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.programs import not_here, program

FOLDER = Path(__file__).parent / "clients" / "js"
FILES = ("package.json", "package-lock.json")
INSTALLED = Path(sys.prefix) / "node-clients"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@cache
def node_modules() -> Path:
    """The folder of the packages; skips where they cannot be had, fails in CI."""
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()
    there = INSTALLED / digest[:12]
    program("node", "nodejs")
    program("npm", "npm")
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
            not_here(f"npm could not install the clients: {npm.stderr[-1_000:]}")
        try:
            made.rename(there)
        except OSError:
            if not there.exists():
                raise
