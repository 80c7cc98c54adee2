"""Programs of the system that some tests need."""

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, package: str) -> str:
    """Its path; skips where it is not installed, fails in CI, which installs it."""
    found = shutil.which(name)
    if found is None:
        not_here(f"{name} is not installed; it comes with Debian's {package}")
    return found


def not_here(why: str) -> NoReturn:
    """Skip; in CI, where everything must be at hand, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
