"""Has a small uniform share of the samples answered by the teacher, within a daily budget."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from monitor.service.breaker import Breaker
from monitor.service.completion import ABOUT_THE_QUESTION, OF_THE_MODEL, Outcome, TeacherError
from monitor.service.teacher import Teacher
from monitor.service.telemetry import Telemetry
from monitor.store.engine import Database
from monitor.store.targets import set_teacher_target
from monitor.store.teacher import (
    Ask,
    Budget,
    Skip,
    claim_ask,
    drop_asks,
    has_asks,
    postpone_ask,
    reserve,
    settle_ask,
    settle_tokens,
)
from monitor.traffic.formats.wire import Caps, clean

log = structlog.get_logger()
LEASE_BEYOND_TIMEOUT = timedelta(minutes=1)
RETRY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class TeacherRules:
    """How much the teacher is asked, and how old a question may get before its turn.

    ``redact`` takes out of answers what must not be stored.
    """

    budget: Budget
    patience: timedelta
    max_text_chars: int
    redact: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class _Claimed:
    ask: Ask
    day: date
    tokens: int


class TeacherJob:
    """Asks for one sample after another; what is not finished is claimed again.

    An answer may be paid for twice if the process is killed before it is stored; the budget then
    counts it twice too.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        teacher: Teacher,
        rules: TeacherRules,
        telemetry: Telemetry,
        should_stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._teacher = teacher
        self._rules = rules
        self._breaker = Breaker(lambda: clock().timestamp())
        self._telemetry = telemetry
        self._should_stop = should_stop
        self._spent_day: date | None = None

    def __call__(self) -> None:
        """Ask until nothing waits, the budget is spent, the teacher fails, or told to stop."""
        while not self._should_stop() and self._breaker.allows() and self._ask_one():
            pass
        self._telemetry.teacher_breaker.set(self._breaker.is_open)

    def _ask_one(self) -> bool:
        with self._database.read() as session:
            if not has_asks(session):
                return False
        claimed = self._claim()
        if not isinstance(claimed, _Claimed):
            return claimed
        try:
            images = [image for image in claimed.ask.images if image is not None]
            answer = self._teacher.ask(claimed.ask.text or "", images)
        except TeacherError as exc:
            self._note_failure(claimed, exc)
            return exc.outcome in ABOUT_THE_QUESTION  # else it is left alone until the next run
        else:
            text = self._rules.redact(clean(answer.text, Caps().max_text_chars))
            with self._database.begin() as session:
                set_teacher_target(session, claimed.ask.sample_id, text)
                settle_ask(session, claimed.ask.sample_id)
                self._settle(session, claimed, answer.tokens)
            self._note(Outcome.ANSWERED)
        return True

    def _claim(self) -> _Claimed | bool:
        """A sample whose call is paid for; else whether there may be another one."""
        now, rules, teacher = self._clock(), self._rules, self._teacher
        lease = timedelta(seconds=teacher.endpoint.timeout_seconds) + LEASE_BEYOND_TIMEOUT
        with self._database.begin() as session:
            for reason, count in drop_asks(session, now - rules.patience).items():
                self._telemetry.teacher_skipped.labels(reason).inc(count)
            ask = claim_ask(session, now, lease)
            if ask is None:
                return False
            if (skip := self._why_not(ask)) is not None:
                settle_ask(session, ask.sample_id)
                self._telemetry.teacher_skipped.labels(skip).inc()
                return True
            tokens = teacher.endpoint.tokens_of(ask.text or "", len(ask.images))
            day = now.date()
            if not reserve(session, day, tokens, rules.budget):
                postpone_ask(session, ask.sample_id, now, was_heard=False)
                self._tell_spent(day)
                return False
        return _Claimed(ask, day, tokens)

    def _why_not(self, ask: Ask) -> Skip | None:
        if ask.text is None or not (ask.text or ask.images):
            return Skip.NO_TEXT
        # A question about a picture is another question without it.
        if any(image is None for image in ask.images):
            return Skip.NO_IMAGE
        return Skip.TOO_LONG if len(ask.text) > self._rules.max_text_chars else None

    def _note_failure(self, claimed: _Claimed, error: TeacherError) -> None:
        sample_id, outcome = claimed.ask.sample_id, error.outcome
        with self._database.begin() as session:
            self._settle(session, claimed, error.tokens)
            if outcome in ABOUT_THE_QUESTION:
                settle_ask(session, sample_id)
            else:
                was_heard = outcome is not Outcome.THROTTLED
                postpone_ask(session, sample_id, self._clock() + RETRY, was_heard=was_heard)
        self._note(outcome)
        if error.retry_after is not None:
            self._breaker.hold(error.retry_after)
        log.warning("teacher_failed", outcome=outcome.value, detail=str(error), sample=sample_id)

    def _settle(self, session: Session, claimed: _Claimed, tokens: int | None) -> None:
        # Where nobody says what it cost, it cost what was reserved.
        spent = claimed.tokens if tokens is None else tokens
        settle_tokens(session, claimed.day, claimed.tokens, spent)
        self._telemetry.teacher_tokens.inc(spent)

    def _note(self, outcome: Outcome) -> None:
        self._telemetry.teacher_calls.labels(outcome).inc()
        if outcome in OF_THE_MODEL:
            self._breaker.succeeded()
        else:
            self._breaker.failed()

    def _tell_spent(self, day: date) -> None:
        if self._spent_day != day:
            self._spent_day = day
            log.warning("teacher_budget_spent", day=day.isoformat())
