"""What the embedded database does for statements, which does not depend on what is stored."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session


def statements_of(session: Session, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """The statements of a piece of work with their parameters; many at once are one."""
    found: list[tuple[str, Any]] = []

    def note(*seen: Any) -> None:
        _, _, statement, parameters, _, is_many = seen
        found.append((statement, parameters[0] if is_many else parameters))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(connection, "before_cursor_execute", note)
    return found


def steps_of(session: Session, work: Callable[[], object]) -> list[str]:
    """How rows are found for the statements of a piece of work, table by table."""
    explain = "EXPLAIN QUERY PLAN "
    return [
        step.detail
        for statement, parameters in statements_of(session, work)
        for step in session.connection().exec_driver_sql(explain + statement, parameters)
    ]
