"""Deleting exchanges that somebody asked to be forgotten, wherever they are stored."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from monitor.store.pending import MAX_ATTEMPTS
from monitor.store.samples import ExchangeKey
from monitor.store.statements import in_chunks
from monitor.store.tables import (
    ActivationRow,
    EarlyTargetRow,
    EvidenceRow,
    ImageRow,
    MeasurementRow,
    QuarantineRow,
    ReferenceRow,
    ReferenceSampleRow,
    SampleAliasRow,
    SampleImageRow,
    SampleRow,
    storable,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which exchanges are to be forgotten: those of any name, or with a value of a label."""

    exchange_id: str | None = None
    label: tuple[str, str] | None = None
    stream: str | None = None  # every stream unless given


def samples_wanted(session: Session, wanted: Wanted) -> set[ExchangeKey]:
    """Stream and id of each sample that is to be forgotten."""
    row = SampleRow
    query = select(row.stream, row.exchange_id)
    if wanted.stream is not None:
        query = query.where(row.stream == wanted.stream)
    if wanted.exchange_id is not None:
        alias = SampleAliasRow
        named = select(alias.sample_id).where(alias.alias == wanted.exchange_id)
        query = query.where(or_(row.exchange_id == wanted.exchange_id, row.id.in_(named)))
    if wanted.label is not None:
        name, value = map(storable, wanted.label)
        query = query.where(row.labels[name].as_string() == value)
    return {(stream, exchange_id) for stream, exchange_id in session.execute(query)}


def overwrite_deleted(session: Session) -> None:
    """Let SQLite write zeros where something is deleted in this transaction."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("PRAGMA secure_delete = ON")


def empty_samples(session: Session, keys: Collection[ExchangeKey]) -> tuple[int, int]:
    """Put an empty place where each sample was; return how many, and of images that nobody shows.

    A pane that held as many samples as it may must not look as if it had dropped none, or its
    window would no longer be a uniform draw. An empty place has a pane and a priority alone. It is
    a row of its own, so that a worker that is embedding the sample finds nothing to write to.
    """
    row = SampleRow
    forgotten, hashes = 0, set[str]()
    for stream, ids in _by_stream(keys):
        found = session.execute(
            select(row.id, row.pane_start, row.priority, row.stored_at).where(
                row.stream == stream, row.exchange_id.in_(ids)
            )
        ).all()
        if not found:
            continue
        shown = SampleImageRow.sample_id.in_([old.id for old in found])
        of_these = select(SampleImageRow.content_hash).where(shown)
        hashes |= {content for content in session.scalars(of_these) if content is not None}
        session.execute(delete(SampleImageRow).where(shown))
        session.execute(delete(row).where(row.id.in_([old.id for old in found])))
        session.execute(
            insert(row),
            [
                {
                    "stream": stream,
                    "exchange_id": f"forgotten:{uuid4().hex}",
                    "pane_start": old.pane_start,
                    "time": old.pane_start,
                    "priority": old.priority,
                    "labels": {},
                    "has_target": False,
                    "stored_at": old.stored_at,
                    "attempts": MAX_ATTEMPTS,
                }
                for old in found
            ],
        )
        forgotten += len(found)
    return forgotten, _forget_images(session, sorted(hashes))


def forget_targets(session: Session, wanted: Wanted, keys: Collection[ExchangeKey]) -> int:
    """Delete targets that wait for an exchange of this name; they have no labels to be found by.

    To be called while the samples are still there, as it takes their further names.
    """
    names = {name for key in keys for name in (key, ("", key[1]))}
    row, alias = SampleRow, SampleAliasRow
    for stream, ids in _by_stream(keys):
        of_samples = select(alias.alias).join(row, row.id == alias.sample_id)
        for text in session.scalars(
            of_samples.where(row.stream == stream, row.exchange_id.in_(ids))
        ):
            names |= {(stream, text), ("", text)}
    early = EarlyTargetRow
    deleted = sum(
        session.connection()
        .execute(delete(early).where(early.stream == stream, early.exchange_id.in_(texts)))
        .rowcount
        for stream, texts in _by_stream(names)
    )
    if wanted.exchange_id is not None:
        matches = [early.exchange_id == wanted.exchange_id]
        if wanted.stream is not None:
            matches.append(early.stream.in_(("", wanted.stream)))
        deleted += session.connection().execute(delete(early).where(*matches)).rowcount
    return deleted


def empty_quarantine(session: Session) -> int:
    """Delete every refused record: what one is of may stand where its excerpt was cut."""
    return session.connection().execute(delete(QuarantineRow)).rowcount


def forget_slice(session: Session, slice_key: str, stream: str | None) -> int:
    """Delete what was measured of a slice that is to be forgotten by its name.

    Returns the number of measurements.
    """
    counts = []
    for row in (MeasurementRow, EvidenceRow):
        query = delete(row).where(row.slice_key == slice_key)
        if stream is not None:
            query = query.where(row.stream == stream)
        counts.append(session.connection().execute(query).rowcount)
    return counts[0]


def positions_in(session: Session, digest: str, ids: Collection[str]) -> list[int]:
    """Where a reference holds exchanges of these ids."""
    row = ReferenceSampleRow
    return sorted(
        position
        for chunk in in_chunks(sorted(map(storable, ids)))
        for position in session.scalars(
            select(row.position).where(row.digest == digest, row.exchange_id.in_(chunk))
        )
    )


def replace_reference(session: Session, old: str, new: str) -> None:
    """Let a version take the place of another, wherever that was activated, and delete that."""
    session.execute(update(ActivationRow).where(ActivationRow.digest == old).values(digest=new))
    session.execute(delete(ReferenceRow).where(ReferenceRow.digest == old))


def _forget_images(session: Session, hashes: Sequence[str]) -> int:
    is_shown = exists().where(SampleImageRow.content_hash == ImageRow.content_hash)
    return sum(
        session.connection()
        .execute(delete(ImageRow).where(ImageRow.content_hash.in_(chunk), ~is_shown))
        .rowcount
        for chunk in in_chunks(hashes)
    )


def _by_stream(keys: Collection[ExchangeKey]) -> Iterator[tuple[str, list[str]]]:
    for stream in sorted({stream for stream, _ in keys}):
        ids = sorted(i for s, i in keys if s == stream)
        yield from ((stream, chunk) for chunk in in_chunks(ids))
