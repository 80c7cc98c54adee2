"""Which revision the database is at, and bringing it to this program's."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.orm import Session

from monitor.errors import SchemaMismatchError, StoreError
from monitor.store.engine import Database


def upgrade(database: Database) -> None:
    """Bring the database to this program's revision; processes that do so at once take turns.

    Raises:
        SchemaMismatchError: if a newer program has brought it further.
    """
    config = _config()
    with database.migrate() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            got = MigrationContext.configure(connection).get_current_revision()
            raise SchemaMismatchError(expected=expected_revision(), got=got) from exc


def current_revision(database: Database) -> str | None:
    """Revision the database is at; None where nothing has been made in it."""
    with database.read() as session:
        return _revision(session)


def is_made(database: Database) -> bool:
    """Whether there is anything in it; asking makes no file."""
    if database.path is not None and not database.path.exists():
        return False
    return current_revision(database) is not None


def require_made(database: Database) -> None:
    """Refuse a file that is not there or has nothing in it; asking makes none.

    Raises:
        StoreError: naming the place, and what names another one.
    """
    if database.path is not None and not is_made(database):
        raise StoreError(
            f"there is no database {database.url_for_people}, so nothing is stored yet: begin with "
            "`mllm-monitor reference build FILE`; where a monitor runs already, name its settings "
            "with --config or MLLM_MONITOR_CONFIG"
        )


def expected_revision() -> str:
    """Revision that this program needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise StoreError(f"there are no migrations in {_script_location()}")
    return head


def require_current(database: Database) -> None:
    """Refuse a database at another revision.

    Raises:
        SchemaMismatchError: with the command that mends it.
    """
    got, expected = current_revision(database), expected_revision()
    if got != expected:
        raise SchemaMismatchError(expected=expected, got=got)


def _revision(session: Session) -> str | None:
    return MigrationContext.configure(session.connection()).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_script_location()).replace("%", "%%"))
    return config


def _script_location() -> Path:
    """Inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.with_name("migrations")
