"""A table or view of a database, one record a row, read in the order of a key that grows."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import (
    URL,
    ColumnClause,
    Connection,
    RowMapping,
    TableClause,
    column,
    create_engine,
    false,
    func,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor.errors import SourceError
from monitor.postgresql import noticing_loss
from monitor.records import Cursor
from monitor.traffic.sources.lines import Batch
from monitor.traffic.sources.rows import NATIVE, NEEDED, json_of, native_line

RETRY_SECONDS = 10.0
_FETCHED = 50  # rows in memory


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of the table, which are one partition."""

    id: str


class TableSource:
    """Rows whose keys have been visible for ``settle_seconds``, each once.

    A transaction that began earlier may commit lower keys later, so what has just appeared waits
    until such ones have had their time. ``json_column`` holds whole records; without it the columns
    id (else the key), time, stream, query, response, target, labels and images make native ones.
    Only reads. Not for several threads at once.
    """

    has_files = False

    def __init__(
        self,
        name: str,
        *,
        url: str,
        rows: tuple[str, str],
        json_column: str = "",
        settle_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``rows`` are the name of the table, or SCHEMA.NAME, and that of its key."""
        self.name = name
        self._url = _parsed(url)
        used = noticing_loss(self._url) if _is_postgresql(self._url) else self._url
        try:
            self._engine = create_engine(used, hide_parameters=True)
        except (ImportError, SQLAlchemyError) as exc:
            raise SourceError(f"cannot use {self._url.drivername}: {exc}") from exc
        self._id, self._key = rows
        self._json_column = json_column
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._table: TableClause | None = None
        self._seen: deque[tuple[float, int]] = deque()  # newest keys, and when they were
        self._settled = -1
        self._retry_at = clock()
        self._told: set[str] = set()
        self._news: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def problems(self) -> list[str]:
        """What could not be read and why; each is told once for as long as it lasts."""
        news, self._news = self._news, []
        return news

    def partitions(self) -> set[str]:
        """The table is one."""
        return {self._id}

    def probe(self) -> str:
        """What is there now, for people.

        Raises:
            SourceError: if it cannot be read.
        """
        try:
            with self._connected() as connection:
                newest = self._newest(connection)
        except SQLAlchemyError as exc:
            raise SourceError(_said(exc)) from exc
        finally:
            self._engine.dispose()
        return f"table {self._id}, " + ("empty" if newest is None else f"{self._key} to {newest}")

    def ready(self, cursors: Mapping[str, Cursor]) -> list[Rows]:
        """The table if something in it is unread; ``cursors`` are those of this source."""
        now = self._clock()
        if now < self._retry_at:
            return []
        try:
            with self._connected() as connection:
                newest = self._newest(connection)
        except (SQLAlchemyError, SourceError) as exc:
            self._fail(exc)
            return []
        self._settle(now, newest)
        cursor = cursors.get(self._id)
        if newest is not None and newest >= (cursor.offset if cursor else 0):
            return [Rows(self._id)]
        self._told.clear()
        return []

    def read(self, partition: Rows, offset: int, max_lines: int, max_bytes: int) -> Batch:
        """The next rows from the key ``offset``, as far as they have settled."""
        del partition  # there is only one
        lines: list[bytes] = []
        size, end = 0, offset
        try:
            with self._connected() as connection:
                for number, row in enumerate(self._between(connection, offset, max_lines)):
                    if size >= max_bytes or number == max_lines:
                        return Batch(lines, end, at_end=False, rejections=[])
                    line = self._line(row)
                    lines += [line] if line else []
                    size, end = size + len(line), row[self._key] + 1
                self._told.clear()
        except (SQLAlchemyError, SourceError) as exc:
            self._fail(exc)
        return Batch(lines, end, at_end=True, rejections=[])

    def _settle(self, now: float, newest: int | None) -> None:
        if newest is not None and (not self._seen or newest > self._seen[-1][1]):
            self._seen.append((now, newest))
        while self._seen and self._seen[0][0] <= now - self._settle_seconds:
            self._settled = max(self._settled, self._seen.popleft()[1])

    def _newest(self, connection: Connection) -> int | None:
        table_ = self._described(connection)
        newest = connection.scalar(select(func.max(table_.c[self._key])))
        if newest is not None and not isinstance(newest, int):
            raise SourceError(f"table {self._id}: {self._key} must hold whole numbers")
        return newest

    def _between(self, connection: Connection, first: int, count: int) -> Iterable[RowMapping]:
        table_ = self._described(connection)
        key = table_.c[self._key]
        # One more than wanted tells whether that is all. Few at a time, because rows hold images.
        query = (
            select(table_).where(key >= first, key <= self._settled).order_by(key).limit(count + 1)
        )
        return connection.execute(query, execution_options={"yield_per": _FETCHED}).mappings()

    def _described(self, connection: Connection) -> TableClause:
        if self._table is None:
            schema, _, bare = self._id.rpartition(".")
            # Reflection would warn of each type that it does not know.
            every = select(text("*")).select_from(table(bare, schema=schema or None))
            found = set(connection.execute(every.where(false())).keys())
            needed = (self._json_column,) if self._json_column else NEEDED
            if missing := [name for name in (self._key, *needed) if name not in found]:
                raise SourceError(f"table {self._id} has no column {', '.join(missing)}")
            wanted = needed if self._json_column else NATIVE
            names = [name for name in (self._key, *wanted) if name in found]
            self._table = table(bare, *map(_column, dict.fromkeys(names)), schema=schema or None)
        return self._table

    def _line(self, row: RowMapping) -> bytes:
        if self._json_column:
            return json_of(row[self._json_column]).strip()
        return native_line(row, or_id=row[self._key])

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        path = self._url.database
        if self._url.get_backend_name() == "sqlite" and path and not Path(path).exists():
            raise SourceError(f"{path}: no such file")  # which connecting would make
        read_only = {"postgresql_readonly": True} if _is_postgresql(self._url) else {}
        with self._engine.execution_options(**read_only).connect() as connection:
            if self._url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
            yield connection

    def _fail(self, exc: SQLAlchemyError | SourceError) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        problem = str(exc) if isinstance(exc, SourceError) else _said(exc)
        if problem not in self._told:
            self._told.add(problem)
            self._news.append(problem)


def read_url(path: Path) -> str:
    """The address in a file.

    Raises:
        SourceError: if the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"cannot read url_file {path}: {type(exc).__name__}") from exc


def _column(name: str) -> ColumnClause[Any]:
    return column(name)  # without a type: values come as the driver gives them


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise SourceError("url must be like postgresql://user@host/name") from None  # it is secret
    return parsed.set(drivername="postgresql+psycopg") if _is_postgresql(parsed) else parsed


def _is_postgresql(url: URL) -> bool:
    return url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}


def _said(exc: SQLAlchemyError) -> str:
    """One line that holds no values of rows."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    return (str(cause).strip() or type(exc).__name__).partition("\n")[0]
