"""What only one of several processes does at a time: who does it, and until when."""

from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from monitor.store.tables import LeaseRow


def take_lease(session: Session, name: str, holder: str, now: datetime, lasts: timedelta) -> bool:
    """Take or renew a lease; False, and nothing changes, while somebody else holds it.

    One that ends later than any could is of somebody whose clock is wrong: it counts for nothing.
    """
    row = session.get(LeaseRow, name)
    if row is not None and row.holder != holder and now < row.until <= now + 2 * lasts:
        return False
    session.merge(LeaseRow(name=name, holder=holder, until=now + lasts))
    return True


def release_lease(session: Session, name: str, holder: str) -> None:
    """Let somebody else take it at once; nothing happens unless this one holds it."""
    session.execute(delete(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder))
