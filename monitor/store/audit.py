"""Who did what to what, and how it ended. Never what strangers wrote, nor ids of exchanges."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from monitor.store.tables import AuditRow, storable

KEPT = 10_000  # newest entries; what is older goes, whatever its age
MAX_CHARACTERS = 400


class Outcome(StrEnum):
    """How an action ended."""

    DONE = "done"
    STARTED = "started"  # goes on in the background; another entry says how that ended
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action. ``who`` is the name or fingerprint of a token, ``local`` or a command's user."""

    at: datetime
    who: str
    action: str
    target: str
    outcome: Outcome
    detail: str = ""
    id: int = 0  # given by the store


def record_audit(session: Session, entry: AuditEntry) -> None:
    """Write an entry in the transaction of what it is about."""
    session.execute(
        insert(AuditRow).values(
            at=entry.at,
            who=entry.who,
            action=entry.action,
            target=storable(entry.target)[:MAX_CHARACTERS],
            outcome=entry.outcome,
            detail=storable(entry.detail)[:MAX_CHARACTERS],
        )
    )


def audit_entries(session: Session, *, before: int | None = None, limit: int) -> list[AuditEntry]:
    """Newest first; the next page comes ``before`` the id of the last entry of this one."""
    row = AuditRow
    query = select(row).order_by(row.id.desc()).limit(limit)
    if before is not None:
        query = query.where(row.id < before)
    return [
        AuditEntry(r.at, r.who, r.action, r.target, Outcome(r.outcome), r.detail, r.id)
        for r in session.scalars(query)
    ]


def forget_audit(session: Session, before: datetime) -> int:
    """Delete what is too old, and what is beyond the newest few thousand."""
    row = AuditRow
    newest = session.scalar(select(func.max(row.id))) or 0
    old = delete(row).where((row.at < before) | (row.id <= newest - KEPT))
    return session.connection().execute(old).rowcount
