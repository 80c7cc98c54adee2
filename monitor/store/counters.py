"""Exchanges by source, format and outcome since the database was made."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.store.statements import Upsert
from monitor.store.tables import CounterRow

Count = tuple[str, str, str, int]

_ADD = Upsert(CounterRow, lambda new: {"count": CounterRow.count + new["count"]})


def add_counts(session: Session, source: str, form: str, counts: Mapping[str, int]) -> None:
    """Add to the counts by outcome."""
    _ADD(
        session,
        [
            {"source": source, "format": form, "outcome": outcome, "count": count}
            for outcome, count in counts.items()
            if count
        ],
    )


def all_counts(session: Session) -> list[Count]:
    """Every ``(source, format, outcome, count)``, in that order."""
    keys = (CounterRow.source, CounterRow.format, CounterRow.outcome)
    rows = session.execute(select(*keys, CounterRow.count).order_by(*keys))
    return [(source, form, outcome, count) for source, form, outcome, count in rows]
