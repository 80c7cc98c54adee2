"""What each pane of a stream has seen, and how much of it is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.store.statements import Upsert, in_chunks
from monitor.store.tables import PaneRow, SampleRow

PaneKey = tuple[str, datetime]  # stream, start

_CHANGE = Upsert(
    PaneRow, lambda new: {"seen": PaneRow.seen + new["seen"], "revision": PaneRow.revision + 1}
)


@dataclass(frozen=True, slots=True)
class PaneState:
    """One pane: exchanges seen, samples kept of them, and the largest priority kept."""

    start: datetime
    seen: int
    revision: int
    kept: int
    kept_max_priority: int | None


def count_exchanges(session: Session, seen: Mapping[PaneKey, int]) -> None:
    """Add to what panes have seen; each revision grows by one."""
    _change_panes(session, {key: n for key, n in seen.items() if n})


def touch_panes(session: Session, keys: Iterable[PaneKey]) -> None:
    """Let the revision of each pane grow by one, so that its windows are measured again."""
    _change_panes(session, dict.fromkeys(keys, 0))


def pane_thresholds(
    session: Session, stream: str, starts: Sequence[datetime], per_pane: int
) -> dict[datetime, int | None]:
    """Largest kept priority of each pane that had to drop exchanges, None where none was dropped.

    An exchange of larger priority need not be offered to such a pane. A window's sample is uniform
    once every pane is cut at the smallest threshold in the window.
    """
    thresholds: dict[datetime, int | None] = dict.fromkeys(starts)
    for chunk in in_chunks(starts):
        rows = session.execute(
            select(PaneRow.start, func.max(SampleRow.priority))
            .join_from(
                PaneRow,
                SampleRow,
                (SampleRow.stream == PaneRow.stream) & (SampleRow.pane_start == PaneRow.start),
            )
            .where(PaneRow.stream == stream, PaneRow.start.in_(chunk))
            .group_by(PaneRow.start, PaneRow.seen)
            .having(func.count() >= per_pane, func.count() < PaneRow.seen)
        )
        thresholds |= {start: largest for start, largest in rows}  # noqa: C416 - dict() of rows has no types
    return thresholds


def pane_states(session: Session, stream: str, start: datetime, end: datetime) -> list[PaneState]:
    """The panes that start within ``[start, end)``, in order."""
    rows = session.execute(
        select(
            PaneRow.start,
            PaneRow.seen,
            PaneRow.revision,
            func.count(SampleRow.id),
            func.max(SampleRow.priority),
        )
        .join_from(
            PaneRow,
            SampleRow,
            (SampleRow.stream == PaneRow.stream) & (SampleRow.pane_start == PaneRow.start),
            isouter=True,
        )
        .where(PaneRow.stream == stream, PaneRow.start >= start, PaneRow.start < end)
        .group_by(PaneRow.start, PaneRow.seen, PaneRow.revision)
        .order_by(PaneRow.start)
    )
    return [PaneState(*row) for row in rows]


def first_pane(session: Session, stream: str) -> datetime | None:
    """Start of the oldest pane that is still stored, None where there is none."""
    return session.scalar(select(func.min(PaneRow.start)).where(PaneRow.stream == stream))


def _change_panes(session: Session, seen: Mapping[PaneKey, int]) -> None:
    _CHANGE(
        session,
        [
            {"stream": stream, "start": start, "seen": n, "revision": 1, "settled_revision": 0}
            for (stream, start), n in seen.items()
        ],
    )
