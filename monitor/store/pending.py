"""Samples that wait for their vectors: claiming them, and recording what was computed."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, takewhile

from sqlalchemy import Case, bindparam, case, func, literal, null, or_, select, update
from sqlalchemy.orm import Session

from monitor.records import ImageState, PendingImage, PendingSample
from monitor.store.panes import touch_panes
from monitor.store.statements import in_chunks
from monitor.store.tables import ImageRow, SampleImageRow, SampleRow, UtcDateTime

MAX_ATTEMPTS = 5  # a sample that kills its worker must not be tried for ever
CLAIM_BYTES = 64 * 2**20  # of image files; one sample may have 64 of 20 MB

Vectors = tuple[int, bytes | None, bytes | None, bytes | None, bytes | None]  # id, v, t, y, target
ImageVectors = tuple[str, bytes | None, bytes | None, str | None]  # hash, z, thumbnail, refusal
Novelty = tuple[int, float | None, float | None]  # id, visual, textual

_TO_BE_TRIED = (SampleRow.encoder_digest.is_(None), SampleRow.attempts < MAX_ATTEMPTS)


def claim_pending(
    session: Session,
    limit: int,
    now: datetime,
    lease: timedelta,
    closed_only: Mapping[str, datetime] | None = None,
    *,
    max_bytes: int = CLAIM_BYTES,
) -> list[PendingSample]:
    """Take up to ``limit`` samples to embed, oldest panes first; nobody else gets them meanwhile.

    At least one, and further ones only as long as their image files have ``max_bytes`` together.
    With ``closed_only``, a watermark by stream, only samples of panes that start before it. A
    sample whose content was forgotten comes with empty texts: ``record_embeddings`` then keeps
    the vectors it has.
    """
    query = select(SampleRow.id).where(
        *_TO_BE_TRIED, or_(SampleRow.claimed_until.is_(None), SampleRow.claimed_until <= now)
    )
    if closed_only is not None:
        if not closed_only:
            return []
        # Read in the order of the index until the first pane that is open everywhere.
        query = query.where(
            SampleRow.pane_start < max(closed_only.values()),
            SampleRow.pane_start < _closed_until(closed_only),
        )
    order = (SampleRow.pane_start, SampleRow.stream, SampleRow.id)
    query = query.order_by(*order).limit(limit).with_for_update(skip_locked=True)
    ids = _within(max_bytes, list(session.scalars(query)), session)
    for chunk in in_chunks(ids):
        session.execute(
            update(SampleRow)
            .where(SampleRow.id.in_(chunk))
            .values(claimed_until=now + lease, attempts=SampleRow.attempts + 1)
        )
    images = _images_of(session, ids)
    row = SampleRow
    return [
        PendingSample(id_, text or "", response or "", target, tuple(images[id_]))
        for chunk in in_chunks(ids)
        for id_, text, response, target in session.execute(
            select(row.id, row.text, row.response, row.target)
            .where(row.id.in_(chunk))
            .order_by(*order)
        )
    ]


def release_claims(session: Session) -> int:
    """Give back every claim; for a process that holds the database alone and has just started."""
    released = session.connection().execute(
        update(SampleRow)
        .where(SampleRow.encoder_digest.is_(None), SampleRow.claimed_until.is_not(None))
        .values(claimed_until=None)
    )
    return released.rowcount


def record_embeddings(
    session: Session,
    encoder_digest: str,
    rows: Sequence[Vectors],
    *,
    dropped: Collection[str] = (),
) -> None:
    """Record the vectors of claimed samples and end their claims.

    A sample whose target changed since it was claimed (``attempts`` is zero again) stays pending.
    The revision of its pane grows, as the window may have been measured without it. Of the other
    samples the ``dropped`` of text, response and target go.
    """
    if not rows:
        return
    # Here and below not by primary key through the session: it insists that every row is still
    # there, but a sample may have been displaced while its vectors were computed.
    old = SampleRow
    is_current = old.attempts > 0
    session.connection().execute(
        update(SampleRow)
        .where(old.id == bindparam("key"))
        .values(
            encoder_digest=case(
                (is_current, bindparam("digest", type_=old.encoder_digest.type)), else_=null()
            ),
            claimed_until=None,
            z_v=bindparam("v"),
            z_t=case((old.text.is_(None), old.z_t), else_=bindparam("t", type_=old.z_t.type)),
            z_y=case((old.response.is_(None), old.z_y), else_=bindparam("y", type_=old.z_y.type)),
            z_target=bindparam("target_vector"),
            **{
                name: case((is_current, null()), else_=getattr(old, name))
                for name in sorted(dropped)
            },
        ),
        [
            {"key": id_, "digest": encoder_digest, "v": v, "t": t, "y": y, "target_vector": target}
            for id_, v, t, y, target in rows
        ],
    )
    for chunk in in_chunks([id_ for id_, *_ in rows]):
        panes = session.execute(
            select(old.stream, old.pane_start).where(old.id.in_(chunk)).distinct()
        )
        touch_panes(session, [(stream, start) for stream, start in panes])


def record_image_vectors(
    session: Session, encoder_digest: str, rows: Sequence[ImageVectors]
) -> None:
    """Record what became of image files, and drop the files themselves.

    Where there is a refusal, every sample that shows the image has it as ``rejected``.
    """
    if not rows:
        return
    session.connection().execute(
        update(ImageRow)
        .where(ImageRow.content_hash == bindparam("key"))
        .values(
            payload=None,
            thumbnail=bindparam("small"),
            reject_reason=bindparam("refusal"),
            encoder_digest=encoder_digest,
            z=bindparam("vector"),
        ),
        [
            {"key": content_hash, "vector": z, "small": thumbnail, "refusal": refusal}
            for content_hash, z, thumbnail, refusal in rows
        ],
    )
    for chunk in in_chunks([row[0] for row in rows if row[3] is not None]):
        session.execute(
            update(SampleImageRow)
            .where(SampleImageRow.content_hash.in_(chunk))
            .values(state=ImageState.REJECTED)
        )


def forget_other_encoders(session: Session, encoder_digest: str) -> int:
    """Drop image vectors of other encoders, so that they are not taken for this one's."""
    dropped = session.connection().execute(
        update(ImageRow)
        .where(ImageRow.encoder_digest != encoder_digest)
        .values(encoder_digest=None, z=None)
    )
    return dropped.rowcount


def pending_count(session: Session) -> int:
    """Samples that are still to be tried."""
    return session.scalar(select(func.count()).select_from(SampleRow).where(*_TO_BE_TRIED)) or 0


def pending_in_window(session: Session, stream: str, start: datetime, end: datetime) -> int:
    """Samples still to be tried whose pane starts within ``[start, end)``."""
    inside = (
        SampleRow.stream == stream,
        SampleRow.pane_start >= start,
        SampleRow.pane_start < end,
    )
    query = select(func.count()).select_from(SampleRow).where(*_TO_BE_TRIED, *inside)
    return session.scalar(query) or 0


def record_novelty(session: Session, reference_digest: str, rows: Sequence[Novelty]) -> None:
    """Record how unlike the reference samples are; no pane's revision grows by it."""
    if not rows:
        return
    session.connection().execute(
        update(SampleRow)
        .where(SampleRow.id == bindparam("key"))
        .values(
            novelty_v=bindparam("visual"),
            novelty_t=bindparam("textual"),
            novelty_reference=reference_digest,
        ),
        [{"key": id_, "visual": visual, "textual": textual} for id_, visual, textual in rows],
    )


def _closed_until(watermarks: Mapping[str, datetime]) -> Case[datetime]:
    """The watermark of a sample's stream; one branch for all the streams that share one."""
    streams = defaultdict[datetime, list[str]](list)
    for stream, watermark in watermarks.items():
        streams[watermark].append(stream)
    branches = [(SampleRow.stream.in_(names), mark) for mark, names in streams.items()]
    return case(*((is_one, literal(mark, UtcDateTime)) for is_one, mark in branches))


def _within(max_bytes: int, ids: Sequence[int], session: Session) -> list[int]:
    shown = SampleImageRow
    size = func.sum(func.length(ImageRow.payload))
    sizes = {
        sample_id: int(total)
        for chunk in in_chunks(ids)
        for sample_id, total in session.execute(
            select(shown.sample_id, size)
            .join(ImageRow, ImageRow.content_hash == shown.content_hash)
            .where(shown.sample_id.in_(chunk), ImageRow.payload.is_not(None), ImageRow.z.is_(None))
            .group_by(shown.sample_id)
        )
    }
    totals = accumulate(sizes.get(id_, 0) for id_ in ids)
    fitting = sum(1 for _ in takewhile(lambda total: total <= max_bytes, totals))
    return list(ids[: max(1, fitting)])


def _images_of(session: Session, ids: Sequence[int]) -> dict[int, list[PendingImage]]:
    images = defaultdict[int, list[PendingImage]](list)
    shown = SampleImageRow
    for chunk in in_chunks(ids):
        for sample_id, content_hash, payload, z in session.execute(
            select(shown.sample_id, shown.content_hash, ImageRow.payload, ImageRow.z)
            .outerjoin(ImageRow, ImageRow.content_hash == shown.content_hash)
            .where(shown.sample_id.in_(chunk), shown.content_hash.is_not(None))
            .order_by(shown.sample_id, shown.position)
        ):
            if content_hash is not None:
                images[sample_id].append(PendingImage(content_hash, payload, z))
    return images
