"""The few statement forms that more than one table needs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnCollection, ColumnElement
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from monitor.store.tables import Base

T = TypeVar("T")
_CHUNK = 1000  # values in one IN list; both databases limit the parameters of a statement

Insert = sqlite.Insert | postgresql.Insert
New = ColumnCollection[str, ColumnElement[Any]]  # what was to be inserted


def insert_into(session: Session, table: type[Base]) -> Insert:
    """An insert that can say what happens ``on_conflict``."""
    return _insert_into(session.get_bind().dialect.name, table)


class Upsert:
    """Inserts rows, or changes those that are there already by the same primary key.

    Put together once for each kind of database: for a few rows that takes longer than running it.
    """

    def __init__(
        self,
        table: type[Base],
        change: Callable[[New], Mapping[str, object]] | None,
        *,
        where: ColumnElement[bool] | None = None,
    ) -> None:
        """Without a ``change`` the row that is there stays; so it does where ``where`` is false."""
        self._table, self._change, self._where = table, change, where
        self._of: dict[str, Insert] = {}

    def __call__(self, session: Session, rows: Sequence[Mapping[str, object]]) -> None:
        if not rows:
            return
        connection = session.connection()
        dialect = connection.dialect.name
        if dialect not in self._of:
            self._of[dialect] = self._built(dialect)
        connection.execute(self._of[dialect], rows)

    def _built(self, dialect: str) -> Insert:
        statement = _insert_into(dialect, self._table)
        if self._change is None:
            return statement.on_conflict_do_nothing()
        return statement.on_conflict_do_update(
            index_elements=[*self._table.__table__.primary_key],
            set_=self._change(statement.excluded),
            where=self._where,
        )


def in_chunks(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _insert_into(dialect: str, table: type[Base]) -> Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
