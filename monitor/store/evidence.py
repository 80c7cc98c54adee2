"""Evidence over windows: every counted window's scores, and what they say with those before."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from monitor.records import Measurement
from monitor.stats.sequential import Evidence, accumulate
from monitor.store.tables import EvidenceRow

GAP = 100  # windows; after a longer silence a run is not carried on
AT_ONCE = 100  # rows that are read at once

Key = tuple[str, str, str]  # reference, slice, signal


@dataclass(frozen=True, slots=True)
class _Run:
    """What the counted windows of one signal say up to ``end``."""

    evidence: Evidence
    since: datetime | None
    end: datetime

    @classmethod
    def of(cls, row: EvidenceRow) -> Self:
        evidence = Evidence(tuple(row.bets), row.windows, row.is_persistent)
        return cls(evidence, row.since, row.window_end)


def record_evidence(session: Session, measurements: Sequence[Measurement]) -> None:
    """Count one window, with all its measurements, in place of what was counted of it before.

    Windows that are counted do not overlap. The windows after it are counted again, so that what
    is stored is a function of the measurements in order, however often and late they were made.
    """
    if not measurements:
        return
    stream, window, row = measurements[0].stream, measurements[0].window, EvidenceRow
    place = (window.start, window.end)
    stored = select(row).where(row.stream == stream)
    from_here = stored.where(row.window_start >= window.start)
    later = [
        r
        for r in session.scalars(from_here.order_by(row.window_start, row.window_end))
        if (r.window_start, r.window_end) > place
    ]
    new = [*(_row(m) for m in measurements), *later]
    reach = (GAP + 1) * (window.end - window.start)
    near = (
        stored.where(row.window_start.between(window.start - reach, window.start))
        .order_by(row.window_start.desc(), row.window_end.desc())
        .execution_options(yield_per=AT_ONCE)
    )
    with closing(session.scalars(near)) as newest_first:
        before = (r for r in newest_first if (r.window_start, r.window_end) < place)
        runs = _newest_runs(before, {_key(r) for r in new})
    session.execute(delete(row).where(row.stream == stream, row.window_start >= window.start))
    session.execute(insert(row), list(_counted(new, runs)))


def with_newest_evidence(
    session: Session, measurements: Sequence[Measurement]
) -> list[Measurement]:
    """The measurements of one window, with the evidence of the newest counted one until then."""
    if not measurements:
        return []
    stream, window, row = measurements[0].stream, measurements[0].window, EvidenceRow
    newest = session.scalar(
        select(row.window_start)
        .where(row.stream == stream, row.window_end <= window.end, row.window_start < window.end)
        .order_by(row.window_start.desc())
        .limit(1)
    )
    rows = session.scalars(select(row).where(row.stream == stream, row.window_start == newest))
    found = {_key(r): r for r in rows}
    return [carrying(m, found.get((m.reference, m.slice_key, m.signal))) for m in measurements]


def carrying(m: Measurement, row: EvidenceRow | None) -> Measurement:
    """The measurement with what a row of evidence says."""
    if row is None or not row.bets:
        return m
    return replace(
        m,
        evidence=_Run.of(row).evidence.value,
        evidence_threshold=row.threshold,
        evidence_since=row.since,
        persistent=row.is_persistent,
    )


def _newest_runs(newest_first: Iterable[EvidenceRow], wanted: set[Key]) -> dict[Key, _Run]:
    """The first of each; nothing is read after the last of them, which mostly is near."""
    runs: dict[Key, _Run] = {}
    for row in newest_first:
        if (key := _key(row)) in wanted:
            runs.setdefault(key, _Run.of(row))
            if len(runs) == len(wanted):
                break
    return runs


def _counted(rows: Sequence[EvidenceRow], runs: dict[Key, _Run]) -> Iterator[dict[str, object]]:
    """Values of the rows, each with what its window makes of the run before it."""
    for row in rows:
        length = row.window_end - row.window_start
        start = _Run(Evidence(), None, row.window_end)
        run = runs.get(_key(row), start)
        if row.window_start - run.end > GAP * length:
            run = start
        # Windows of another length may overlap those that were counted.
        if row.scores and (run is start or row.window_start >= run.end):
            evidence = accumulate(run.evidence, row.scores, row.threshold)
            begun = {0: None, 1: row.window_start}
            run = replace(run, evidence=evidence, since=begun.get(evidence.windows, run.since))
        # As if it were read back, counted or not.
        run = replace(run, end=row.window_end)
        runs[_key(row)] = run
        yield {
            "stream": row.stream,
            "window_start": row.window_start,
            "window_end": row.window_end,
            "slice_key": row.slice_key,
            "signal": row.signal,
            "reference": row.reference,
            "scores": row.scores,
            "threshold": row.threshold,
            "bets": list(run.evidence.bets),
            "windows": run.evidence.windows,
            "since": run.since,
            "is_persistent": run.evidence.is_persistent,
        }


def _key(row: EvidenceRow) -> Key:
    return row.reference, row.slice_key, row.signal


def _row(m: Measurement) -> EvidenceRow:
    return EvidenceRow(
        stream=m.stream,
        window_start=m.window.start,
        window_end=m.window.end,
        slice_key=m.slice_key,
        signal=m.signal,
        reference=m.reference,
        scores=list(m.scores),
        threshold=m.evidence_threshold,
    )
