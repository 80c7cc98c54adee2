"""What the teacher is to be asked, and what it has been asked today."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from monitor.store.statements import insert_into
from monitor.store.tables import ImageRow, SampleImageRow, SampleRow, TeacherAskRow, TeacherDayRow
from monitor.store.targets import Name, by_stream

MAX_ATTEMPTS = 4  # an answer that kills its reader must not be asked for for ever


class Skip(StrEnum):
    """Why a sample that was chosen is not answered after all."""

    EXPIRED = "expired"  # its turn did not come in time
    GIVEN_UP = "given_up"  # asked too often in vain
    TARGET_CAME = "target_came"
    NO_TEXT = "no_text"  # its content is gone, or was never kept
    NO_IMAGE = "no_image"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Ask:
    """A sample to be answered; of an image that is not at hand there is None."""

    sample_id: int
    text: str | None
    images: Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be asked in one day."""

    calls: int
    tokens: int


def plan_asks(session: Session, names: Iterable[Name], now: datetime) -> int:
    """Have those of these exchanges answered that are kept and have no target; return how many."""
    row = SampleRow
    ids = [
        id_
        for stream, texts in by_stream(names)
        for id_ in session.scalars(
            select(row.id).where(
                row.stream == stream, row.exchange_id.in_(texts), row.has_target.is_(False)
            )
        )
    ]
    if ids:
        session.execute(
            insert_into(session, TeacherAskRow).on_conflict_do_nothing(),
            [{"sample_id": id_, "stored_at": now, "attempts": 0} for id_ in ids],
        )
    return len(ids)


def has_asks(session: Session) -> bool:
    """Whether anything waits for the teacher, or for being let go."""
    return session.scalar(select(TeacherAskRow.sample_id).limit(1)) is not None


def drop_asks(session: Session, before: datetime) -> Counter[Skip]:
    """Let go of what came in before, was tried too often, or has a target by now."""
    ask, row = TeacherAskRow, SampleRow
    # Each ask looks at its sample: samples are many and asks are few. So in ``claim_ask``.
    is_answered = exists().where(row.id == ask.sample_id, row.has_target.is_(True))
    conditions = {
        Skip.TARGET_CAME: is_answered,
        Skip.EXPIRED: ask.stored_at < before,
        Skip.GIVEN_UP: ask.attempts >= MAX_ATTEMPTS,
    }
    return Counter(
        {
            reason: session.connection().execute(delete(ask).where(condition)).rowcount
            for reason, condition in conditions.items()
        }
    )


def claim_ask(session: Session, now: datetime, lease: timedelta) -> Ask | None:
    """The oldest sample that waits, once it is embedded; nobody else gets it meanwhile."""
    ask, row = TeacherAskRow, SampleRow
    found = session.execute(
        select(row.id, row.text)
        .join(ask, ask.sample_id == row.id)
        .where(
            func.coalesce(ask.claimed_until, now) <= now,
            row.encoder_digest.is_not(None),
            row.has_target.is_(False),
        )
        .order_by(ask.sample_id)
        .limit(1)
    ).one_or_none()
    if found is None:
        return None
    session.execute(
        update(ask)
        .where(ask.sample_id == found.id)
        .values(claimed_until=now + lease, attempts=ask.attempts + 1)
    )
    shown = SampleImageRow
    thumbnails = session.scalars(
        select(ImageRow.thumbnail)
        .select_from(shown)
        .outerjoin(ImageRow, ImageRow.content_hash == shown.content_hash)
        .where(shown.sample_id == found.id)
        .order_by(shown.position)
    )
    return Ask(found.id, found.text, list(thumbnails))


def settle_ask(session: Session, sample_id: int) -> None:
    """The sample is answered, or will not be."""
    session.execute(delete(TeacherAskRow).where(TeacherAskRow.sample_id == sample_id))


def postpone_ask(session: Session, sample_id: int, until: datetime, *, was_heard: bool) -> None:
    """Ask again later. An attempt that was not even heard does not count."""
    ask = TeacherAskRow
    session.execute(
        update(ask)
        .where(ask.sample_id == sample_id)
        .values(claimed_until=until, attempts=ask.attempts if was_heard else ask.attempts - 1)
    )


def reserve(session: Session, day: date, tokens: int, budget: Budget) -> bool:
    """Count one call of at most so many tokens; False, and nothing is counted, beyond the budget.

    What a process reserved before it was killed stays spent.
    """
    calls, spent = spent_on(session, day)
    if calls >= budget.calls or spent + tokens > budget.tokens:
        return False
    row = TeacherDayRow
    statement = insert_into(session, row).values(day=day, calls=1, tokens=tokens)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[row.day], set_={"calls": row.calls + 1, "tokens": row.tokens + tokens}
        )
    )
    return True


def settle_tokens(session: Session, day: date, reserved: int, spent: int) -> None:
    """Put what a call cost in the place of what was reserved for it."""
    row = TeacherDayRow
    session.execute(update(row).where(row.day == day).values(tokens=row.tokens + spent - reserved))


def spent_on(session: Session, day: date) -> tuple[int, int]:
    """Calls and tokens of a day."""
    row = TeacherDayRow
    found = session.execute(select(row.calls, row.tokens).where(row.day == day)).one_or_none()
    return (found.calls, found.tokens) if found else (0, 0)
