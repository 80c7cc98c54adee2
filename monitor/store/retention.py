"""Deleting what is older than the operator wants kept. Ages are those of storing, not of events."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Row,
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


_IS_DONE = or_(SampleRow.encoder_digest.is_not(None), SampleRow.attempts >= MAX_ATTEMPTS)


def forget_content(session: Session, before: datetime) -> int:
    """Drop texts and pictures, of traffic and references, and return of how many exchanges.

    A sample that still waits for its vectors keeps its content until it has them, and an image
    stays as long as one younger or waiting sample shows it.
    """
    samples = session.connection().execute(
        update(SampleRow)
        .where(text(f"({SAMPLE_HAS_CONTENT})"), SampleRow.stored_at < before, _IS_DONE)
        .values(text=None, response=None, target=None)
    )
    still_shown = exists().where(
        SampleImageRow.content_hash == ImageRow.content_hash,
        SampleImageRow.sample_id == SampleRow.id,
        or_(SampleRow.stored_at >= before, ~_IS_DONE),
    )
    session.execute(
        update(ImageRow)
        .where(text(f"({IMAGE_HAS_CONTENT})"), ImageRow.stored_at < before, ~still_shown)
        .values(payload=None, thumbnail=None)
    )
    old = select(ReferenceRow.digest).where(ReferenceRow.created_at < before)
    row = ReferenceSampleRow
    references = session.connection().execute(
        update(row)
        .where(
            row.digest.in_(old),
            _reference_has_content(),
        )
        .values(text=None, response=None, target=None, thumbnail=None)
    )
    return samples.rowcount + references.rowcount


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


def forget_samples(session: Session, before: datetime) -> int:
    """Delete old samples and the panes they were in; windows over those are not measured again."""
    old = SampleRow.stored_at < before
    last = session.execute(
        select(SampleRow.stream, func.max(SampleRow.pane_start))
        .where(old)
        .group_by(SampleRow.stream)
    ).all()
    _forget_until(session, last)
    for stream, start in last:
        session.execute(delete(PaneRow).where(PaneRow.stream == stream, PaneRow.start <= start))
    return session.connection().execute(delete(SampleRow).where(old)).rowcount


def forget_measurements(session: Session, before: datetime) -> int:
    """Delete windows that were measured long ago, and return of how many measurements."""
    old = WindowRow.measured_at < before
    last = session.execute(
        select(WindowRow.stream, func.max(WindowRow.start)).where(old).group_by(WindowRow.stream)
    ).all()
    _forget_until(session, last)
    row = MeasurementRow
    windows = select(WindowRow.end, WindowRow.stream, WindowRow.start).where(old)
    deleted = session.connection().execute(
        delete(row).where(tuple_(row.window_end, row.stream, row.window_start).in_(windows))
    )
    counted = EvidenceRow
    session.execute(
        delete(counted).where(
            tuple_(counted.window_end, counted.stream, counted.window_start).in_(windows)
        )
    )
    session.execute(delete(WindowRow).where(old))
    return deleted.rowcount


def forget_early_targets(session: Session, before: datetime) -> int:
    """Delete targets whose exchange never became a sample."""
    old = delete(EarlyTargetRow).where(EarlyTargetRow.stored_at < before)
    return session.connection().execute(old).rowcount


def collect_images(session: Session, before: datetime) -> int:
    """Delete old images that no sample shows."""
    is_shown = exists().where(SampleImageRow.content_hash == ImageRow.content_hash)
    orphans = delete(ImageRow).where(ImageRow.stored_at < before, ~is_shown)
    return session.connection().execute(orphans).rowcount


def _reference_has_content() -> ColumnElement[bool]:
    row = ReferenceSampleRow
    columns = (row.text, row.response, row.target, row.thumbnail)
    return or_(*(column.is_not(None) for column in columns))


def _forget_until(session: Session, last: Iterable[Row[str, datetime]]) -> None:
    """Let no window be due that has lost samples, or that was measured and forgotten."""
    row = StreamRow
    for stream, until in last:
        session.execute(
            update(row)
            .where(
                row.name == stream,
                or_(row.forgotten_until.is_(None), row.forgotten_until < until),
            )
            .values(forgotten_until=until)
        )
