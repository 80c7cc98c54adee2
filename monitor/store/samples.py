"""Reading back the exchanges that are kept."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.orm import Session

from monitor.records import ImageState, Sample
from monitor.store.statements import in_chunks
from monitor.store.tables import SampleImageRow, SampleRow, storable
from monitor.store.targets import by_stream

ExchangeKey = tuple[str, str]  # stream, exchange id


_TIMES = select(SampleRow.exchange_id, SampleRow.pane_start).where(
    SampleRow.stream == bindparam("stream"),
    SampleRow.exchange_id.in_(bindparam("ids", expanding=True)),
)


def sample_times(session: Session, keys: Iterable[ExchangeKey]) -> dict[ExchangeKey, datetime]:
    """Start of the pane of each of these exchanges that is kept."""
    asked = {(storable(stream), storable(i)): (stream, i) for stream, i in keys}
    return {
        asked[stream, exchange_id]: pane_start
        for stream, ids in by_stream(asked)
        for exchange_id, pane_start in session.connection().execute(
            _TIMES, {"stream": stream, "ids": ids}
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
