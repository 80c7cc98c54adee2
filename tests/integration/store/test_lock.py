import os
from pathlib import Path

import pytest

from monitor.errors import AlreadyRunningError, StoreError
from monitor.store.engine import open_database
from monitor.store.lock import hold_embedded_lock


def test_a_second_daemon_on_a_file_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        open_database(f"sqlite:///{tmp_path}/monitor.db") as database,
        hold_embedded_lock(database),
        pytest.raises(AlreadyRunningError, match=rf"process {os.getpid()} already works on"),
        hold_embedded_lock(database),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/monitor.db") as database:
        with hold_embedded_lock(database):
            pass
        with hold_embedded_lock(database):
            assert (tmp_path / "monitor.db.lock").read_text() == str(os.getpid())


def test_a_lock_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "monitor.db.lock").mkdir()
    with (
        open_database(f"sqlite:///{tmp_path}/monitor.db") as database,
        pytest.raises(StoreError, match="cannot write the lock file"),
        hold_embedded_lock(database),
    ):
        pass


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://host/name"])
def test_a_database_that_is_no_file_needs_no_lock(url: str) -> None:
    with (
        open_database(url) as database,
        hold_embedded_lock(database),
        hold_embedded_lock(database),
    ):
        held_twice = True
    assert held_twice
