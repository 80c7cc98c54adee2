"""What takes long to make and is made once."""

from pathlib import Path

import pytest

from tests.acceptance.prepared import prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an active reference; not to be written to."""
    return prepare(tmp_path_factory.mktemp("prepared"))
