"""What people say about windows of a stream. Nothing that was measured changes by it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from monitor.records import Signal, WindowId
from monitor.store.tables import AcknowledgementRow, storable


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A note about the windows that overlap ``[since, until)``; without ``until`` about all later.

    Of every slice and signal where none is named.
    """

    stream: str
    since: datetime
    until: datetime | None
    note: str
    author: str
    created_at: datetime
    slice_key: str | None = None
    signal: Signal | None = None
    id: int = 0  # given by the store
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None

    def covers(
        self, window: WindowId, slice_key: str | None = None, signal: Signal | None = None
    ) -> bool:
        """Whether it is about this window, of this slice and signal where they are given."""
        return (
            self.withdrawn_at is None
            and window.end > self.since
            and (self.until is None or window.start < self.until)
            and (self.slice_key is None or slice_key in {None, self.slice_key})
            and (self.signal is None or signal in {None, self.signal})
        )


def add_acknowledgement(session: Session, said: Acknowledgement) -> int:
    """Keep a note; returns its id."""
    row = AcknowledgementRow
    statement = insert(row).values(
        stream=said.stream,
        slice_key=said.slice_key,
        signal=said.signal,
        since=said.since,
        until=said.until,
        note=storable(said.note),
        author=said.author,
        created_at=said.created_at,
    )
    return session.scalars(statement.returning(row.id)).one()


def withdraw_acknowledgement(session: Session, id_: int, by: str, now: datetime) -> bool:
    """Let a note count no longer; False if there is none, or it was withdrawn before."""
    row = AcknowledgementRow
    withdrawn = session.scalar(
        update(row)
        .where(row.id == id_, row.withdrawn_at.is_(None))
        .values(withdrawn_at=now, withdrawn_by=by)
        .returning(row.id)
    )
    return withdrawn is not None


def acknowledgements(  # noqa: PLR0913 - each is one independent condition of a query
    session: Session,
    *,
    stream: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    with_withdrawn: bool = False,
    before: int | None = None,
    limit: int = 100,
) -> list[Acknowledgement]:
    """Notes about anything within ``[start, end)``, newest first.

    The next page comes ``before`` the id of the last one of this.
    """
    row = AcknowledgementRow
    query = select(row).order_by(row.id.desc()).limit(limit)
    if stream is not None:
        query = query.where(row.stream == stream)
    if start is not None:
        query = query.where(or_(row.until.is_(None), row.until > start))
    if end is not None:
        query = query.where(row.since < end)
    if not with_withdrawn:
        query = query.where(row.withdrawn_at.is_(None))
    if before is not None:
        query = query.where(row.id < before)
    return [_acknowledgement(r) for r in session.scalars(query)]


def forget_acknowledgements(session: Session, before: datetime) -> int:
    """Delete notes that were made long ago, but not those that still say something about now."""
    row = AcknowledgementRow
    is_over = or_(row.until < before, row.withdrawn_at.is_not(None))
    old = delete(row).where(row.created_at < before, is_over)
    return session.connection().execute(old).rowcount


def _acknowledgement(row: AcknowledgementRow) -> Acknowledgement:
    return Acknowledgement(
        id=row.id,
        stream=row.stream,
        slice_key=row.slice_key,
        signal=None if row.signal is None else Signal(row.signal),
        since=row.since,
        until=row.until,
        note=row.note,
        author=row.author,
        created_at=row.created_at,
        withdrawn_at=row.withdrawn_at,
        withdrawn_by=row.withdrawn_by,
    )
