from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from monitor.records import Exchange, LateTarget, Rejection
from monitor.service.privacy import BUILTIN, UNSEARCHED, Privacy, Redactor
from monitor.traffic.formats.wire import excerpt

ALL = Redactor(builtin=tuple(BUILTIN))
CARD = "4111 1111 1111 1111"  # the test number that every payment provider publishes


def exchange(**more: object) -> Exchange:
    base = {"text": "Who is ann@example.com?", "response": "No idea.", "labels": {"tenant": "acme"}}
    return Exchange("a", datetime(2026, 3, 1, tzinfo=UTC), "llava", **(base | more))  # type: ignore[arg-type]  # from a dict


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("email", "ann.o'neil+news@mail.example.co.uk"),
        ("email", "jörg@exämple.de"),
        ("card", CARD),
        ("card", "378282246310005"),
        ("card", "5555-5555-5555-4444"),
        ("phone", "+49 (0)30 901820"),
        ("phone", "+1-202-555-0143"),
        ("phone", "(202) 555-0143"),
        ("phone", "0171 2345678"),
        ("token", "Authorization: Bearer abcdefghij0123456789".removeprefix("Authorization: ")),
        ("token", "sk-proj-" + "a1B2" * 8),
        ("token", "ghp_" + "x" * 36),
        ("token", "AKIAIOSFODNN7EXAMPLE"),
        ("token", "api_key=hunter2hunter2"),
        ("token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    ],
)
def test_what_is_redacted_leaves_its_name_and_nothing_else(name: str, secret: str) -> None:
    assert Redactor(builtin=(name,))(f"before {secret} after") == f"before [redacted:{name}] after"


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 has a wrong check digit",
        "In 2024 there were 1,234,567 photos of 640 x 480 pixels @ 30 fps.",
        "The bearer of the flag stands at 10:30:45 on 2026-03-01.",
        "Pi is 3.14159265358979 and a token is a word.",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert ALL(text) == text


def test_a_card_is_found_among_other_numbers() -> None:
    assert Redactor(builtin=("card",))(f"12 {CARD} 123") == "12 [redacted:card] 123"


@given(st.text())
def test_without_patterns_nothing_changes(text: str) -> None:
    assert Privacy().exchange(exchange(text=text)).text == text


def test_patterns_of_the_operator_come_before_the_built_in_ones() -> None:
    redact = Redactor({"staff": r"\w+@acme\.com"}, ("email",))
    assert redact("a@acme.com b@c.org") == "[redacted:staff] [redacted:email]"


def test_a_search_that_would_never_end_leaves_nothing_of_the_text() -> None:
    redact = Redactor({"evil": r"(a|aa)+$"})
    with structlog.testing.capture_logs() as logs:
        assert redact("a" * 64 + "b") == UNSEARCHED
    assert [(entry["event"], entry["pattern"]) for entry in logs] == [("redaction_gave_up", "evil")]


@pytest.mark.parametrize("piece", ["a.", "@a", "1 ", "-1", "sk-", "(0", "eyJa.", "+1 ", "00/"])
def test_no_built_in_pattern_gives_up_on_a_long_text(piece: str) -> None:
    assert UNSEARCHED not in ALL(piece * 100_000)


def test_everything_of_an_exchange_that_is_stored_is_redacted() -> None:
    mail, gone = "ann@example.com", "[redacted:email]"
    found = Privacy(ALL).exchange(
        exchange(text=mail, response=mail, target=mail, labels={"user": mail})
    )
    assert (found.text, found.response, found.target) == (gone, gone, gone)
    assert found.labels == {"user": gone}
    assert Privacy(ALL).target(LateTarget("a", "llava", mail)).target == gone


def test_the_settings_name_what_is_kept_and_what_is_redacted() -> None:
    keep = ["text", "thumbnails", "labels.tenant", "labels.language"]
    privacy = Privacy.of(keep, ["email"], {"ward": r"ward \d+"})
    assert privacy == Privacy(
        redact=Redactor({"ward": r"ward \d+"}, ("email",)),
        content=frozenset({"text"}),
        labels=frozenset({"tenant", "language"}),
        thumbnails=True,
        excerpts=False,
    )
    assert privacy.dropped == {"response", "target"}
    least = Privacy.of(["labels.*", "excerpts"], [], {})
    assert least == Privacy(content=frozenset(), labels=None, thumbnails=False, excerpts=True)


def test_only_the_built_in_patterns_that_are_named_are_searched_for() -> None:
    assert Redactor(builtin=("card",))("ann@example.org") == "ann@example.org"


def test_only_labels_that_are_listed_are_kept() -> None:
    privacy = Privacy.of(["text", "labels.tenant"], [], {})
    found = privacy.exchange(exchange(labels={"tenant": "acme", "user": "ann"}))
    assert found.labels == {"tenant": "acme"}
    assert privacy.dropped == {"response", "target"}


def refused(line: str, privacy: Privacy) -> str:
    return privacy.rejection(Rejection("bad_id", "too long", excerpt(line.encode()))).excerpt


def test_excerpts_are_redacted_also_where_the_log_escapes_them() -> None:
    line = r'{"text": "ask ann\u0040example.com\nor +1 202 555 0143"}'
    assert refused(line, Privacy(ALL)) == '{"text": "ask [redacted:email] or [redacted:phone]"}'


@pytest.mark.parametrize("secret", ["ann@example.com", CARD, "sk-proj-" + "a1B2" * 8])
@pytest.mark.parametrize("cut", range(4, 16))
def test_a_secret_that_the_end_of_an_excerpt_cuts_in_two_is_not_left_in_part(
    secret: str, cut: int
) -> None:
    line = '{"text": "' + "x" * (109 - cut) + " " + secret + '"}'
    assert refused(line, Privacy(ALL)).rstrip(" ") == '{"text": "' + "x" * (109 - cut)


def test_excerpts_that_are_not_kept_are_empty() -> None:
    assert refused('{"text": "hello"}', Privacy.of(["text"], [], {})) == ""


def test_what_is_redacted_has_an_identity_that_depends_on_the_patterns() -> None:
    one, other = Redactor({"a": "x"}, ("email",)), Redactor({"a": "y"}, ("email",))
    assert one.identity != other.identity
    assert one.identity == Redactor({"a": "x"}, ("email",)).identity
