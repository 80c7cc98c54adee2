"""Versions of references, their arrays and exchanges, and which of them judges which stream."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, func, insert, literal, select
from sqlalchemy.orm import Session

from monitor.errors import ReferenceNotFoundError, StoreError
from monitor.records import Activation, ReferenceSample, ReferenceVersion
from monitor.store.statements import in_chunks, insert_into
from monitor.store.tables import (
    ActivationRow,
    ReferenceArrayRow,
    ReferenceRow,
    ReferenceSampleRow,
)

Array = npt.NDArray[Any]
EVERY_STREAM = "*"
_SHOWN = 10  # references named in an error message


def save_reference(
    session: Session,
    version: ReferenceVersion,
    arrays: Mapping[str, Array],
    samples: Sequence[ReferenceSample] = (),
) -> bool:
    """Store a version with all its parts; False if its digest is stored already.

    Arrays of booleans and numbers are kept as bytes in C order, little-endian.
    """
    statement = insert_into(session, ReferenceRow).values(
        digest=version.digest,
        name=version.name,
        created_at=version.created_at,
        encoder_digest=version.encoder_digest,
        facts=dict(version.facts),
    )
    added = session.scalar(statement.on_conflict_do_nothing().returning(ReferenceRow.digest))
    if added is None:
        return False
    if arrays:
        session.execute(
            insert(ReferenceArrayRow),
            [
                {"digest": version.digest, "name": name, **_encoded(name, array)}
                for name, array in arrays.items()
            ],
        )
    if samples:
        session.execute(
            insert(ReferenceSampleRow),
            [
                {
                    "digest": version.digest,
                    "position": sample.position,
                    "exchange_id": sample.exchange_id,
                    "part": sample.part,
                    "text": sample.text,
                    "response": sample.response,
                    "target": sample.target,
                    "thumbnail": sample.thumbnail,
                }
                for sample in samples
            ],
        )
    return True


def copy_samples(session: Session, origin: str, digest: str) -> None:
    """Give a version the exchanges of the one whose vectors it shares."""
    row = ReferenceSampleRow
    shared = [c for c in row.__table__.columns if c.name != "digest"]
    session.execute(
        insert(row).from_select(
            ["digest", *(c.name for c in shared)],
            select(literal(digest), *shared).where(row.digest == origin),
        )
    )


def list_references(session: Session) -> list[ReferenceVersion]:
    """Every version, oldest first."""
    rows = session.scalars(
        select(ReferenceRow).order_by(ReferenceRow.created_at, ReferenceRow.digest)
    )
    return [
        ReferenceVersion(r.digest, r.name, r.created_at, r.encoder_digest, r.facts) for r in rows
    ]


def stored_digests(session: Session) -> set[str]:
    """Of every version, without what is said of it."""
    return set(session.scalars(select(ReferenceRow.digest)))


def find_reference(session: Session, name_or_digest: str) -> ReferenceVersion:
    """The newest version of this name, or the one of ``name@digest`` or ``digest``, even cut short.

    Raises:
        ReferenceNotFoundError: if there is none, or the digest is too short to tell which.
    """
    versions = list_references(session)
    if of_name := [v for v in versions if v.name == name_or_digest]:
        return of_name[-1]
    name, _, digest = name_or_digest.rpartition("@")
    matching = [
        v for v in versions if digest and v.digest.startswith(digest) and name in ("", v.name)
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ReferenceNotFoundError(
            f"{name_or_digest!r} may be any of {_names(matching)}; give more of the digest"
        )
    if not versions:
        raise ReferenceNotFoundError(
            f"there is no reference {name_or_digest!r}, nor any other; make one with "
            "`mllm-monitor reference build`"
        )
    raise ReferenceNotFoundError(
        f"there is no reference {name_or_digest!r}; there are {_names(versions)}"
    )


def load_arrays(session: Session, digest: str) -> dict[str, Array]:
    """All arrays of a version, each a copy that may be written to."""
    rows = session.scalars(
        select(ReferenceArrayRow)
        .where(ReferenceArrayRow.digest == digest)
        .order_by(ReferenceArrayRow.name)
    )
    return {
        row.name: np.frombuffer(row.data, dtype=np.dtype(row.dtype)).reshape(row.shape).copy()
        for row in rows
    }


def reference_samples(
    session: Session, digest: str, positions: Sequence[int] | None = None
) -> list[ReferenceSample]:
    """Exchanges of a version in order of position, all of them unless positions are given."""
    row = ReferenceSampleRow
    query = select(row).where(row.digest == digest)
    queries = (
        [query]
        if positions is None
        else [query.where(row.position.in_(chunk)) for chunk in in_chunks(positions)]
    )
    found = [
        ReferenceSample(
            r.position, r.exchange_id, r.part, r.text, r.response, r.target, r.thumbnail
        )
        for q in queries
        for r in session.scalars(q)
    ]
    return sorted(found, key=lambda sample: sample.position)


def reference_positions(session: Session, digest: str) -> dict[str, int]:
    """Where in a version each of its exchanges is, by exchange id."""
    row = ReferenceSampleRow
    rows = session.execute(select(row.exchange_id, row.position).where(row.digest == digest))
    return {exchange_id: position for exchange_id, position in rows}  # noqa: C416 - dict() of rows has no types


def activate(session: Session, digest: str, stream: str, now: datetime) -> None:
    """Let a version judge a stream from now on, or with ``*`` every stream without its own."""
    session.execute(insert(ActivationRow).values(stream=stream, digest=digest, activated_at=now))


def active_references(session: Session) -> dict[str, str]:
    """Digest of the version that was activated last, by stream."""
    newest = select(func.max(ActivationRow.id)).group_by(ActivationRow.stream)
    rows = session.execute(
        select(ActivationRow.stream, ActivationRow.digest).where(ActivationRow.id.in_(newest))
    )
    return {stream: digest for stream, digest in rows}  # noqa: C416 - dict() of rows has no types


def activations_between(
    session: Session, stream: str | None, start: datetime, end: datetime
) -> list[Activation]:
    """Activations within ``[start, end)`` for one stream or all, oldest first."""
    row = ActivationRow
    query = select(row).where(row.activated_at >= start, row.activated_at < end)
    if stream is not None:
        query = query.where(row.stream == stream)
    return [
        Activation(r.stream, r.digest, r.activated_at)
        for r in session.scalars(query.order_by(row.activated_at, row.id))
    ]


def delete_reference(session: Session, digest: str) -> bool:
    """Delete a version with all its parts and past activations; False if it is not stored.

    Raises:
        StoreError: if it judges a stream now, or windows that one in use was calibrated from.
    """
    streams = sorted(s for s, active in active_references(session).items() if active == digest)
    if streams:
        shown = ", ".join("every stream" if s == EVERY_STREAM else s for s in streams)
        raise StoreError(
            f"reference {digest[:12]} is active for {shown}; "
            "activate another with `mllm-monitor reference activate` first"
        )
    _require_no_burn_in_on(session, digest)
    deleted = session.scalar(
        delete(ReferenceRow).where(ReferenceRow.digest == digest).returning(ReferenceRow.digest)
    )
    return deleted is not None


def _require_no_burn_in_on(session: Session, digest: str) -> None:
    judging = set(active_references(session).values())
    for version in list_references(session):
        match version.facts:
            case {"calibrated_from": origin, "thresholds": {"stream": stream}}:
                if origin == digest and version.digest in judging:
                    raise StoreError(
                        f"reference {digest[:12]} judges the windows of {stream} that "
                        f"{version.identity} takes its thresholds from; activate another with "
                        "`mllm-monitor reference activate` first"
                    )


def _encoded(name: str, array: Array) -> dict[str, object]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"array {name!r} must hold booleans or numbers, got {array.dtype}")
    plain = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return {"dtype": plain.dtype.str, "shape": list(plain.shape), "data": plain.tobytes("C")}


def _names(versions: Sequence[ReferenceVersion]) -> str:
    shown = ", ".join(v.identity for v in versions[-_SHOWN:])
    hidden = len(versions) - _SHOWN
    return f"{shown} and {hidden} older ones" if hidden > 0 else shown
