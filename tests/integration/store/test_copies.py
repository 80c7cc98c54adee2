"""Copies of an embedded database."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.errors import StoreError
from monitor.store.engine import open_database


def test_a_copy_has_what_was_committed_and_not_what_is_being_written(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/a.db") as database:
        with database.begin() as session:
            session.execute(text("CREATE TABLE t (x INTEGER)"))
            session.execute(text("INSERT INTO t VALUES (1)"))
        with database.begin() as session:
            session.execute(text("INSERT INTO t VALUES (2)"))
            database.copy_to(tmp_path / "b.db")
    with open_database(f"sqlite:///{tmp_path}/b.db") as copy, copy.read() as session:
        assert session.scalars(text("SELECT x FROM t")).all() == [1]


def test_a_database_that_is_not_there_is_not_made_by_copying_it(tmp_path: Path) -> None:
    with (
        open_database(f"sqlite:///{tmp_path}/a.db") as database,
        pytest.raises(StoreError, match="there is no database"),
    ):
        database.copy_to(tmp_path / "b.db")
    assert list(tmp_path.iterdir()) == []


def test_a_postgresql_is_left_to_its_own_tools(tmp_path: Path) -> None:
    with (
        open_database("postgresql://nobody@nowhere/none") as database,
        pytest.raises(StoreError, match="pg_dump"),
    ):
        database.copy_to(tmp_path / "b.db")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, what is written beyond that fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_copy_that_finds_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    with open_database(f"sqlite:///{tmp_path}/a.db") as database:
        with database.begin() as session:
            session.execute(text("CREATE TABLE t (x BLOB)"))
            session.execute(text("INSERT INTO t VALUES (randomblob(1000000))"))
        with files_of_at_most(100_000), pytest.raises(StoreError, match="cannot copy the database"):
            database.copy_to(tmp_path / "copies" / "b.db")
    assert list((tmp_path / "copies").iterdir()) == []
