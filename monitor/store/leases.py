"""What only one of several processes does at a time: who does it, and until when."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from monitor.store.tables import LeaseRow


def take_lease(session: Session, name: str, holder: str, now: datetime, until: datetime) -> bool:
    """Take or renew a lease; False, and nothing changes, while somebody else holds it."""
    row = session.get(LeaseRow, name)
    if row is not None and row.holder != holder and row.until > now:
        return False
    session.merge(LeaseRow(name=name, holder=holder, until=until))
    return True


def release_lease(session: Session, name: str, holder: str) -> None:
    """Let somebody else take it at once; nothing happens unless this one holds it."""
    session.execute(delete(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder))
