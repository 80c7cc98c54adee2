"""Targets: which sample a label names, whose word counts, and labels that came before a sample."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from monitor.records import Candidate, LateTarget, TargetSource
from monitor.store.panes import touch_panes
from monitor.store.statements import Upsert, in_chunks
from monitor.store.tables import EarlyTargetRow, SampleAliasRow, SampleRow, storable

Name = tuple[str, str]  # stream, or nothing where the label names none; any name of an exchange


# Put together once: for the few labels of a request that takes longer than running them.
_COLUMNS = (
    SampleRow.id,
    SampleRow.stream,
    SampleRow.exchange_id,
    SampleRow.pane_start,
    SampleRow.target,
    SampleRow.target_source,
)
_OF_IDS = select(*_COLUMNS).where(SampleRow.exchange_id.in_(bindparam("texts", expanding=True)))
_OF_ALIASES = (
    select(*_COLUMNS, SampleAliasRow.alias)
    .join(SampleRow, SampleRow.id == SampleAliasRow.sample_id)
    .where(SampleAliasRow.alias.in_(bindparam("texts", expanding=True)))
)
_GIVEN = {"has_target": True, "encoder_digest": None, "attempts": 0}
_GIVE = (
    update(SampleRow)
    .where(SampleRow.id == bindparam("key"))
    .values(target=bindparam("given"), target_source=TargetSource.LOGGED, **_GIVEN)
)
_TEACH = (
    update(SampleRow)
    .where(SampleRow.id == bindparam("key"), SampleRow.has_target.is_(False))
    .values(target=bindparam("given"), target_source=TargetSource.TEACHER, **_GIVEN)
    .returning(SampleRow.stream, SampleRow.pane_start)
)
_SOME_EARLY = select(EarlyTargetRow.stream).limit(1)
_TAKE_EARLY = (
    delete(EarlyTargetRow)
    .where(
        EarlyTargetRow.stream == bindparam("stream"),
        EarlyTargetRow.exchange_id.in_(bindparam("texts", expanding=True)),
    )
    .returning(EarlyTargetRow.exchange_id, EarlyTargetRow.target)
)
_KEEP_ASIDE = Upsert(
    EarlyTargetRow, lambda new: {"target": new["target"], "stored_at": new["stored_at"]}
)


class TargetOutcome(StrEnum):
    """What became of a target that came apart from its exchange."""

    JOINED = "joined"
    UNCHANGED = "unchanged"
    EARLY = "early"  # no such sample (yet): kept aside
    AMBIGUOUS = "ambiguous"  # several samples bear the name: given to none


@dataclass(frozen=True, slots=True)
class NamedSample:
    """A sample as far as a label needs to know it."""

    id: int
    stream: str
    exchange_id: str
    pane_start: datetime
    target: str | None
    target_source: str | None


def samples_named(session: Session, names: Iterable[Name]) -> dict[Name, list[NamedSample]]:
    """The samples of each name. Those whose id it is come before all whose further name it is."""
    asked = {(storable(stream), storable(text)): (stream, text) for stream, text in names}
    texts = sorted({text for _, text in asked})
    connection = session.connection()
    by_id = defaultdict[str, list[NamedSample]](list)
    by_alias = defaultdict[str, list[NamedSample]](list)
    for chunk in in_chunks(texts):
        for found in connection.execute(_OF_IDS, {"texts": chunk}):
            sample = NamedSample(*found)
            by_id[sample.exchange_id].append(sample)
        for id_, stream, name, start, target, source, text in connection.execute(
            _OF_ALIASES, {"texts": chunk}
        ):
            by_alias[text].append(NamedSample(id_, stream, name, start, target, source))

    def borne(stream: str, samples: Sequence[NamedSample]) -> list[NamedSample]:
        return [sample for sample in samples if stream in {"", sample.stream}]

    return {
        asked[stream, text]: borne(stream, by_id[text]) or borne(stream, by_alias[text])
        for stream, text in asked
    }


def set_target(
    session: Session, stream: str, exchange_id: str, target: str, now: datetime
) -> TargetOutcome:
    """As ``set_targets``, for one."""
    (outcome,) = set_targets(session, [LateTarget(exchange_id, stream, target)], now).values()
    return outcome


def set_targets(
    session: Session, targets: Sequence[LateTarget], now: datetime
) -> dict[Name, TargetOutcome]:
    """Give samples their targets and make them pending again; keep the other targets aside.

    They take the place of the teacher's. The claim of a worker that is embedding such a sample
    stays, and ``attempts`` of zero tells its result apart from a newer one: see
    ``record_embeddings``.
    """
    wanted = {(storable(t.stream), storable(t.id)): storable(t.target) for t in targets}
    named = samples_named(session, wanted)
    outcomes: dict[Name, TargetOutcome] = {}
    changed: dict[int, tuple[NamedSample, str]] = {}
    for name, target in wanted.items():
        if len(named[name]) != 1:
            outcomes[name] = TargetOutcome.AMBIGUOUS if named[name] else TargetOutcome.EARLY
            continue
        (sample,) = named[name]
        if (sample.target, sample.target_source) == (target, TargetSource.LOGGED):
            outcomes[name] = TargetOutcome.UNCHANGED
        else:
            outcomes[name] = TargetOutcome.JOINED
            changed[sample.id] = sample, target
    if changed:
        session.connection().execute(
            _GIVE, [{"key": id_, "given": target} for id_, (_, target) in changed.items()]
        )
        touch_panes(session, {(s.stream, s.pane_start) for s, _ in changed.values()})
    _KEEP_ASIDE(
        session,
        [
            {"stream": stream, "exchange_id": text, "target": target, "stored_at": now}
            for (stream, text), target in wanted.items()
            if outcomes[stream, text] is TargetOutcome.EARLY
        ],
    )
    return outcomes


def set_teacher_target(session: Session, sample_id: int, target: str) -> bool:
    """Give a sample the teacher's answer; False if it has a target by now, or is gone."""
    pane = (
        session.connection()
        .execute(_TEACH, {"key": sample_id, "given": storable(target)})
        .one_or_none()
    )
    if pane is None:
        return False
    touch_panes(session, [(pane.stream, pane.pane_start)])
    return True


def take_early_targets(session: Session, chosen: Sequence[Candidate]) -> dict[Name, str]:
    """Targets that came before these exchanges, by stream and id; they wait no longer.

    A further name that two of them bear is no name.
    """
    connection = session.connection()
    if connection.scalar(_SOME_EARLY) is None:
        return {}  # as a rule
    owners = _owners(chosen)
    taken: dict[Name, str] = {
        (stream, text): target
        for stream, texts in by_stream(owners)
        for text, target in connection.execute(_TAKE_EARLY, {"stream": stream, "texts": texts})
    }
    # In the order of the owners, so that what named an exchange more exactly comes last.
    return {owners[name]: taken[name] for name in owners if name in taken}


def by_stream(names: Iterable[Name]) -> Iterator[tuple[str, list[str]]]:
    """The names of each stream, as many at a time as a statement takes."""
    texts = defaultdict[str, list[str]](list)
    for stream, text in names:
        texts[stream].append(text)
    for stream, its_texts in texts.items():
        for chunk in in_chunks(its_texts):
            yield stream, chunk


def _owners(chosen: Sequence[Candidate]) -> dict[Name, Name]:
    """Which of the exchanges each name means; first the further names, last the ids."""
    by_alias = defaultdict[Name, set[Name]](set)
    by_id = defaultdict[Name, set[Name]](set)
    for candidate in chosen:
        exchange = candidate.exchange
        stream = storable(exchange.stream)
        key = stream, storable(exchange.id)
        for place in ("", stream):
            by_id[place, key[1]].add(key)
            for alias in exchange.aliases:
                by_alias[place, storable(alias)].add(key)
    further = {name: keys for name, keys in by_alias.items() if name not in by_id}
    return {
        name: next(iter(keys))
        for names in (further, by_id)
        for name, keys in sorted(names.items())
        if len(keys) == 1
    }
