"""Stored samples taken again, as the exchanges of a new reference."""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from monitor.records import ALL, WindowId
from monitor.store.statements import in_chunks
from monitor.store.tables import IS_DRIFTING, ImageRow, MeasurementRow, SampleRow

_STREAMED = 2_000


def drifting_windows(
    session: Session, stream: str, start: datetime, end: datetime
) -> list[WindowId]:
    """Windows that overlap ``[start, end)`` and in which any signal of the stream is drifting."""
    row = MeasurementRow
    rows = session.execute(
        select(row.window_start, row.window_end)
        .distinct()
        .where(
            row.stream == stream,
            row.slice_key == ALL,
            row.window_start < end,
            row.window_end > start,
            text(IS_DRIFTING),
        )
        .order_by(row.window_start, row.window_end)
    )
    return [WindowId(*r) for r in rows]


def smallest_samples(
    session: Session,
    stream: str,
    panes: Collection[datetime],
    *,
    encoder_digest: str,
    threshold: int | None,
    at_most: int,
) -> list[int]:
    """Ids of the samples of smallest priority in these panes, up to ``threshold``.

    Only of samples that these encoders have embedded.
    """
    if not panes:
        return []
    row = SampleRow
    query = (
        select(row.id, row.pane_start)
        .where(
            row.stream == stream,
            row.pane_start >= min(panes),
            row.pane_start <= max(panes),
            row.encoder_digest == encoder_digest,
            row.z_t.is_not(None),
        )
        .order_by(row.priority, row.id)
        .execution_options(yield_per=_STREAMED)
    )
    if threshold is not None:
        query = query.where(row.priority <= threshold)
    wanted = set(panes)
    rows = session.execute(query)
    ids = list(islice((id_ for id_, pane in rows if pane in wanted), at_most))
    rows.close()
    return ids


def thumbnails(session: Session, hashes: Sequence[str]) -> dict[str, bytes]:
    """The re-encoded small JPEGs of these images, of those that still have one."""
    row = ImageRow
    return {
        content_hash: thumbnail
        for chunk in in_chunks(hashes)
        for content_hash, thumbnail in session.execute(
            select(row.content_hash, row.thumbnail).where(row.content_hash.in_(chunk))
        )
        if thumbnail is not None
    }
