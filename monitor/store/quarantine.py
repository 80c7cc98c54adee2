"""Records that were refused: the newest few, for people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from monitor.records import Rejection
from monitor.store.tables import QuarantineRow

KEEP = 1000

_INSERT = insert(QuarantineRow)
_LAST_TO_GO = (
    select(QuarantineRow.id).order_by(QuarantineRow.id.desc()).offset(bindparam("keep")).limit(1)
)
_DELETE_OLDEST = delete(QuarantineRow).where(QuarantineRow.id <= _LAST_TO_GO.scalar_subquery())


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A refused record and where it came from."""

    source: str
    partition: str
    rejection: Rejection
    stored_at: datetime


def quarantine(
    session: Session,
    source: str,
    partition: str,
    rejections: Sequence[Rejection],
    now: datetime,
    keep: int = KEEP,
) -> None:
    """Keep the newest ``keep`` refused records of all sources; the oldest go."""
    newest = rejections[-keep:] if keep else []
    if not newest:
        return
    connection = session.connection()
    connection.execute(
        _INSERT,
        [
            {
                "source": source,
                "partition": partition,
                "reason": r.reason,
                "detail": r.detail,
                "excerpt": r.excerpt,
                "stored_at": now,
            }
            for r in newest
        ],
    )
    connection.execute(_DELETE_OLDEST, {"keep": keep})


def forget_quarantined(session: Session, before: datetime) -> int:
    """Delete refused records that came before."""
    old = delete(QuarantineRow).where(QuarantineRow.stored_at < before)
    return session.connection().execute(old).rowcount


def quarantined(session: Session, limit: int) -> list[Quarantined]:
    """Refused records, newest first."""
    rows = session.scalars(select(QuarantineRow).order_by(QuarantineRow.id.desc()).limit(limit))
    return [
        Quarantined(r.source, r.partition, Rejection(r.reason, r.detail, r.excerpt), r.stored_at)
        for r in rows
    ]
