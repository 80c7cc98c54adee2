"""Deletes what is older than the operator wants kept."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from monitor.service.forget import forget_indexes
from monitor.store import retention
from monitor.store.acknowledgements import forget_acknowledgements
from monitor.store.audit import forget_audit
from monitor.store.engine import Database
from monitor.store.quarantine import forget_quarantined
from monitor.store.tasks import forget_tasks

log = structlog.get_logger()
# Images wait this long for a sample that refers to them, and early targets for their exchange.
ORPHAN_AGE = timedelta(hours=1)
PART = 200  # of what is deleted in one transaction: some 20 ms
BETWEEN_PARTS = 0.1  # seconds; whoever waits to write looks as often


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long each kind of thing is kept."""

    content: timedelta
    samples: timedelta
    measurements: timedelta
    early_targets: timedelta


class RetainJob:
    """Deletes by age; running it twice deletes nothing more.

    ``pause`` waits so many seconds and says whether to stop: what is left is found again.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        rules: RetentionRules,
        data_dir: Path,
        pause: Callable[[float], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._data_dir = data_dir
        self._pause = pause

    def __call__(self) -> None:
        """Delete everything that is too old now, or as much as there is time for."""
        now, rules = self._clock(), self._rules
        early = max(rules.early_targets, ORPHAN_AGE)
        deleted = {
            "contents": self._in_parts(retention.forget_content, now - rules.content),
            "pictures": self._in_parts(retention.forget_pictures, now - rules.content),
            "samples": self._in_parts(retention.forget_samples, now - rules.samples),
            "windows": self._in_parts(retention.forget_measurements, now - rules.measurements),
            "early_targets": self._in_parts(retention.forget_early_targets, now - early),
            "images": self._collect_images(now - ORPHAN_AGE),
        }
        with self._database.begin() as session:
            deleted |= {
                "quarantined": forget_quarantined(session, now - rules.content),
                "acknowledgements": forget_acknowledgements(session, now - rules.measurements),
                "audit": forget_audit(session, now - rules.measurements),
                "tasks": forget_tasks(session, now - rules.samples),
            }
        # Another process, perhaps on another machine, may have deleted a reference.
        deleted["indexes"] = forget_indexes(self._database, self._data_dir)
        if any(deleted.values()):
            log.info("retention_applied", **deleted)

    def _in_parts(self, forget: Callable[[Session, datetime, int], int], before: datetime) -> int:
        """Forget part by part, so that others come to write in between."""
        total = 0
        while True:
            with self._database.begin() as session:
                count = forget(session, before, PART)
            total += count
            if count < PART or self._pause(BETWEEN_PARTS):
                return total

    def _collect_images(self, before: datetime) -> int:
        with self._database.read() as session:
            found = retention.orphaned_images(session, before)
        total = 0
        for start in range(0, len(found), PART):
            with self._database.begin() as session:
                total += retention.collect_images(session, found[start : start + PART])
            if self._pause(BETWEEN_PARTS):
                break
        return total
