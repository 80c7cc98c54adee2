"""How far each partition of a source has been read."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from monitor.records import Cursor
from monitor.store.statements import Upsert, in_chunks
from monitor.store.tables import CursorRow, PartitionWatermarkRow

_SAVE = Upsert(CursorRow, lambda new: {n: new[n] for n in ("offset", "at_end", "updated_at")})


def cursors_of(session: Session, source: str) -> dict[str, Cursor]:
    """Cursors of one source by partition."""
    row = CursorRow
    # Not through the session, as they are read with every look at a source.
    rows = session.connection().execute(
        select(row.partition, row.offset, row.at_end).where(row.source == source)
    )
    return {name: Cursor(source, name, offset, at_end) for name, offset, at_end in rows}


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


def forget_partitions(
    session: Session, source: str, present: Collection[str], before: datetime
) -> int:
    """Forget the partitions of a source that are not ``present`` and were last read before."""
    row = CursorRow
    old = session.scalars(
        select(row.partition).where(row.source == source, row.updated_at < before)
    )
    gone = [partition for partition in old if partition not in present]
    for chunk in in_chunks(gone):
        for table in (CursorRow, PartitionWatermarkRow):
            session.execute(delete(table).where(table.source == source, table.partition.in_(chunk)))
    return len(gone)
