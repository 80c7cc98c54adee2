"""Deleting what is older than the operator wants kept. Ages are those of storing, not of events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from monitor.store.pending import MAX_ATTEMPTS
from monitor.store.statements import in_chunks
from monitor.store.streams import known_streams
from monitor.store.tables import (
    IMAGE_HAS_CONTENT,
    SAMPLE_HAS_CONTENT,
    EarlyTargetRow,
    EvidenceRow,
    ImageRow,
    MeasurementRow,
    PaneRow,
    QuarantineRow,
    ReferenceRow,
    ReferenceSampleRow,
    SampleImageRow,
    SampleRow,
    StreamRow,
    WindowRow,
)


@dataclass(frozen=True, slots=True)
class StoredContent:
    """How much of what was said is stored, and since when the oldest of it is."""

    exchanges: int
    images: int
    image_bytes: int
    refused: int  # records in the quarantine
    of_references: int
    oldest: datetime | None


AHEAD = timedelta(days=1)

_IS_DONE = or_(SampleRow.encoder_digest.is_not(None), SampleRow.attempts >= MAX_ATTEMPTS)


def forget_content(session: Session, before: datetime, limit: int | None = None) -> int:
    """Drop texts, of ``limit`` exchanges of traffic at most, and all content of old references.

    Returns of how many exchanges. A sample that still waits for its vectors keeps its content
    until it has them.
    """
    row = SampleRow
    old = (
        select(row.id)
        .where(text(f"({SAMPLE_HAS_CONTENT})"), row.stored_at < before, _IS_DONE)
        .limit(limit)
    )
    samples = session.connection().execute(
        update(row).where(row.id.in_(old)).values(text=None, response=None, target=None)
    )
    versions = select(ReferenceRow.digest).where(ReferenceRow.created_at < before)
    held = ReferenceSampleRow
    references = session.connection().execute(
        update(held)
        .where(held.digest.in_(versions), _reference_has_content())
        .values(text=None, response=None, target=None, thumbnail=None)
    )
    return samples.rowcount + references.rowcount


def forget_pictures(session: Session, before: datetime, limit: int | None = None) -> int:
    """Drop the files and thumbnails of ``limit`` images at most, and return of how many.

    An image stays as long as one younger or waiting sample shows it.
    """
    row = ImageRow
    still_shown = exists().where(
        SampleImageRow.content_hash == row.content_hash,
        SampleImageRow.sample_id == SampleRow.id,
        or_(SampleRow.stored_at >= before, ~_IS_DONE),
    )
    old = (
        select(row.content_hash)
        .where(text(f"({IMAGE_HAS_CONTENT})"), row.stored_at < before, ~still_shown)
        .limit(limit)
    )
    images = session.connection().execute(
        update(row).where(row.content_hash.in_(old)).values(payload=None, thumbnail=None)
    )
    return images.rowcount


def stored_content(session: Session) -> StoredContent:
    """What ``forget_content`` and the quarantine have to forget sooner or later."""
    sample, image, refused = SampleRow, ImageRow, QuarantineRow
    of_reference = ReferenceSampleRow
    exchanges, first_exchange = session.execute(
        select(func.count(), func.min(sample.stored_at)).where(text(f"({SAMPLE_HAS_CONTENT})"))
    ).one()
    size = func.coalesce(func.length(image.payload), 0) + func.coalesce(
        func.length(image.thumbnail), 0
    )
    images, image_bytes, first_image = session.execute(
        select(func.count(), func.sum(size), func.min(image.stored_at)).where(
            text(f"({IMAGE_HAS_CONTENT})")
        )
    ).one()
    records, first_record = session.execute(
        select(func.count(), func.min(refused.stored_at)).select_from(refused)
    ).one()
    held, first_held = session.execute(
        select(func.count(), func.min(ReferenceRow.created_at))
        .select_from(of_reference)
        .join(ReferenceRow, ReferenceRow.digest == of_reference.digest)
        .where(_reference_has_content())
    ).one()
    times = (first_exchange, first_image, first_record, first_held)
    return StoredContent(
        exchanges=exchanges,
        images=images,
        image_bytes=int(image_bytes or 0),
        refused=records,
        of_references=held,
        oldest=min((time for time in times if time is not None), default=None),
    )


def forget_samples(session: Session, before: datetime, limit: int | None = None) -> int:
    """Delete the oldest samples, ``limit`` at most, and the panes up to those they were in.

    Windows over those panes are not measured again.
    """
    row, last = SampleRow, dict[str, datetime]()
    old = session.execute(
        select(row.id, row.stream, row.pane_start)
        .where(row.stored_at < before)
        .order_by(row.stored_at)
        .limit(limit)
    ).all()
    for _, stream, start in old:
        last[stream] = max(start, last.get(stream, start))
    _forget_until(session, last)
    if last:
        session.connection().execute(
            delete(PaneRow).where(
                PaneRow.stream == bindparam("of"), PaneRow.start <= bindparam("until")
            ),
            [{"of": stream, "until": start} for stream, start in last.items()],
        )
    for chunk in in_chunks([id_ for id_, _, _ in old]):
        session.connection().execute(delete(row).where(row.id.in_(chunk)))
    return len(old)


def forget_measurements(session: Session, before: datetime, limit: int | None = None) -> int:
    """Delete windows that were measured long ago, ``limit`` at most, and return how many."""
    row, last = WindowRow, dict[str, datetime]()
    # By stream and end, of which there is an index: what was measured long ago ended before, but
    # for the minutes by which a client's clock may be ahead.
    old = [
        (stream, start, end)
        for names in in_chunks(known_streams(session))
        for stream, start, end in session.execute(
            select(row.stream, row.start, row.end)
            .where(row.stream.in_(names), row.end < before + AHEAD, row.measured_at < before)
            .limit(limit)
        )
    ][:limit]
    for stream, start, _ in old:
        last[stream] = max(start, last.get(stream, start))
    _forget_until(session, last)
    measured, counted = MeasurementRow, EvidenceRow
    for table, key in (
        (measured, (measured.stream, measured.window_start, measured.window_end)),
        (counted, (counted.stream, counted.window_start, counted.window_end)),
        (row, (row.stream, row.start, row.end)),
    ):
        if old:
            is_of_it = (column == bindparam(f"of_{column.key}") for column in key)
            session.connection().execute(
                delete(table).where(*is_of_it),
                [{f"of_{c.key}": v for c, v in zip(key, at, strict=True)} for at in old],
            )
    return len(old)


def forget_early_targets(session: Session, before: datetime, limit: int | None = None) -> int:
    """Delete targets whose exchange never became a sample, ``limit`` at most."""
    row = EarlyTargetRow
    old = select(row.stream, row.exchange_id).where(row.stored_at < before).limit(limit)
    gone = delete(row).where(tuple_(row.stream, row.exchange_id).in_(old))
    return session.connection().execute(gone).rowcount


def orphaned_images(session: Session, before: datetime) -> list[str]:
    """Content hashes of old images that no sample shows."""
    # Of all images the hashes alone are read, which an index holds; their rows are long.
    shown = select(SampleImageRow.content_hash).where(SampleImageRow.content_hash.is_not(None))
    hashes = list(session.scalars(select(ImageRow.content_hash).except_(shown)))
    row = ImageRow
    return [
        content_hash
        for chunk in in_chunks(hashes)
        for content_hash in session.scalars(
            select(row.content_hash).where(row.content_hash.in_(chunk), row.stored_at < before)
        )
    ]


def collect_images(session: Session, hashes: Sequence[str]) -> int:
    """Delete those of these images that no sample shows."""
    is_shown = exists().where(SampleImageRow.content_hash == ImageRow.content_hash)
    return sum(
        session.connection()
        .execute(delete(ImageRow).where(ImageRow.content_hash.in_(chunk), ~is_shown))
        .rowcount
        for chunk in in_chunks(hashes)
    )


def _reference_has_content() -> ColumnElement[bool]:
    row = ReferenceSampleRow
    columns = (row.text, row.response, row.target, row.thumbnail)
    return or_(*(column.is_not(None) for column in columns))


def _forget_until(session: Session, last: Mapping[str, datetime]) -> None:
    """Let no window be due that has lost samples, or that was measured and forgotten."""
    row = StreamRow
    if last:
        session.connection().execute(
            update(row)
            .where(
                row.name == bindparam("stream"),
                or_(row.forgotten_until.is_(None), row.forgotten_until < bindparam("until")),
            )
            .values(forgotten_until=bindparam("until")),
            [{"stream": stream, "until": until} for stream, until in last.items()],
        )
