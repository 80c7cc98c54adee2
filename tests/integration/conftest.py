"""Databases that are at this program's revision and otherwise empty."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from monitor.store.engine import Database, open_database
from monitor.store.migrations import upgrade
from monitor.store.tables import Base


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "monitor.db"
    with open_database(f"sqlite:///{path}") as database:
        upgrade(database)
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[Database]:
    with open_database(postgres_url) as database:
        upgrade(database)
        yield database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Each backend in turn."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "monitor.db")
        with open_database(f"sqlite:///{path}") as embedded:
            yield embedded
        return
    server = request.getfixturevalue("migrated_postgres")
    yield server
    tables = ", ".join(f'"{table}"' for table in Base.metadata.tables)
    with server.begin() as session:
        session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """One write transaction for the whole test."""
    with database.begin() as opened:
        yield opened
