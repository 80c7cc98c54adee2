"""Which of several daemons on one database measures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError

from monitor.errors import MonitorError
from monitor.store.engine import Database
from monitor.store.leases import release_lease, take_lease

log = structlog.get_logger()
MEASURING = "measure"
LEASE = timedelta(seconds=30)  # so long nobody measures after a leader was killed
RENEWED_WITHIN = LEASE / 3


class Leadership:
    """A lease in the database. Two that measure for a while, as clocks differ, do no harm."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._holder = uuid4().hex
        self._is_leader = False
        self._taken_at: datetime | None = None

    def leads(self) -> bool:
        """Whether this process is to measure now; renews the lease, or takes it where it is free.

        To be asked by one thread, more often than the lease lasts.
        """
        now = self._clock()
        if self._taken_at is not None and self._taken_at <= now < self._taken_at + RENEWED_WITHIN:
            return True
        self._taken_at = None
        with self._database.begin() as session:
            is_leader = take_lease(session, MEASURING, self._holder, now, LEASE)
        self._taken_at = now if is_leader else None
        if is_leader is not self._is_leader:
            log.info("leadership_taken" if is_leader else "leadership_lost")
        self._is_leader = is_leader
        return is_leader

    def release(self) -> None:
        """Let another one measure at once."""
        try:
            with self._database.begin() as session:
                release_lease(session, MEASURING, self._holder)
        except (MonitorError, SQLAlchemyError):  # it runs out by itself
            log.warning("leadership_not_released", lasts_seconds=LEASE.total_seconds())


@contextmanager
def leading(database: Database, clock: Callable[[], datetime]) -> Iterator[Callable[[], bool]]:
    """Asks whether this process measures; always where nobody else can use the database."""
    if database.is_embedded:
        yield lambda: True
        return
    leadership = Leadership(database, clock)
    try:
        yield leadership.leads
    finally:
        leadership.release()
