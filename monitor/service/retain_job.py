"""Deletes what is older than the operator wants kept."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

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


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long each kind of thing is kept."""

    content: timedelta
    samples: timedelta
    measurements: timedelta
    early_targets: timedelta


class RetainJob:
    """Deletes by age; running it twice deletes nothing more."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        rules: RetentionRules,
        data_dir: Path,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._data_dir = data_dir

    def __call__(self) -> None:
        """Delete everything that is too old now."""
        now = self._clock()
        with self._database.begin() as session:
            deleted = {
                "contents": retention.forget_content(session, now - self._rules.content),
                "quarantined": forget_quarantined(session, now - self._rules.content),
                "samples": retention.forget_samples(session, now - self._rules.samples),
                "measurements": retention.forget_measurements(
                    session, now - self._rules.measurements
                ),
                "early_targets": retention.forget_early_targets(
                    session, now - max(self._rules.early_targets, ORPHAN_AGE)
                ),
                "images": retention.collect_images(session, now - ORPHAN_AGE),
                "acknowledgements": forget_acknowledgements(
                    session, now - self._rules.measurements
                ),
                "audit": forget_audit(session, now - self._rules.measurements),
                "tasks": forget_tasks(session, now - self._rules.samples),
            }
        # Another process, perhaps on another machine, may have deleted a reference.
        deleted["indexes"] = forget_indexes(self._database, self._data_dir)
        if any(deleted.values()):
            log.info("retention_applied", **deleted)
