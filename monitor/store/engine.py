"""Opening a database, and the two kinds of transaction that everything else runs in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import SQLITE_BUSY, OperationalError
from time import monotonic, sleep
from typing import Self

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from monitor.errors import StoreError
from monitor.postgresql import noticing_loss

_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_BUSY_SECONDS = 30
_GONE_SECONDS = 60  # whoever is silent for so long amidst writing holds up the others no longer
_WRITE_LOCK = 0x6D6C6C6D  # any constant; other programs in the same database must not use it

# query_only makes a write in a read transaction an error on SQLite, as it is on PostgreSQL.
_READ = ("PRAGMA query_only = ON", "BEGIN")
# Without IMMEDIATE two writers that both read first would lose one of the two updates.
_WRITE = ("PRAGMA query_only = OFF", "PRAGMA foreign_keys = ON", "BEGIN IMMEDIATE")
# A migration may rebuild a table; with foreign keys on, dropping the old one deletes its children.
_MIGRATE = ("PRAGMA query_only = OFF", "PRAGMA foreign_keys = OFF", "BEGIN EXCLUSIVE")


class Database:
    """One database and its connections; safe to share between threads.

    On either backend one write transaction runs at a time, so that store functions may read,
    decide and write without a retry. One that waits for half a minute fails with an
    ``OperationalError``: keep write transactions short, and open none within another.
    """

    def __init__(self, engine: Engine, *, path: Path | None) -> None:
        self.path = path
        self.is_embedded = engine.dialect.name == "sqlite"
        self.url_for_people = _without_secrets(engine.url)
        self._engine = engine
        self._writer = engine.execution_options(sqlite_begin=_WRITE)
        self._migrator = engine.execution_options(sqlite_begin=_MIGRATE)
        self._reader = engine.execution_options(sqlite_begin=_READ)
        if not self.is_embedded:
            # One snapshot for all the statements of a read, which SQLite gives anyway.
            self._reader = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Write transaction: committed at the end, rolled back on an error."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            _wait_for_turn(session.connection())
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Read transaction that sees one state of the database; writing in it is an error."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """Write transaction for changing the schema; nobody else reads or writes meanwhile."""
        with self._migrator.begin() as connection:
            _wait_for_turn(connection)
            yield connection

    def compact(self) -> bool:
        """Rewrite an embedded database, so that nothing deleted or moved is left in its files.

        False where somebody else is using it, and for a PostgreSQL, which vacuums by itself.
        """
        if not self.is_embedded:
            return False
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA query_only = OFF")
            cursor.execute("VACUUM")
            is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except OperationalError:
            return False
        finally:
            connection.close()
        return not is_busy

    def copy_to(self, path: Path) -> None:
        """Write an embedded database to a new file as it is at one moment; others go on working.

        Raises:
            StoreError: if there is none to copy, or the file is not new.
        """
        if self.path is None:
            raise StoreError(
                f"{self.url_for_people} is no SQLite file; PostgreSQL has tools of its own: pg_dump"
            )
        if not self.path.exists():
            raise StoreError(f"there is no database {self.path}")
        try:
            path.touch(mode=0o600, exist_ok=False)  # what people asked is in it
        except OSError as exc:
            raise StoreError(f"cannot make {path}: {exc.strerror}") from exc
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA query_only = OFF")
            cursor.execute("VACUUM INTO ?", (str(path),))
        except OperationalError as exc:
            path.unlink()
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            raise StoreError(f"cannot copy the database to {path}: {exc}") from exc
        finally:
            connection.close()

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_database(url: str) -> Database:
    """Open a SQLite file or a PostgreSQL by URL, without connecting yet.

    Raises:
        StoreError: if the URL is neither, or the folder of the file cannot be made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # of a port that is no number
        raise StoreError(_expected("a URL that cannot be parsed")) from None  # it may hold secrets
    if parsed.drivername in _SQLITE and parsed.host:
        raise StoreError(_expected("two slashes before the file: three name one in this folder"))
    if parsed.drivername in _SQLITE:
        return _open_sqlite(parsed)
    if parsed.drivername in _POSTGRESQL:
        return _open_postgresql(parsed)
    raise StoreError(_expected(f"the scheme {parsed.drivername!r}"))


def _open_sqlite(url: URL) -> Database:
    path = None if url.database in (None, "", ":memory:") else Path(str(url.database))
    if path is None:
        # A database in memory lives as long as its only connection.
        engine = create_engine(
            url.set(drivername="sqlite", database=":memory:"),
            hide_parameters=True,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={"check_same_thread": False},
        )
    else:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(
                f"cannot make the folder of the database {path}: {exc.strerror}"
            ) from exc
        engine = create_engine(
            url.set(drivername="sqlite"),
            hide_parameters=True,
            connect_args={"timeout": _BUSY_SECONDS},
        )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _explain_failed_connect)
    return Database(engine, path=path)


def _open_postgresql(url: URL) -> Database:
    url = noticing_loss(url.set(drivername="postgresql+psycopg"))
    engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
    event.listen(engine, "handle_error", _explain_failed_connect)
    event.listen(engine, "handle_error", _drop_row_from_message)
    return Database(engine, path=None)


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not open transactions by itself: _begin_sqlite says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """Once in the life of a file, and the one lock for which SQLite itself does not wait."""
    end = monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except OperationalError as exc:
            if exc.sqlite_errorcode != SQLITE_BUSY or monotonic() > end:
                raise
            sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    *pragmas, begin = connection.get_execution_options().get("sqlite_begin", _WRITE)
    cursor = connection.connection.cursor()
    for pragma in pragmas:
        cursor.execute(pragma)  # which nothing can be wrong with; by the engine it takes 30 us
    cursor.close()
    connection.exec_driver_sql(begin)


def _wait_for_turn(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(  # in one go, as each takes a way there and back
            f"SET LOCAL lock_timeout = {_BUSY_SECONDS * 1000:.0f};"
            f"SET LOCAL idle_in_transaction_session_timeout = {_GONE_SECONDS * 1000:.0f};"
            f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})"
        )


def _explain_failed_connect(context: ExceptionContext) -> None:
    if context.connection is None and context.engine is not None:
        first_line = str(context.original_exception).partition("\n")[0]
        raise StoreError(
            f"cannot open the database {_without_secrets(context.engine.url)}: {first_line}"
        )


def _drop_row_from_message(context: ExceptionContext) -> None:
    """Cut "Failing row contains (...)", which shows what strangers wrote to whoever reads logs."""
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(original, psycopg.Error) and wrapped is not None:
        original.args = (original.diag.message_primary or type(original).__name__,)
        wrapped.args = original.args


def _without_secrets(url: URL) -> str:
    # libpq also takes a password among the parameters.
    return url.set(query={}).render_as_string(hide_password=True)


def _expected(got: str) -> str:
    return (
        f"database.url must be like sqlite:///monitor.db or postgresql://user@host/name, got {got}"
    )
