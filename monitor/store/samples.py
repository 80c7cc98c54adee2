"""The kept exchanges: which are kept, and reading them back."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.orm import Session

from monitor.records import Candidate, ImageState, Sample, TargetSource
from monitor.store.panes import PaneKey, touch_panes
from monitor.store.statements import in_chunks, insert_into
from monitor.store.tables import ImageRow, SampleAliasRow, SampleImageRow, SampleRow, storable
from monitor.store.targets import by_stream, take_early_targets

ExchangeKey = tuple[str, str]  # stream, exchange id
_Rank = tuple[int, str]  # priority, exchange id


@dataclass(frozen=True, slots=True)
class KeepOutcome:
    """How many candidates were kept, were known already, and how many older samples they displaced.

    Candidates that are in none of these were passed over.
    """

    kept: int
    duplicates: int
    evicted: int


def keep_candidates(
    session: Session, candidates: Sequence[Candidate], per_pane: int, now: datetime
) -> KeepOutcome:
    """Keep the ``per_pane`` smallest priorities of each pane, of old samples and new candidates.

    The kept set depends on neither order nor batching. An exchange that is kept already is a
    duplicate, whatever its pane.
    """
    fresh = {_key(c): c for c in reversed(candidates)}  # of a repeat the first counts
    for known in _existing(session, fresh):
        del fresh[known]
    ranks = _kept_ranks(session, {(c.exchange.stream, c.pane_start) for c in fresh.values()})
    for (stream, exchange_id), c in fresh.items():
        ranks[stream, c.pane_start][c.priority, exchange_id] = None
    chosen: list[Candidate] = []
    evicted: list[int] = []
    changed: list[PaneKey] = []
    for (stream, start), pane in ranks.items():
        in_order = sorted(pane)
        new = [fresh[stream, rank[1]] for rank in in_order[:per_pane] if pane[rank] is None]
        old = [id_ for rank in in_order[per_pane:] if (id_ := pane[rank]) is not None]
        chosen += new
        evicted += old
        if new or old:
            changed.append((stream, start))
    for chunk in in_chunks(evicted):
        session.execute(delete(SampleRow).where(SampleRow.id.in_(chunk)))
    if chosen:
        _insert_samples(session, chosen, now)
    touch_panes(session, changed)
    return KeepOutcome(len(chosen), len(candidates) - len(fresh), len(evicted))


def sample_times(session: Session, keys: Iterable[ExchangeKey]) -> dict[ExchangeKey, datetime]:
    """Start of the pane of each of these exchanges that is kept."""
    asked = {(storable(stream), storable(i)): (stream, i) for stream, i in keys}
    return {
        asked[stream, exchange_id]: pane_start
        for stream, ids in by_stream(asked)
        for exchange_id, pane_start in session.execute(
            select(SampleRow.exchange_id, SampleRow.pane_start).where(
                SampleRow.stream == stream, SampleRow.exchange_id.in_(ids)
            )
        )
    }


def window_samples(session: Session, stream: str, start: datetime, end: datetime) -> list[Sample]:
    """Samples whose pane starts within ``[start, end)``, by priority, then exchange id."""
    inside = (
        SampleRow.stream == stream,
        SampleRow.pane_start >= start,
        SampleRow.pane_start < end,
    )
    # Not by the database: PostgreSQL may order ids by a locale.
    return sorted(_samples(session, *inside), key=lambda s: (s.priority, s.exchange_id))


def samples_by_id(session: Session, ids: Sequence[int]) -> dict[int, Sample]:
    """The samples of these ids that are still stored."""
    return {
        sample.id: sample
        for chunk in in_chunks(ids)
        for sample in _samples(session, SampleRow.id.in_(chunk))
    }


def _samples(session: Session, *conditions: ColumnElement[bool]) -> list[Sample]:
    states = defaultdict[int, list[ImageState]](list)
    for sample_id, state in session.execute(
        select(SampleImageRow.sample_id, SampleImageRow.state)
        .join(SampleRow)
        .where(*conditions)
        .order_by(SampleImageRow.sample_id, SampleImageRow.position)
    ):
        states[sample_id].append(ImageState(state))
    row = SampleRow
    rows = session.execute(
        select(
            row.id,
            row.exchange_id,
            row.pane_start,
            row.priority,
            row.labels,
            row.encoder_digest,
            row.z_v,
            row.z_t,
            row.z_y,
            row.z_target,
            row.novelty_v,
            row.novelty_t,
            row.novelty_reference,
            row.target_source,
        ).where(*conditions)
    ).mappings()
    return [Sample(**r, image_states=tuple(states[r["id"]])) for r in rows]


def _key(candidate: Candidate) -> ExchangeKey:
    return storable(candidate.exchange.stream), storable(candidate.exchange.id)


def _existing(session: Session, keys: Iterable[ExchangeKey]) -> list[ExchangeKey]:
    return [
        (stream, exchange_id)
        for stream, ids in by_stream(keys)
        for exchange_id in session.scalars(
            select(SampleRow.exchange_id).where(
                SampleRow.stream == stream, SampleRow.exchange_id.in_(ids)
            )
        )
    ]


def _kept_ranks(
    session: Session, panes: Collection[PaneKey]
) -> dict[PaneKey, dict[_Rank, int | None]]:
    """Rank of every sample in these panes, with its id; candidates are added without one."""
    starts = defaultdict[str, list[datetime]](list)
    for stream, start in panes:
        starts[stream].append(start)
    ranks: dict[PaneKey, dict[_Rank, int | None]] = {pane: {} for pane in panes}
    for stream, its_starts in starts.items():
        for chunk in in_chunks(its_starts):
            for start, priority, exchange_id, id_ in session.execute(
                select(
                    SampleRow.pane_start, SampleRow.priority, SampleRow.exchange_id, SampleRow.id
                ).where(SampleRow.stream == stream, SampleRow.pane_start.in_(chunk))
            ):
                ranks[stream, start][priority, exchange_id] = id_
    return ranks


def _insert_samples(session: Session, chosen: Sequence[Candidate], now: datetime) -> None:
    targets = take_early_targets(session, chosen)
    rows = []
    for c in chosen:
        # One that came apart is the later word, whichever of the two arrived first.
        target = targets.get(_key(c), c.exchange.target)
        rows.append(
            {
                "stream": c.exchange.stream,
                "exchange_id": c.exchange.id,
                "pane_start": c.pane_start,
                "time": c.exchange.time,
                "priority": c.priority,
                "labels": {storable(k): storable(v) for k, v in c.exchange.labels.items()},
                "text": c.exchange.text,
                "response": c.exchange.response,
                "target": target,
                "has_target": target is not None,
                "target_source": None if target is None else TargetSource.LOGGED,
                "stored_at": now,
                "attempts": 0,
            }
        )
    ids = {
        (stream, exchange_id): id_
        for id_, stream, exchange_id in session.execute(
            insert(SampleRow).returning(SampleRow.id, SampleRow.stream, SampleRow.exchange_id),
            rows,
        )
    }
    aliases = [
        {"sample_id": ids[_key(c)], "alias": alias}
        for c in chosen
        for alias in dict.fromkeys(map(storable, c.exchange.aliases))
    ]
    if aliases:
        session.execute(insert(SampleAliasRow), aliases)
    rejected = _store_images(session, chosen, now)
    images = [
        {
            "sample_id": ids[_key(c)],
            "position": position,
            "state": ImageState.REJECTED if image.content_hash in rejected else image.state,
            "content_hash": image.content_hash,
        }
        for c in chosen
        for position, image in enumerate(c.images)
    ]
    if images:
        session.execute(insert(SampleImageRow), images)


def _store_images(session: Session, chosen: Sequence[Candidate], now: datetime) -> set[str]:
    """Store each file once; return the hashes of those that were found to be unsafe before."""
    payloads = {
        image.content_hash: image.payload
        for c in chosen
        for image in c.images
        if image.content_hash is not None and image.payload is not None
    }
    if payloads:
        statement = insert_into(session, ImageRow)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[ImageRow.content_hash],
                set_={"payload": statement.excluded.payload},
                # A file whose payload retention took away before it could be embedded comes back.
                where=ImageRow.payload.is_(None)
                & ImageRow.z.is_(None)
                & ImageRow.reject_reason.is_(None),
            ),
            [
                {"content_hash": content_hash, "payload": payload, "stored_at": now}
                for content_hash, payload in payloads.items()
            ],
        )
    hashes = {image.content_hash for c in chosen for image in c.images if image.content_hash}
    return {
        content_hash
        for chunk in in_chunks(sorted(hashes))
        for content_hash in session.scalars(
            select(ImageRow.content_hash).where(
                ImageRow.content_hash.in_(chunk), ImageRow.reject_reason.is_not(None)
            )
        )
    }
