"""The teacher's client against an endpoint on a real socket."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.errors import SettingsError
from monitor.service.completion import Answer, Outcome, TeacherError
from monitor.service.teacher import Endpoint, Teacher, read_key, retry_after
from tests.endpoint import ANSWER, KEY, MODEL, TOKENS, FakeEndpoint, endpoint


@pytest.fixture(scope="module")
def listening() -> Iterator[FakeEndpoint]:
    with endpoint() as fake:
        yield fake


@pytest.fixture
def fake(listening: FakeEndpoint) -> FakeEndpoint:
    listening.behaviour, listening.redirected = "answer", 0
    listening.bodies.clear()
    listening.headers.clear()
    return listening


def at(fake: FakeEndpoint, **more: object) -> Endpoint:
    usual = Endpoint(fake.url, MODEL, KEY, timeout_seconds=5, parameters={"max_tokens": 9})
    return replace(usual, **more)  # type: ignore[arg-type]  # from a dict


def failure(where: Endpoint) -> TeacherError:
    with Teacher(where) as teacher, pytest.raises(TeacherError) as caught:
        teacher.ask("What is unusual?", [])
    return caught.value


def test_it_asks_with_text_and_pictures_and_gives_the_answer(fake: FakeEndpoint) -> None:
    with Teacher(at(fake, instructions="Be brief.")) as teacher:
        assert teacher.ask("What is unusual?", [b"jpeg"]) == Answer(ANSWER, TOKENS)
    picture = f"data:image/jpeg;base64,{base64.b64encode(b'jpeg').decode()}"
    assert fake.bodies == [
        {
            "model": MODEL,
            "max_tokens": 9,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is unusual?"},
                        {"type": "image_url", "image_url": {"url": picture}},
                    ],
                },
            ],
        }
    ]
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"


def test_without_a_picture_it_asks_with_a_plain_text(fake: FakeEndpoint) -> None:
    with Teacher(at(fake, key=None)) as teacher:
        teacher.ask("What is unusual?", [])
    assert fake.bodies[0]["messages"] == [{"role": "user", "content": "What is unusual?"}]
    assert "authorization" not in fake.headers[0]


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ("status:401", Outcome.DENIED),
        ("status:403", Outcome.DENIED),
        ("status:404", Outcome.REFUSED),
        ("status:400", Outcome.REFUSED),
        ("status:413", Outcome.REFUSED),
        ("status:408", Outcome.TIMEOUT),
        ("status:500", Outcome.SERVER_ERROR),
        ("status:503", Outcome.SERVER_ERROR),
        ("throttle:7", Outcome.THROTTLED),
        ("redirect", Outcome.REDIRECTED),
        ("garbage:<html>", Outcome.GARBAGE),
        ("garbage:{}", Outcome.GARBAGE),
        ("garbage:\x80", Outcome.GARBAGE),
        ('garbage:{"choices": []}', Outcome.GARBAGE),
        ('garbage:{"choices": [{"message": {"content": 7}}]}', Outcome.GARBAGE),
        ("garbage:" + "[" * 100_000, Outcome.GARBAGE),
        ("silent", Outcome.GARBAGE),
        ("huge", Outcome.TOO_LARGE),
        ("cut_off", Outcome.CUT_OFF),
        ("decline", Outcome.DECLINED),
    ],
)
def test_what_is_no_answer_has_an_outcome(
    fake: FakeEndpoint, behaviour: str, outcome: Outcome
) -> None:
    fake.behaviour = behaviour
    error = failure(at(fake))
    assert error.outcome is outcome
    assert error.retry_after == (7 if outcome is Outcome.THROTTLED else None)
    assert KEY not in str(error)
    assert (fake.calls, fake.redirected) == (1, 0)


def test_one_that_never_ends_is_given_up_in_time(fake: FakeEndpoint) -> None:
    fake.behaviour = "drip"
    assert failure(at(fake, timeout_seconds=0.2)).outcome is Outcome.TIMEOUT


def test_nobody_at_the_address_is_unreachable(fake: FakeEndpoint) -> None:
    error = failure(at(fake, url="http://127.0.0.1:1/v1"))
    assert error.outcome is Outcome.UNREACHABLE
    assert failure(at(fake, url=f"http://{KEY}\x00/v1")).outcome is Outcome.UNREACHABLE


def test_what_it_cost_is_told_also_where_the_answer_is_no_good(fake: FakeEndpoint) -> None:
    fake.behaviour = "cut_off"
    assert failure(at(fake)).tokens == TOKENS
    fake.behaviour = 'garbage:{"choices": [], "usage": {"total_tokens": 99999999999999999}}'
    assert failure(at(fake)).tokens is None
    fake.behaviour = "status:500"
    assert failure(at(fake)).tokens == 0


def test_it_says_which_models_there_are(fake: FakeEndpoint) -> None:
    with Teacher(at(fake)) as teacher:
        assert teacher.models() == [MODEL, "other"]
    fake.behaviour = "no_models"
    with Teacher(at(fake)) as teacher:
        assert teacher.models() is None
    fake.behaviour = "answer"
    with Teacher(at(fake, key="wrong")) as teacher, pytest.raises(TeacherError, match="denied"):
        teacher.models()


def test_the_key_shows_nowhere(fake: FakeEndpoint) -> None:
    assert KEY not in repr(at(fake))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("12", 12),
        ("1.5", 1.5),
        ("-3", 0),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=lambda: 1_772_366_400.0) == seconds


def test_the_key_is_the_one_word_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert (read_key(path), read_key(None)) == (KEY, None)
    for text in ("", "two words"):
        path.write_text(text)
        with pytest.raises(SettingsError, match="one key"):
            read_key(path)
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="ASCII"):
        read_key(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_what_a_call_may_cost_is_bounded_before_it() -> None:
    one = Endpoint("http://a/v1", MODEL, parameters={"max_completion_tokens": 100})
    assert one.tokens_of("x" * 30, 0) == 110
    assert one.tokens_of("x" * 30, 2) == 110 + 3_200
    assert replace(one, parameters={}).tokens_of("", 0) == 512
