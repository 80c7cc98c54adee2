"""The watched streams, and how far event time has come in each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, case, func, or_, select, update
from sqlalchemy.orm import Session

from monitor.store.statements import New, Upsert
from monitor.store.tables import PartitionWatermarkRow, StreamRow


@dataclass(frozen=True, slots=True)
class PartitionTimes:
    """First and last event time that one partition of a source has shown for one stream."""

    source: str
    partition: str
    stream: str
    first: datetime
    last: datetime


def _widened(new: New) -> dict[str, object]:
    old = PartitionWatermarkRow
    return {
        "first": case((new["first"] < old.first, new["first"]), else_=old.first),
        "last": case((new["last"] > old.last, new["last"]), else_=old.last),
    }


_ENSURE = Upsert(StreamRow, None)
_WIDEN = Upsert(PartitionWatermarkRow, _widened)
_ADVANCE = (
    update(StreamRow)
    .where(
        StreamRow.name == bindparam("stream"),
        or_(StreamRow.watermark.is_(None), StreamRow.watermark < bindparam("to")),
    )
    .values(watermark=bindparam("to"))
)
_TIMES = select(
    PartitionWatermarkRow.source,
    PartitionWatermarkRow.partition,
    PartitionWatermarkRow.stream,
    PartitionWatermarkRow.first,
    PartitionWatermarkRow.last,
).order_by(
    PartitionWatermarkRow.source, PartitionWatermarkRow.partition, PartitionWatermarkRow.stream
)
_NEWEST = select(PartitionWatermarkRow.stream, func.max(PartitionWatermarkRow.last)).group_by(
    PartitionWatermarkRow.stream
)
_TIMES_OF_ONE = _TIMES.where(PartitionWatermarkRow.source == bindparam("of"))


def ensure_streams(session: Session, names: Iterable[str], now: datetime) -> None:
    """Make the streams known; those that are known already stay as they are."""
    _ENSURE(session, [{"name": name, "first_seen": now} for name in sorted(set(names))])


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
    if to:
        session.connection().execute(
            _ADVANCE, [{"stream": stream, "to": moment} for stream, moment in to.items()]
        )


def note_partition_times(
    session: Session, source: str, partition: str, times: Mapping[str, tuple[datetime, datetime]]
) -> None:
    """Widen what a partition has shown, by the first and last event time of each stream."""
    _WIDEN(
        session,
        [
            {
                "source": source,
                "partition": partition,
                "stream": stream,
                "first": first,
                "last": last,
            }
            for stream, (first, last) in times.items()
        ],
    )


def partition_watermarks(session: Session, source: str | None = None) -> list[PartitionTimes]:
    """What every partition has shown, of one source or of all."""
    query = _TIMES if source is None else _TIMES_OF_ONE
    # Not through the session: it would look at each of the rows, hundreds every second.
    return [PartitionTimes(*row) for row in session.connection().execute(query, {"of": source})]


def newest_times(session: Session) -> dict[str, datetime]:
    """Newest event time that any partition has shown, by stream."""
    rows = session.connection().execute(_NEWEST)
    return {stream: last for stream, last in rows}  # noqa: C416 - dict() of rows has no types
