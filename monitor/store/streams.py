"""The watched streams, and how far event time has come in each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, case, or_, select, update
from sqlalchemy.orm import Session

from monitor.store.statements import insert_into
from monitor.store.tables import PartitionWatermarkRow, StreamRow


@dataclass(frozen=True, slots=True)
class PartitionTimes:
    """First and last event time that one partition of a source has shown for one stream."""

    source: str
    partition: str
    stream: str
    first: datetime
    last: datetime


def ensure_streams(session: Session, names: Iterable[str], now: datetime) -> None:
    """Make the streams known; those that are known already stay as they are."""
    rows = [{"name": name, "first_seen": now} for name in sorted(set(names))]
    if rows:
        session.execute(insert_into(session, StreamRow).on_conflict_do_nothing(), rows)


def known_streams(session: Session) -> list[str]:
    """Names in the order in which the streams were first seen."""
    return list(
        session.scalars(select(StreamRow.name).order_by(StreamRow.first_seen, StreamRow.name))
    )


def watermarks(session: Session) -> dict[str, datetime]:
    """Event time up to which panes are closed, of each stream that has a watermark."""
    rows = session.execute(
        select(StreamRow.name, StreamRow.watermark).where(StreamRow.watermark.is_not(None))
    )
    return {name: watermark for name, watermark in rows if watermark is not None}


def advance_watermarks(session: Session, to: Mapping[str, datetime]) -> None:
    """Move the watermarks of known streams forwards; none moves back."""
    row = StreamRow
    if to:
        session.connection().execute(
            update(row)
            .where(
                row.name == bindparam("stream"),
                or_(row.watermark.is_(None), row.watermark < bindparam("to")),
            )
            .values(watermark=bindparam("to")),
            [{"stream": stream, "to": moment} for stream, moment in to.items()],
        )


def note_partition_times(
    session: Session, source: str, partition: str, times: Mapping[str, tuple[datetime, datetime]]
) -> None:
    """Widen what a partition has shown, by the first and last event time of each stream."""
    rows = [
        {
            "source": source,
            "partition": partition,
            "stream": stream,
            "first": first,
            "last": last,
        }
        for stream, (first, last) in times.items()
    ]
    if not rows:
        return
    old, statement = PartitionWatermarkRow, insert_into(session, PartitionWatermarkRow)
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[old.source, old.partition, old.stream],
            set_={
                "first": case((new.first < old.first, new.first), else_=old.first),
                "last": case((new.last > old.last, new.last), else_=old.last),
            },
        ),
        rows,
    )


def partition_watermarks(session: Session, source: str | None = None) -> list[PartitionTimes]:
    """What every partition has shown, of one source or of all."""
    row = PartitionWatermarkRow
    query = select(row).order_by(row.source, row.partition, row.stream)
    if source is not None:
        query = query.where(row.source == source)
    return [
        PartitionTimes(r.source, r.partition, r.stream, r.first, r.last)
        for r in session.scalars(query)
    ]
