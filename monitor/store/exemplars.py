"""Stored samples and exchanges of references with their content, for people who look at them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from monitor.records import ImageState
from monitor.store.statements import in_chunks
from monitor.store.tables import ImageRow, ReferenceSampleRow, SampleImageRow, SampleRow

Fingerprint = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ExemplarImage:
    """One image of an exemplar: what became of it, and its file where there is one."""

    state: ImageState
    content_hash: str | None
    has_thumbnail: bool


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A stored sample as people see it; texts are None once retention has taken them."""

    sample_id: int
    stream: str
    exchange_id: str
    time: datetime
    pane_start: datetime
    labels: Mapping[str, str]
    text: str | None
    response: str | None
    target: str | None
    has_target: bool
    target_source: str | None
    images: tuple[ExemplarImage, ...]


@dataclass(frozen=True, slots=True)
class ReferenceExemplar:
    """An exchange of a reference as people see it; texts are None once retention took them."""

    position: int
    exchange_id: str
    part: str
    text: str | None
    response: str | None
    target: str | None
    has_thumbnail: bool


def exemplars(session: Session, ids: Sequence[int]) -> dict[int, Exemplar]:
    """The samples of these ids that are still stored."""
    found: dict[int, Exemplar] = {}
    row = SampleRow
    for chunk in in_chunks(ids):
        images = _images(session, chunk)
        rows = session.execute(
            select(
                row.id,
                row.stream,
                row.exchange_id,
                row.time,
                row.pane_start,
                row.labels,
                row.text,
                row.response,
                row.target,
                row.has_target,
                row.target_source,
            ).where(row.id.in_(chunk))
        )
        found |= {r[0]: Exemplar(*r, images=tuple(images[r[0]])) for r in rows}
    return found


def find_exemplar(session: Session, stream: str, exchange_id: str) -> Exemplar | None:
    """The sample of this exchange, if it was kept and still is."""
    row = SampleRow
    found = session.scalar(
        select(row.id).where(row.stream == stream, row.exchange_id == exchange_id)
    )
    return None if found is None else exemplars(session, [found]).get(found)


def query_texts(
    session: Session, ids: Sequence[int], length: int
) -> dict[int, tuple[str | None, str | None]]:
    """The first ``length`` characters of text and response of each of these samples."""
    row = SampleRow
    return {
        sample_id: (text, response)
        for chunk in in_chunks(ids)
        for sample_id, text, response in session.execute(
            select(
                row.id, func.substr(row.text, 1, length), func.substr(row.response, 1, length)
            ).where(row.id.in_(chunk))
        )
    }


def content_fingerprint(
    session: Session, stream: str, start: datetime, end: datetime
) -> Fingerprint:
    """Changes whenever samples of these panes, or what is left of their content, do."""
    row = SampleRow
    has_text = case((row.text.is_(None), 0), else_=1)
    has_target = case((row.target.is_(None), 0), else_=1)
    count, ids, texts, targets = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(row.id), 0),
            func.coalesce(func.sum(has_text), 0),
            func.coalesce(func.sum(has_target), 0),
        ).where(row.stream == stream, row.pane_start >= start, row.pane_start < end)
    ).one()
    return int(count), int(ids), int(texts), int(targets)


def image_thumbnail(session: Session, content_hash: str) -> bytes | None:
    """The re-encoded small JPEG of an image, if it is still kept."""
    row = ImageRow
    return session.scalar(select(row.thumbnail).where(row.content_hash == content_hash))


def reference_thumbnail(session: Session, digest: str, position: int) -> bytes | None:
    """The re-encoded small JPEG of an exchange of a reference, if it is still kept."""
    row = ReferenceSampleRow
    return session.scalar(
        select(row.thumbnail).where(row.digest == digest, row.position == position)
    )


def reference_exemplars(
    session: Session, digest: str, positions: Sequence[int]
) -> dict[int, ReferenceExemplar]:
    """Exchanges of a reference by position, without their pictures."""
    row = ReferenceSampleRow
    return {
        exemplar.position: exemplar
        for chunk in in_chunks(positions)
        for exemplar in _reference_exemplars(session, digest, row.position.in_(chunk))
    }


def reference_page(
    session: Session, digest: str, *, after: int = -1, limit: int
) -> list[ReferenceExemplar]:
    """Exchanges of a reference in order of position, those after one."""
    return _reference_exemplars(session, digest, ReferenceSampleRow.position > after, limit)


def reference_texts(
    session: Session, digest: str, positions: Sequence[int], length: int
) -> list[tuple[str | None, str | None]]:
    """The first ``length`` characters of text and response of exchanges of a reference."""
    row = ReferenceSampleRow
    return [
        (text, response)
        for chunk in in_chunks(positions)
        for text, response in session.execute(
            select(func.substr(row.text, 1, length), func.substr(row.response, 1, length)).where(
                row.digest == digest, row.position.in_(chunk)
            )
        )
    ]


def _reference_exemplars(
    session: Session, digest: str, condition: ColumnElement[bool], limit: int | None = None
) -> list[ReferenceExemplar]:
    row = ReferenceSampleRow
    rows = session.execute(
        select(
            row.position,
            row.exchange_id,
            row.part,
            row.text,
            row.response,
            row.target,
            row.thumbnail.is_not(None),
        )
        .where(row.digest == digest, condition)
        .order_by(row.position)
        .limit(limit)
    )
    return [ReferenceExemplar(*r) for r in rows]


def _images(session: Session, ids: Sequence[int]) -> dict[int, list[ExemplarImage]]:
    row = SampleImageRow
    images = defaultdict[int, list[ExemplarImage]](list)
    for sample_id, state, content_hash, has_thumbnail in session.execute(
        select(row.sample_id, row.state, row.content_hash, ImageRow.thumbnail.is_not(None))
        .outerjoin(ImageRow, ImageRow.content_hash == row.content_hash)
        .where(row.sample_id.in_(ids))
        .order_by(row.sample_id, row.position)
    ):
        images[sample_id].append(
            ExemplarImage(ImageState(state), content_hash, bool(has_thumbnail))
        )
    return images
