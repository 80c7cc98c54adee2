"""Exchanges by source, format and outcome since the database was made."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.store.statements import insert_into
from monitor.store.tables import CounterRow

Count = tuple[str, str, str, int]


def add_counts(session: Session, source: str, form: str, counts: Mapping[str, int]) -> None:
    """Add to the counts by outcome."""
    rows = [
        {"source": source, "format": form, "outcome": outcome, "count": count}
        for outcome, count in counts.items()
        if count
    ]
    if not rows:
        return
    statement = insert_into(session, CounterRow)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[CounterRow.source, CounterRow.format, CounterRow.outcome],
            set_={"count": CounterRow.count + statement.excluded.count},
        ),
        rows,
    )


def all_counts(session: Session) -> list[Count]:
    """Every ``(source, format, outcome, count)``, in that order."""
    keys = (CounterRow.source, CounterRow.format, CounterRow.outcome)
    rows = session.execute(select(*keys, CounterRow.count).order_by(*keys))
    return [(source, form, outcome, count) for source, form, outcome, count in rows]
