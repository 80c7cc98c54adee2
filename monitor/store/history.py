"""Windows of a stream one after another: finding one, listing them, and since when one is out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import literal, select, text, tuple_
from sqlalchemy.orm import Session

from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.store.tables import IS_DRIFTING, MeasurementRow, WindowRow
from monitor.store.windows import measurement_of_row, summary_of_row

BATCH = 200
LONGEST_RUN = 10_000  # windows; more are not looked at


@dataclass(frozen=True, slots=True)
class Run:
    """Successive windows in which a signal was out, and its last measurement before them.

    ``since`` is where what is new in the first of them begins: windows overlap, and what the last
    calm one held too was not yet out.
    """

    since: datetime
    before: Measurement | None


def list_windows(
    session: Session, stream: str, *, limit: int, before: WindowId | None = None
) -> list[WindowSummary]:
    """Recorded windows of a stream, newest start first; the next page comes ``before`` the last."""
    row = WindowRow
    query = select(row).where(row.stream == stream)
    if before is not None:
        key = (literal(t, row.start.type) for t in (before.start, before.end))
        query = query.where(tuple_(row.start, row.end) < tuple_(*key))
    rows = session.scalars(query.order_by(row.start.desc(), row.end.desc()).limit(limit))
    return [summary_of_row(r) for r in rows]


def find_window(session: Session, stream: str, end: datetime | None = None) -> WindowSummary | None:
    """The recorded window that ends then, or else the first to end after it that holds it.

    Without a time the newest one.
    """
    row = WindowRow
    query = select(row).where(row.stream == stream)
    if end is None:
        found = session.scalar(query.order_by(row.start.desc(), row.end.desc()).limit(1))
    else:
        found = session.scalar(
            query.where(row.end >= end, row.start <= end).order_by(row.end, row.start).limit(1)
        )
    return None if found is None else summary_of_row(found)


def recorded_window(session: Session, stream: str, window: WindowId) -> WindowSummary | None:
    """What is recorded of exactly this window."""
    row = session.get(WindowRow, (stream, window.start, window.end))
    return None if row is None else summary_of_row(row)


def newest_drifting(session: Session, stream: str | None = None) -> tuple[str, WindowId] | None:
    """The newest window in which a signal of the whole stream is out, of one stream or of all."""
    row = MeasurementRow
    query = select(row.stream, row.window_start, row.window_end).where(
        row.slice_key == ALL, text(IS_DRIFTING)
    )
    if stream is not None:
        query = query.where(row.stream == stream)
    found = session.execute(
        query.order_by(row.window_start.desc(), row.window_end.desc(), row.stream).limit(1)
    ).first()
    return None if found is None else (found[0], WindowId(found[1], found[2]))


def newest_judged(
    session: Session, stream: str, signal: Signal, *, start: datetime
) -> Measurement | None:
    """The newest one of the whole stream with a verdict, of windows that begin then or later."""
    row = MeasurementRow
    found = session.scalar(
        select(row)
        .where(
            row.stream == stream,
            row.slice_key == ALL,
            row.signal == signal.value,
            row.window_start >= start,
            row.verdict != Verdict.INSUFFICIENT.value,
        )
        .order_by(row.window_start.desc(), row.window_end.desc())
        .limit(1)
    )
    return None if found is None else measurement_of_row(found)


def unbroken_run(session: Session, m: Measurement) -> Run:
    """Since when the signal of a drifting measurement has been out without a break.

    A window that could not be judged, or that was never measured, does not break a run: it says
    nothing.
    """
    first = m.window
    for earlier in _earlier(session, m):
        if earlier.verdict is Verdict.IN_CONTROL:
            return Run(max(first.start, earlier.window.end), earlier)
        if earlier.verdict is Verdict.DRIFTING:
            first = earlier.window
    return Run(first.start, None)


def _earlier(session: Session, m: Measurement) -> Iterator[Measurement]:
    """The same measurement of earlier windows, newest first."""
    row = MeasurementRow
    start = m.window.start
    for _ in range(LONGEST_RUN // BATCH):
        rows = session.scalars(
            select(row)
            .where(
                row.stream == m.stream,
                row.slice_key == m.slice_key,
                row.signal == m.signal,
                row.window_start < start,
            )
            .order_by(row.window_start.desc(), row.window_end.desc())
            .limit(BATCH)
        ).all()
        yield from (measurement_of_row(r) for r in rows)
        if len(rows) < BATCH:
            return
        start = rows[-1].window_start
