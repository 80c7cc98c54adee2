"""Which exchanges are kept of each pane, and storing them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from monitor.records import Candidate, ImageState, TargetSource
from monitor.store.panes import PaneKey, touch_panes
from monitor.store.samples import ExchangeKey, sample_times
from monitor.store.statements import Upsert, in_chunks
from monitor.store.tables import ImageRow, SampleAliasRow, SampleImageRow, SampleRow, storable
from monitor.store.targets import take_early_targets

_Rank = tuple[int, str]  # priority, exchange id

# Put together once: for the few rows of a request that takes longer than running them.
_IN_PANE = (SampleRow.stream == bindparam("stream"), SampleRow.pane_start == bindparam("start"))
_KEPT = (
    select(SampleRow.stream, SampleRow.pane_start, func.count())
    .where(
        SampleRow.stream.in_(bindparam("streams", expanding=True)),
        SampleRow.pane_start.in_(bindparam("starts", expanding=True)),
    )
    .group_by(SampleRow.stream, SampleRow.pane_start)
)
_TOP = (
    select(SampleRow.priority)
    .where(*_IN_PANE)
    .order_by(SampleRow.priority.desc())
    .limit(bindparam("n"))
    .subquery()
)
# With all that share the smallest of these priorities: ids decide between them.
_LARGEST = select(SampleRow.priority, SampleRow.exchange_id, SampleRow.id).where(
    *_IN_PANE, SampleRow.priority >= select(func.min(_TOP.c.priority)).scalar_subquery()
)
_DELETE = delete(SampleRow).where(SampleRow.id.in_(bindparam("ids", expanding=True)))
_INSERT = insert(SampleRow).returning(SampleRow.id, SampleRow.stream, SampleRow.exchange_id)
_INSERT_ALIASES = insert(SampleAliasRow)
_INSERT_IMAGES = insert(SampleImageRow)
_STORE_FILES = Upsert(
    ImageRow,
    lambda new: {"payload": new["payload"]},
    # A file whose payload retention took away before it could be embedded comes back.
    where=ImageRow.payload.is_(None) & ImageRow.z.is_(None) & ImageRow.reject_reason.is_(None),
)
_REFUSED = select(ImageRow.content_hash).where(
    ImageRow.content_hash.in_(bindparam("hashes", expanding=True)),
    ImageRow.reject_reason.is_not(None),
)


@dataclass(frozen=True, slots=True)
class KeepOutcome:
    """What became of the candidates; those that are in neither of the first two were passed over.

    ``repeated`` counts those that were kept already by the pane that they were offered to;
    ``evicted`` are older samples that were displaced. ``thresholds`` has the largest kept priority
    of each pane that dropped something now: one of larger priority need not be offered to it.
    """

    kept: tuple[Candidate, ...] = ()
    repeated: Counter[PaneKey] = field(default_factory=Counter)
    evicted: int = 0
    thresholds: Mapping[PaneKey, int] = field(default_factory=dict)


def keep_candidates(
    session: Session, candidates: Sequence[Candidate], per_pane: int, now: datetime
) -> KeepOutcome:
    """Keep the ``per_pane`` smallest priorities of each pane, of old samples and new candidates.

    The kept set depends on neither order nor batching. An exchange that is kept already is
    repeated, whatever its pane.
    """
    fresh, repeated = _fresh(session, candidates)
    kept = _kept(session, fresh)
    chosen: list[Candidate] = []
    evicted: list[int] = []
    changed: list[PaneKey] = []
    thresholds: dict[PaneKey, int] = {}
    for pane, offered in fresh.items():
        ranks: dict[_Rank, Candidate | int] = {(c.priority, _key(c)[1]): c for c in offered}
        over = max(kept[pane] + len(offered) - per_pane, 0)
        if over:
            ranks |= _largest(session, pane, over + 1)
        in_order = sorted(ranks)
        stays = len(in_order) - over
        new = [c for rank in in_order[:stays] if isinstance(c := ranks[rank], Candidate)]
        old = [id_ for rank in in_order[stays:] if isinstance(id_ := ranks[rank], int)]
        chosen += new
        evicted += old
        if over:
            thresholds[pane] = in_order[stays - 1][0]
        if new or old:
            changed.append(pane)
    for chunk in in_chunks(evicted):
        session.connection().execute(_DELETE, {"ids": chunk})
    if chosen:
        _insert_samples(session, chosen, now)
    touch_panes(session, changed)
    return KeepOutcome(tuple(chosen), repeated, len(evicted), thresholds)


def _key(candidate: Candidate) -> ExchangeKey:
    return storable(candidate.exchange.stream), storable(candidate.exchange.id)


def _fresh(
    session: Session, candidates: Sequence[Candidate]
) -> tuple[dict[PaneKey, list[Candidate]], Counter[PaneKey]]:
    """The candidates that are not kept already, by pane, and how many others there are."""
    known = set(sample_times(session, map(_key, candidates)))
    fresh = defaultdict[PaneKey, list[Candidate]](list)
    repeated = Counter[PaneKey]()
    for candidate in candidates:
        pane, key = (candidate.exchange.stream, candidate.pane_start), _key(candidate)
        if key in known:
            repeated[pane] += 1
        else:
            known.add(key)
            fresh[pane].append(candidate)
    return fresh, repeated


def _kept(session: Session, panes: Collection[PaneKey]) -> Counter[PaneKey]:
    """How many samples there are in each of these panes, and in others, as streams go together."""
    kept = Counter[PaneKey]()
    for streams in in_chunks({stream for stream, _ in panes}):
        for starts in in_chunks({start for _, start in panes}):
            found = session.connection().execute(_KEPT, {"streams": streams, "starts": starts})
            kept.update({(stream, start): n for stream, start, n in found})
    return kept


def _largest(session: Session, pane: PaneKey, n: int) -> dict[_Rank, int]:
    """Ids of the samples of a pane that have the largest priorities, at least so many."""
    stream, start = pane
    found = session.connection().execute(_LARGEST, {"stream": stream, "start": start, "n": n})
    return {(priority, exchange_id): id_ for priority, exchange_id, id_ in found}


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
        for id_, stream, exchange_id in session.connection().execute(_INSERT, rows)
    }
    aliases = [
        {"sample_id": ids[_key(c)], "alias": alias}
        for c in chosen
        for alias in dict.fromkeys(map(storable, c.exchange.aliases))
    ]
    if aliases:
        session.connection().execute(_INSERT_ALIASES, aliases)
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
        session.connection().execute(_INSERT_IMAGES, images)


def _store_images(session: Session, chosen: Sequence[Candidate], now: datetime) -> set[str]:
    """Store each file once; return the hashes of those that were found to be unsafe before."""
    payloads = {
        image.content_hash: image.payload
        for c in chosen
        for image in c.images
        if image.content_hash is not None and image.payload is not None
    }
    _STORE_FILES(
        session,
        [
            {"content_hash": content_hash, "payload": payload, "stored_at": now}
            for content_hash, payload in payloads.items()
        ],
    )
    hashes = {image.content_hash for c in chosen for image in c.images if image.content_hash}
    return {
        content_hash
        for chunk in in_chunks(sorted(hashes))
        for content_hash in session.connection().scalars(_REFUSED, {"hashes": chunk})
    }
