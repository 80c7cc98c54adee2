"""Fixtures that every room uses."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


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
