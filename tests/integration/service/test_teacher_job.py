"""The teacher's job over a real database and an endpoint on a real socket."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from monitor.encoders.images import ImageLimits
from monitor.records import Sample, TargetSource
from monitor.service.breaker import FAILURES, FIRST_PAUSE_SECONDS
from monitor.service.embed_job import EmbedJob
from monitor.service.embedding import Embedder
from monitor.service.teacher import Endpoint, Teacher
from monitor.service.teacher_job import TeacherJob, TeacherRules
from monitor.service.telemetry import Telemetry
from monitor.store.engine import Database
from monitor.store.samples import window_samples
from monitor.store.streams import advance_watermarks
from monitor.store.tables import SampleRow, TeacherAskRow
from monitor.store.teacher import MAX_ATTEMPTS, Budget, spent_on
from monitor.traffic.sampling import is_chosen, priority
from tests.endpoint import ANSWER, KEY, MODEL, TOKENS, FakeEndpoint, endpoint
from tests.integration.service.parts import (
    HOUR,
    MINUTE,
    PANE,
    STREAM,
    Clock,
    admit,
    at,
    exchange,
    hash_encoders,
    inline,
    late_target,
    make_intake,
    png,
)

ANYTHING = TeacherRules(Budget(1_000, 1_000_000), patience=2 * HOUR, max_text_chars=100)


@pytest.fixture(scope="module")
def listening() -> Iterator[FakeEndpoint]:
    with endpoint() as fake:
        yield fake


@dataclass
class School:
    """Traffic that is kept and embedded, and the job that asks about it."""

    database: Database
    fake: FakeEndpoint
    rules: TeacherRules = ANYTHING
    share: float = 1.0
    keeps_thumbnails: bool = True
    dropped: frozenset[str] = frozenset()
    clock: Clock = field(default_factory=Clock)
    stack: ExitStack = field(default_factory=ExitStack)
    telemetry: Telemetry = field(init=False)
    job: TeacherJob = field(init=False)
    embed: EmbedJob = field(init=False)

    def __post_init__(self) -> None:
        self.fake.behaviour = "answer"
        self.fake.bodies.clear()
        self.start()

    def start(self) -> None:
        """As a process does that is started anew."""
        self.telemetry = Telemetry(CollectorRegistry())
        endpoint_of = Endpoint(self.fake.url, MODEL, KEY, 5, parameters={"max_tokens": 100})
        self.job = TeacherJob(
            database=self.database,
            clock=self.clock,
            teacher=self.stack.enter_context(Teacher(endpoint_of)),
            rules=self.rules,
            telemetry=self.telemetry,
            should_stop=lambda: False,
        )
        self.embed = EmbedJob(
            database=self.database,
            clock=self.clock,
            pane=PANE,
            embedder=Embedder(
                hash_encoders(),
                ImageLimits(),
                with_thumbnails=self.keeps_thumbnails,
                dropped=self.dropped,
            ),
            telemetry=self.telemetry,
            should_stop=lambda: False,
        )

    def take(self, *lines: bytes) -> None:
        """Admit lines and embed what is kept of them."""
        intake = make_intake(self.database, self.clock, teacher_share=self.share)
        admit(intake, lines)
        with self.database.begin() as session:
            advance_watermarks(session, {STREAM: at(120)})
        self.embed()

    def samples(self) -> dict[str, Sample]:
        with self.database.read() as session:
            found = window_samples(session, STREAM, at(-60), at(120))
        return {sample.exchange_id: sample for sample in found}

    def targets(self) -> dict[str, tuple[str | None, str | None]]:
        """Target and whose it is, of those that have one."""
        row = SampleRow
        with self.database.read() as session:
            rows = session.execute(
                select(row.exchange_id, row.target, row.target_source).where(row.has_target)
            )
            return {name: (target, source) for name, target, source in rows}

    def waiting(self) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(TeacherAskRow)) or 0

    def spent(self) -> tuple[int, int]:
        with self.database.read() as session:
            return spent_on(session, self.clock.now.date())

    def count(self, name: str, **labels: str) -> float | None:
        registry = self.telemetry.registry
        return registry.get_sample_value(f"mllm_monitor_teacher_{name}", labels)


Make = Callable[..., School]


@pytest.fixture
def make(database: Database, listening: FakeEndpoint) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **more: School(database, listening, stack=stack, **more)


@pytest.fixture
def school(make: Make) -> School:
    return make()


def test_an_answer_becomes_the_target_and_is_embedded(school: School) -> None:
    school.take(exchange("a"), exchange("b", target="Mine."))
    school.job()
    assert school.targets() == {
        "a": (ANSWER, TargetSource.TEACHER),
        "b": ("Mine.", TargetSource.LOGGED),
    }
    assert school.samples()["a"].encoder_digest is None  # pending again
    school.embed()
    assert school.samples()["a"].z_target is not None
    assert (school.waiting(), school.spent()) == (0, (1, TOKENS))
    assert school.count("calls_total", outcome="answered") == 1
    assert school.count("tokens_total") == TOKENS
    assert school.count("breaker_open") == 0


def test_nothing_is_asked_before_it_is_embedded(school: School) -> None:
    admit(make_intake(school.database, teacher_share=1.0), [exchange("a")])
    school.job()
    assert (school.fake.calls, school.waiting()) == (0, 1)


def test_pictures_are_sent_as_they_are_kept(school: School) -> None:
    school.take(exchange("a", images=[inline(png(1, side=600)), inline(png(2))]))
    school.job()
    (body,) = school.fake.bodies
    text, *pictures = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is unusual in a?"}
    urls = [picture["image_url"]["url"] for picture in pictures]
    assert [url.startswith("data:image/jpeg;base64,/9j/") for url in urls] == [True, True]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"images": [inline(b"nonsense")]}, "no_image"),
        ({"images": [inline(png(1)), {"url": "https://a/1.png"}]}, "no_image"),
        ({"query": {"text": "x" * 101}}, "too_long"),
    ],
)
def test_what_the_model_saw_and_the_teacher_would_not_is_not_asked(
    school: School, more: dict[str, Any], reason: str
) -> None:
    school.take(exchange("a", **more))
    school.job()
    assert (school.fake.calls, school.waiting(), school.targets()) == (0, 0, {})
    assert school.count("skipped_total", reason=reason) == 1


def test_what_is_not_kept_is_not_sent(make: Make) -> None:
    school = make(dropped=frozenset({"text"}), keeps_thumbnails=False)
    school.take(exchange("a"), exchange("b", images=[inline(png(1))]))
    school.job()
    assert school.fake.calls == 0
    assert school.count("skipped_total", reason="no_text") == 2


def test_answers_are_redacted_like_targets(make: Make) -> None:
    rules = replace(ANYTHING, redact=lambda text: text.replace("taxi", "[redacted:taxi]"))
    school = make(rules=rules)
    school.take(exchange("a"))
    school.job()
    assert school.targets()["a"][0] == ANSWER.replace("taxi", "[redacted:taxi]")


def test_a_logged_target_is_in_time_until_the_answer_and_holds_after_it(school: School) -> None:
    school.take(exchange("a"), exchange("b"))
    school.take(late_target("a", "Mine."))
    school.job()
    assert school.count("skipped_total", reason="target_came") == 1
    school.take(late_target("b", "Mine."))
    assert school.targets() == dict.fromkeys("ab", ("Mine.", TargetSource.LOGGED))


def test_a_share_is_asked_whatever_the_priority(make: Make) -> None:
    school = make(share=0.5)
    names = [f"e{i}" for i in range(60)]
    school.take(*(exchange(name, i / 30) for i, name in enumerate(names)))
    chosen = {name for name in names if is_chosen(0.5, STREAM, name)}
    assert school.waiting() == len(chosen)
    school.job()
    assert set(school.targets()) == chosen


def test_the_share_is_uniform_over_priorities() -> None:
    names = sorted((f"e{i}" for i in range(20_000)), key=lambda name: priority(0, STREAM, name))
    chosen = [is_chosen(0.1, STREAM, name) for name in names]
    # Each is off by more than five standard deviations once in a million runs.
    for part in (chosen[:2_000], chosen[9_000:11_000], chosen[-2_000:]):
        assert abs(sum(part) - 200) < 5 * (2_000 * 0.1 * 0.9) ** 0.5
    assert not any(is_chosen(0.0, STREAM, name) for name in names)
    assert all(is_chosen(1.0, STREAM, name) for name in names)


def test_the_budget_of_calls_holds_over_restarts_until_the_next_day(make: Make) -> None:
    school = make(rules=replace(ANYTHING, budget=Budget(3, 10**6), patience=timedelta(days=3)))
    school.take(*(exchange(f"e{i}") for i in range(5)))
    school.job()
    school.start()
    school.job()
    assert (school.fake.calls, school.spent(), school.waiting()) == (3, (3, 3 * TOKENS), 2)
    school.clock.now += timedelta(days=1)
    school.job()
    assert (school.fake.calls, school.spent()) == (5, (2, 2 * TOKENS))


def test_a_call_that_could_break_the_budget_of_tokens_is_not_made(make: Make) -> None:
    # A call reserves 100 for the answer and some for the question; it costs 321.
    school = make(rules=replace(ANYTHING, budget=Budget(100, 700)))
    school.take(*(exchange(f"e{i}") for i in range(5)))
    school.job()
    assert school.spent() == (2, 2 * TOKENS)


def test_a_call_that_was_killed_stays_paid_for_and_is_made_again(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    school.take(exchange("a"))
    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "ask", killed)
        with pytest.raises(KeyboardInterrupt):
            school.job()
    calls, reserved = school.spent()
    assert calls == 1
    school.start()
    school.job()
    assert (school.fake.calls, school.targets()) == (0, {})  # still claimed
    school.clock.now += 2 * MINUTE
    school.job()
    assert school.targets()["a"] == (ANSWER, TargetSource.TEACHER)
    assert school.spent() == (2, reserved + TOKENS)


def test_two_processes_do_not_ask_the_same(make: Make) -> None:
    one = make()
    one.take(exchange("a"))
    other = make()
    asked: list[int] = []

    class Meanwhile(Teacher):
        def ask(self, *question: Any) -> Any:
            other.job()
            asked.append(one.fake.calls)
            return super().ask(*question)

    one.job._teacher = one.stack.enter_context(Meanwhile(one.job._teacher.endpoint))
    one.job()
    assert (asked, one.fake.calls) == ([0], 1)


@pytest.mark.parametrize("behaviour", ["status:400", "garbage:x", "cut_off", "decline", "huge"])
def test_a_question_that_gets_no_answer_is_not_asked_again(school: School, behaviour: str) -> None:
    school.fake.behaviour = behaviour
    school.take(exchange("a"))
    school.job()
    school.clock.now += HOUR
    school.job()
    assert (school.fake.calls, school.waiting(), school.targets()) == (1, 0, {})


@pytest.mark.parametrize("behaviour", ["status:500", "redirect", "status:401"])
def test_a_failing_teacher_is_asked_again_later_but_not_for_ever(
    school: School, behaviour: str
) -> None:
    school.fake.behaviour = behaviour
    school.take(exchange("a"))
    school.job()
    school.job()
    assert (school.fake.calls, school.waiting()) == (1, 1)
    for _ in range(10):
        school.clock.now += 5 * MINUTE
        school.job()
    assert (school.fake.calls, school.waiting()) == (MAX_ATTEMPTS, 0)
    assert school.count("skipped_total", reason="given_up") == 1
    assert school.fake.redirected == 0


def test_the_breaker_leaves_a_failing_teacher_alone_and_tries_it_again(school: School) -> None:
    school.fake.behaviour = "status:500"
    school.take(*(exchange(f"e{i}") for i in range(9)))
    for _ in range(9):
        school.job()
    assert (school.fake.calls, school.count("breaker_open")) == (FAILURES, 1)
    assert school.count("calls_total", outcome="server_error") == FAILURES
    assert school.spent() == (FAILURES, 0)
    school.fake.behaviour = "answer"
    school.clock.now += timedelta(seconds=FIRST_PAUSE_SECONDS)
    school.job()
    assert (len(school.targets()), school.count("breaker_open")) == (9, 0)


def test_it_comes_again_when_it_was_asked_to(school: School) -> None:
    school.fake.behaviour = "throttle:90"
    school.take(exchange("a"), exchange("b"))
    school.job()
    school.job()
    assert (school.fake.calls, school.count("breaker_open")) == (1, 1)
    school.fake.behaviour = "answer"
    school.clock.now += timedelta(seconds=89)
    school.job()
    assert school.fake.calls == 1
    school.clock.now += timedelta(seconds=1)
    school.job()
    assert len(school.targets()) == 2


def test_what_had_to_wait_too_long_is_not_asked(school: School) -> None:
    school.take(exchange("a"))
    school.clock.now += 3 * HOUR
    school.job()
    assert (school.fake.calls, school.waiting()) == (0, 0)
    assert school.count("skipped_total", reason="expired") == 1


def test_neither_the_key_nor_the_question_is_logged(
    school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.take(exchange("secret-7"))
    for behaviour in ("status:500", "garbage:secret-7", "answer"):
        school.fake.behaviour = behaviour
        school.job()
        school.clock.now += MINUTE
    said = "".join(capsys.readouterr())
    assert KEY not in said
    assert "secret-7" not in said
