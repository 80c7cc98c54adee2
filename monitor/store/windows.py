"""Measured windows: which are due, recording them, and reading measurements."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Self

from sqlalchemy import (
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session, aliased

from monitor.records import Measurement, Signal, Verdict, WindowId, WindowSummary, floor_time
from monitor.store.evidence import carrying
from monitor.store.statements import insert_into
from monitor.store.tables import EvidenceRow, MeasurementRow, PaneRow, StreamRow, WindowRow


@dataclass(frozen=True, slots=True)
class MeasurementKey:
    """Where a measurement stands in the order of ``measurements_between``."""

    window_end: datetime
    window_start: datetime
    stream: str
    slice_key: str
    signal: str

    @classmethod
    def of(cls, m: Measurement) -> Self:
        return cls(m.window.end, m.window.start, m.stream, m.slice_key, m.signal)


def due_windows(
    session: Session, stream: str, length: timedelta, slide: timedelta, closed_until: datetime
) -> list[tuple[WindowId, int]]:
    """Windows to measure, each with the revision to measure it at, in order.

    These end by ``closed_until``, start at multiples of ``slide``, hold a pane that has seen
    something, and were not measured at their present revision, which is the sum of those of their
    panes. Only windows over panes that ``settle_panes`` has not settled are looked at.
    """
    return _Survey(session, stream, length, slide, closed_until).due()


def settle_panes(
    session: Session, stream: str, length: timedelta, slide: timedelta, closed_until: datetime
) -> int:
    """Mark the panes over which no window is due or still open, until they change again.

    ``due_windows`` is right without it and reads less with it.
    """
    survey = _Survey(session, stream, length, slide, closed_until)
    settled = survey.settled()
    if settled:
        session.connection().execute(
            update(PaneRow)
            .where(PaneRow.stream == stream, PaneRow.start == bindparam("key"))
            .values(settled_revision=bindparam("at")),
            [{"key": start, "at": revision} for start, revision in settled],
        )
    return len(settled)


def record_window(
    session: Session, summary: WindowSummary, measurements: Sequence[Measurement]
) -> bool:
    """Record a window in place of what was recorded of it before.

    Idempotent. False, and nothing changes, if it has been recorded at a later revision.
    """
    window, row = summary.window, WindowRow
    stored = session.scalar(
        select(row.revision).where(
            row.stream == summary.stream, row.start == window.start, row.end == window.end
        )
    )
    if stored is not None and stored > summary.revision:
        return False
    session.execute(
        delete(MeasurementRow).where(
            MeasurementRow.stream == summary.stream,
            MeasurementRow.window_start == window.start,
            MeasurementRow.window_end == window.end,
        )
    )
    if measurements:
        session.execute(insert(MeasurementRow), [_measurement_values(m) for m in measurements])
    statement = insert_into(session, WindowRow).values(_window_values(summary))
    new = statement.excluded
    replaced = ("revision", "reference", "seen", "measured_at", "summary")
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[row.stream, row.start, row.end],
            set_={name: new[name] for name in replaced},
        )
    )
    return True


def latest_windows(session: Session) -> list[WindowSummary]:
    """The newest recorded window of every known stream."""
    row, other = WindowRow, aliased(WindowRow)
    newest = select(func.max(other.end)).where(other.stream == StreamRow.name).scalar_subquery()
    # Outer, so that SQLite begins with the streams; and put in order here, or it would read all
    # windows in that order.
    rows = session.scalars(
        select(row)
        .select_from(StreamRow)
        .outerjoin(row, and_(row.stream == StreamRow.name, row.end == newest))
    )
    measured = filter(None, rows)  # a stream without a window gives None
    in_order = sorted(measured, key=lambda r: (r.stream, r.start))
    return list({r.stream: summary_of_row(r) for r in in_order}.values())


def measurements_of(session: Session, stream: str, window: WindowId) -> list[Measurement]:
    """All measurements of one window, by slice and signal."""
    row = MeasurementRow
    rows = session.execute(
        _with_evidence().where(
            row.stream == stream, row.window_start == window.start, row.window_end == window.end
        )
    )
    found = [carrying(measurement_of_row(r), evidence) for r, evidence in rows]
    # Not by the database, which would read all windows of the stream in that order.
    return sorted(found, key=lambda m: (m.slice_key, m.signal))


def measurements_between(  # noqa: PLR0913 - each is one independent condition of a query
    session: Session,
    stream: str | None,
    start: datetime,
    end: datetime,
    *,
    slice_key: str | None = None,
    signal: Signal | None = None,
    limit: int,
    after: MeasurementKey | None = None,
) -> list[Measurement]:
    """Measurements of windows that end within ``[start, end)``, oldest first.

    The next page comes ``after`` the key of the last measurement of this one.
    """
    row = MeasurementRow
    order = (row.window_end, row.window_start, row.stream, row.slice_key, row.signal)
    query = _with_evidence().where(row.window_end >= start, row.window_end < end)
    if stream is not None:
        query = query.where(row.stream == stream)
    if slice_key is not None:
        query = query.where(row.slice_key == slice_key)
    if signal is not None:
        query = query.where(row.signal == signal)
    if after is not None:
        key = zip(astuple(after), order, strict=True)
        query = query.where(
            tuple_(*order) > tuple_(*(literal(value, column.type) for value, column in key))
        )
    rows = session.execute(query.order_by(*order).limit(limit))
    return [carrying(measurement_of_row(r), evidence) for r, evidence in rows]


def _with_evidence() -> Select[MeasurementRow, EvidenceRow | None]:
    row, evidence = MeasurementRow, EvidenceRow
    return select(row, evidence).outerjoin(
        evidence,
        and_(
            evidence.stream == row.stream,
            evidence.window_start == row.window_start,
            evidence.window_end == row.window_end,
            evidence.slice_key == row.slice_key,
            evidence.signal == row.signal,
        ),
    )


# Put together once: for every stream every few seconds that would be most of the work.
_UNSETTLED = (
    select(PaneRow.start, PaneRow.revision, StreamRow.forgotten_until)
    .outerjoin(StreamRow, StreamRow.name == PaneRow.stream)
    .where(
        PaneRow.stream == bindparam("stream"),
        PaneRow.revision != PaneRow.settled_revision,
        PaneRow.start < bindparam("closed_until"),
        or_(StreamRow.forgotten_until.is_(None), PaneRow.start > StreamRow.forgotten_until),
    )
)
_PANES = (
    select(PaneRow.start, PaneRow.seen, PaneRow.revision)
    .where(
        PaneRow.stream == bindparam("stream"),
        PaneRow.start >= bindparam("first"),
        PaneRow.start < bindparam("end"),
    )
    .order_by(PaneRow.start)
)
_MEASURED = select(WindowRow.start, WindowRow.end, WindowRow.revision).where(
    WindowRow.stream == bindparam("stream"),
    WindowRow.start >= bindparam("first"),
    WindowRow.start <= bindparam("last"),
)


class _Survey:
    """The unsettled panes of a stream, the windows over them, and all panes of those windows."""

    def __init__(
        self,
        session: Session,
        stream: str,
        length: timedelta,
        slide: timedelta,
        closed_until: datetime,
    ) -> None:
        self._length, self._slide, self._closed_until = length, slide, closed_until
        unsettled = session.execute(
            _UNSETTLED, {"stream": stream, "closed_until": closed_until}
        ).all()
        self._after = unsettled[0].forgotten_until if unsettled else None
        self._unsettled = [(start, revision) for start, revision, _ in unsettled]
        self._starts = sorted(
            {s for start, _ in self._unsettled for s in self._windows_over(start)}
        )
        self._panes: list[datetime] = []
        self._seen: list[int] = []
        self._revisions: list[int] = []
        self._measured: dict[datetime, int] = {}
        if self._starts:
            first, last = self._starts[0], self._starts[-1]
            inside = {"stream": stream, "first": first, "last": last, "end": last + length}
            panes = session.execute(_PANES, inside).all()
            self._panes = [start for start, _, _ in panes]
            self._seen = list(accumulate((seen for _, seen, _ in panes), initial=0))
            self._revisions = list(accumulate((revision for _, _, revision in panes), initial=0))
            measured = session.execute(_MEASURED, inside)
            self._measured = {s: revision for s, end, revision in measured if end - s == length}

    def due(self) -> list[tuple[WindowId, int]]:
        found = []
        for start in self._starts:
            end = start + self._length
            first, last = bisect_left(self._panes, start), bisect_left(self._panes, end)
            revision = self._revisions[last] - self._revisions[first]
            if self._seen[last] > self._seen[first] and self._measured.get(start) != revision:
                found.append((WindowId(start, end), revision))
        return found

    def settled(self) -> list[tuple[datetime, int]]:
        due = {window.start for window, _ in self.due()}
        return [
            (start, revision)
            for start, revision in self._unsettled
            if floor_time(start, self._slide) + self._length <= self._closed_until
            and due.isdisjoint(self._windows_over(start))
        ]

    def _windows_over(self, pane_start: datetime) -> Iterator[datetime]:
        """Starts of the closed windows over a pane that may still be measured."""
        start = floor_time(pane_start, self._slide)
        while start > pane_start - self._length and (self._after is None or start > self._after):
            if start + self._length <= self._closed_until:
                yield start
            start -= self._slide


def _measurement_values(m: Measurement) -> dict[str, object]:
    return {
        "stream": m.stream,
        "slice_key": m.slice_key,
        "signal": m.signal,
        "window_start": m.window.start,
        "window_end": m.window.end,
        "reference": m.reference,
        "n": m.n,
        "verdict": m.verdict,
        "value": m.value,
        "stderr": m.stderr,
        "null_mean": m.null_mean,
        "threshold": m.threshold,
        "excess_ratio": m.excess_ratio,
        "p_value": m.p_value,
        "reason": m.reason,
        "terms": list(m.terms),
        "low": m.low,
        "high": m.high,
    }


def measurement_of_row(row: MeasurementRow) -> Measurement:
    return Measurement(
        stream=row.stream,
        slice_key=row.slice_key,
        signal=Signal(row.signal),
        window=WindowId(row.window_start, row.window_end),
        n=row.n,
        verdict=Verdict(row.verdict),
        reference=row.reference,
        value=row.value,
        stderr=row.stderr,
        null_mean=row.null_mean,
        threshold=row.threshold,
        excess_ratio=row.excess_ratio,
        p_value=row.p_value,
        reason=row.reason,
        terms=tuple(row.terms),
        low=row.low,
        high=row.high,
    )


def _window_values(summary: WindowSummary) -> dict[str, object]:
    return {
        "stream": summary.stream,
        "start": summary.window.start,
        "end": summary.window.end,
        "revision": summary.revision,
        "reference": summary.reference,
        "seen": summary.seen,
        "measured_at": summary.measured_at,
        "summary": {
            "n": summary.n,
            "n_targets": summary.n_targets,
            "n_teacher_targets": summary.n_teacher_targets,
            "image_states": dict(summary.image_states),
        },
    }


def summary_of_row(row: WindowRow) -> WindowSummary:
    return WindowSummary(
        stream=row.stream,
        window=WindowId(row.start, row.end),
        reference=row.reference,
        revision=row.revision,
        seen=row.seen,
        n=row.summary["n"],
        n_targets=row.summary["n_targets"],
        image_states=row.summary["image_states"],
        measured_at=row.measured_at,
        n_teacher_targets=row.summary.get("n_teacher_targets", 0),
    )
