import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, func, insert, inspect, make_url, select, text

from monitor.errors import SchemaMismatchError
from monitor.store import migrations
from monitor.store.engine import Database, open_database
from monitor.store.migrations import (
    current_revision,
    expected_revision,
    require_current,
    upgrade,
)
from monitor.store.tables import Base, SampleImageRow, SampleRow
from tests.integration.store.builders import NOW, START

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/monitor.db"
        return
    server = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
    administration = create_engine(server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
    yield server.set(database="empty").render_as_string(hide_password=False)
    with administration.connect() as connection:
        connection.execute(text("DROP DATABASE empty WITH (FORCE)"))
    administration.dispose()


@pytest.fixture
def empty(url: str) -> Iterator[Database]:
    with open_database(url) as database:
        yield database


def downgrade(database: Database) -> None:
    config = migrations._config()
    with database.migrate() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")


def tables_of(database: Database) -> set[str]:
    with database.read() as session:
        return set(inspect(session.connection()).get_table_names()) - {"alembic_version"}


def test_up_makes_every_table_and_nothing_else(empty: Database) -> None:
    upgrade(empty)
    assert tables_of(empty) == set(Base.metadata.tables)


def test_down_leaves_nothing_behind(empty: Database) -> None:
    upgrade(empty)
    downgrade(empty)
    assert (tables_of(empty), current_revision(empty)) == (set(), None)


def test_up_works_again_after_down(empty: Database) -> None:
    upgrade(empty)
    downgrade(empty)
    upgrade(empty)
    require_current(empty)


def test_migrations_and_tables_do_not_differ(empty: Database) -> None:
    upgrade(empty)
    with empty.read() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []


def test_partial_indexes_are_the_same_in_migrations_and_tables(
    empty: Database, tmp_path: Path
) -> None:
    # Alembic does not compare their conditions.
    def conditions(database: Database) -> dict[str, str]:
        with database.read() as session:
            inspector = inspect(session.connection())
            return {
                str(index["name"]): str(where)
                for table in Base.metadata.tables
                for index in inspector.get_indexes(table)
                for key, where in index.get("dialect_options", {}).items()
                if key.endswith("_where")
            }

    upgrade(empty)
    by_migration = conditions(empty)
    downgrade(empty)
    with empty.migrate() as connection:
        Base.metadata.create_all(connection)
    assert conditions(empty) == by_migration
    assert len(by_migration) == 6


def test_alembic_check_finds_no_difference(url: str, empty: Database) -> None:
    upgrade(empty)
    empty.close()
    assert alembic_check({"MLLM_MONITOR_DATABASE__URL": url}) == (0, "")


def test_alembic_check_needs_no_database_of_its_own() -> None:
    assert alembic_check({}) == (0, "")


def alembic_check(settings: dict[str, str]) -> tuple[int, str]:
    """Exit code and what was complained about."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MLLM_MONITOR_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "alembic", "check"],
        cwd=ROOT,
        env={**plain, "PYTHONPATH": str(ROOT), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_database_at_no_revision_is_refused_with_the_command_that_mends_it(
    empty: Database,
) -> None:
    with pytest.raises(SchemaMismatchError, match="mllm-monitor db upgrade") as caught:
        require_current(empty)
    assert (caught.value.got, caught.value.expected) == (None, expected_revision())


def test_a_database_of_a_newer_program_is_refused(empty: Database) -> None:
    upgrade(empty)
    with empty.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
    with pytest.raises(SchemaMismatchError, match="at revision newer"):
        upgrade(empty)


def test_processes_that_upgrade_at_once_take_turns(url: str) -> None:
    def start() -> str | None:
        with open_database(url) as database:
            upgrade(database)
            return current_revision(database)

    with ThreadPoolExecutor(4) as threads:
        found = [f.result() for f in [threads.submit(start) for _ in range(4)]]
    assert found == [expected_revision()] * 4


def test_rebuilding_a_table_in_a_migration_keeps_the_rows_that_hang_on_it(
    empty: Database,
) -> None:
    upgrade(empty)
    with empty.begin() as session:
        session.execute(
            insert(SampleRow).values(
                id=1,
                stream="a",
                exchange_id="x",
                pane_start=START,
                time=START,
                priority=1,
                labels={},
                has_target=False,
                stored_at=NOW,
                attempts=0,
            )
        )
        session.execute(insert(SampleImageRow).values(sample_id=1, position=0, state="inline"))
    with empty.migrate() as connection:
        operations = Operations(MigrationContext.configure(connection))
        recreate = "always" if empty.is_embedded else "never"
        with operations.batch_alter_table("samples", recreate=recreate) as batch:
            batch.alter_column("attempts", server_default="0")
    with empty.read() as session:
        assert session.scalar(select(func.count()).select_from(SampleImageRow)) == 1
