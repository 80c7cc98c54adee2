"""How far each partition of a source has been read."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.records import Cursor
from monitor.store.statements import Upsert
from monitor.store.tables import CursorRow

_SAVE = Upsert(CursorRow, lambda new: {n: new[n] for n in ("offset", "at_end", "updated_at")})


def cursors_of(session: Session, source: str) -> dict[str, Cursor]:
    """Cursors of one source by partition."""
    rows = session.scalars(select(CursorRow).where(CursorRow.source == source))
    return {row.partition: Cursor(source, row.partition, row.offset, row.at_end) for row in rows}


def save_cursor(session: Session, cursor: Cursor, now: datetime) -> None:
    """Belongs in the transaction that stores what was read: else a kill loses or doubles it."""
    row = {
        "source": cursor.source,
        "partition": cursor.partition,
        "offset": cursor.offset,
        "at_end": cursor.at_end,
        "updated_at": now,
    }
    _SAVE(session, [row])
