"""How one stream went over time, for charts that show no more windows than a screen can."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Label, Select, case, func, select, text, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NullType

from monitor.records import ALL, Signal, Verdict, WindowId
from monitor.store.statements import in_chunks
from monitor.store.tables import (
    IS_DRIFTING,
    IS_PERSISTENT,
    EvidenceRow,
    MeasurementRow,
    WindowRow,
)


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """What a line in a chart needs of one measurement."""

    signal: Signal
    window: WindowId
    n: int
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    null_mean: float | None
    threshold: float | None
    excess_ratio: float | None


@dataclass(frozen=True, slots=True)
class WorstOfWindow:
    """The largest excess in one window, over the signals of the whole stream."""

    window: WindowId
    excess_ratio: float | None
    is_drifting: bool


def windows_between(
    session: Session, stream: str, start: datetime, end: datetime
) -> list[WindowId]:
    """Measured windows that start within ``[start, end)``, oldest first."""
    row = WindowRow
    rows = session.execute(
        select(row.start, row.end)
        .where(row.stream == stream, row.start >= start, row.start < end)
        .order_by(row.start, row.end)
    )
    return [WindowId(*r) for r in rows]


def starts_between(
    session: Session, stream: str, start: datetime, end: datetime
) -> tuple[list[datetime], timedelta]:
    """Starts, within ``[start, end)``, of measured windows, and how long the last of them is.

    Ends are left out because making times of what SQLite stores costs more than reading it.
    """
    row = WindowRow
    inside = row.stream == stream, row.start >= start, row.start < end
    starts = session.scalars(select(row.start).where(*inside).order_by(row.start)).all()
    last = session.scalar(
        select(row.end).where(*inside).order_by(row.start.desc(), row.end.desc()).limit(1)
    )
    return sorted(set(starts)), timedelta(0) if last is None else last - starts[-1]


def points_of(
    session: Session, stream: str, slice_key: str, starts: Sequence[datetime]
) -> list[TimelinePoint]:
    """Every signal in the windows that start then, by signal and time."""
    row, windows = MeasurementRow, _windows_by_raw_times(session, stream, starts)
    # By their ends: what was measured in one window lies together, a signal over time does not.
    # SQLite must be kept from the index that begins with the slice, of which it thinks too well.
    of_slice = func.coalesce(row.slice_key, "") == slice_key
    found = [
        TimelinePoint(Signal(signal), windows[start, end], n, Verdict(verdict), *numbers)
        for chunk in in_chunks(sorted({w.end for w in windows.values()}))
        for signal, start, end, n, verdict, *numbers in session.execute(
            select(
                row.signal,
                _raw(row.window_start),
                _raw(row.window_end),
                row.n,
                row.verdict,
                row.value,
                row.low,
                row.high,
                row.null_mean,
                row.threshold,
                row.excess_ratio,
            ).where(row.stream == stream, row.window_end.in_(chunk), of_slice)
        )
        if (start, end) in windows
    ]
    return sorted(found, key=lambda p: (p.signal, p.window))


def _windows_by_raw_times(
    session: Session, stream: str, starts: Sequence[datetime]
) -> dict[tuple[object, object], WindowId]:
    row = WindowRow
    return {
        raw: WindowId(start, end)
        for chunk in in_chunks(starts)
        for start, end, *times in session.execute(
            select(row.start, row.end, _raw(row.start), _raw(row.end)).where(
                row.stream == stream, row.start.in_(chunk)
            )
        )
        for raw in [(times[0], times[1])]
    }


def _raw(column: InstrumentedAttribute[datetime]) -> Label[None]:
    """As the database gives it: thousands of times need not be made of the same few texts."""
    return type_coerce(column, NullType()).label(f"raw_{column.key}")


def drifting_starts(
    session: Session, stream: str, slice_key: str, start: datetime, end: datetime
) -> list[datetime]:
    """Starts, within ``[start, end)``, of windows in which any signal is drifting."""
    found = _starts_where(IS_DRIFTING, MeasurementRow, stream, slice_key, start, end)
    return list(session.scalars(found))


def persistent_starts(
    session: Session, stream: str, slice_key: str, start: datetime, end: datetime
) -> list[datetime]:
    """The same of windows in which the evidence of any signal stands."""
    found = _starts_where(IS_PERSISTENT, EvidenceRow, stream, slice_key, start, end)
    return list(session.scalars(found))


def _starts_where(
    condition: str,
    row: type[MeasurementRow | EvidenceRow],
    stream: str,
    slice_key: str,
    start: datetime,
    end: datetime,
) -> Select[datetime]:
    return (
        select(row.window_start)
        .distinct()
        .where(
            row.stream == stream,
            row.slice_key == slice_key,
            row.window_start >= start,
            row.window_start < end,
            text(condition),
        )
        .order_by(row.window_start)
    )


def worst_of_windows(session: Session, stream: str, after: datetime) -> list[WorstOfWindow]:
    """The largest excess of every window that starts after a time, oldest first."""
    row = MeasurementRow
    is_out = func.max(case((row.verdict == Verdict.DRIFTING.value, 1), else_=0))
    rows = session.execute(
        select(row.window_start, row.window_end, func.max(row.excess_ratio), is_out)
        .where(
            row.stream == stream,
            row.slice_key == ALL,
            row.signal.in_(list(Signal)),
            row.window_start > after,
        )
        .group_by(row.window_start, row.window_end)
        .order_by(row.window_start, row.window_end)
    )
    return [WorstOfWindow(WindowId(s, e), excess, bool(out)) for s, e, excess, out in rows]
