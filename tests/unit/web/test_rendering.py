from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from monitor.web.rendering import (
    CLAMP,
    ago,
    link,
    name,
    number,
    percent,
    plain,
    said,
    sentence,
    span,
    times,
    utc,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.text(max_size=1000))
def test_a_text_of_a_stranger_never_becomes_markup(text: str) -> None:
    for shown in (said(text), name(text)):
        inside = str(shown)
        for ours in ("bdi", "span", "details", "summary"):
            inside = inside.replace(f"<{ours}", "").replace(f"</{ours}", "")
        assert "<" not in inside


@given(st.text(st.characters(blacklist_categories=["C", "Z"]), max_size=CLAMP))
def test_what_can_be_seen_is_shown_as_it_is(text: str) -> None:
    assert Markup(name(text)).striptags().split() == text.split()  # noqa: S704 - taken apart again


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\u202eb", "U+202E"),
        ("a\x1bb", "U+001B"),
        ("a\u200bb", "U+200B"),
        ("\ufeff", "U+FEFF"),
        ("a\rb", "U+000D"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, code: str) -> None:
    assert code in name(text)
    assert text not in name(text)


def test_what_cannot_be_seen_is_named_also_where_no_markup_can_be() -> None:
    assert plain("a\u202e<b\u200b") == "a[U+202E]<b[U+200B]"


def test_what_went_wrong_is_told_in_whole_sentences() -> None:
    assert sentence("no window was measured then") == "No window was measured then."
    assert sentence("It failed!") == "It failed!"
    assert sentence("") == "."


def test_line_ends_of_forms_and_of_windows_are_line_ends() -> None:
    assert said("one\r\ntwo\n") == '<bdi class="said">one\r\ntwo\n</bdi>'


def test_joined_emojis_stay_joined() -> None:
    family = "\U0001f469\u200d\U0001f467"
    assert family in name(family)


def test_a_long_text_is_opened_by_hand_and_then_whole() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(CLAMP + 50))
    shown = said(text)
    assert shown.startswith("<details")
    assert text[CLAMP:] in shown


def test_a_text_that_is_gone_is_told_from_one_that_was_empty() -> None:
    assert "not kept" in said(None)
    assert "empty" in said("")


def test_parameters_are_escaped_and_absent_ones_left_out() -> None:
    assert link("/stream", name="a/b&c=d é", slice=None) == "/stream?name=a%2Fb%26c%3Dd+%C3%A9"
    assert link("/window", end=NOW) == "/window?end=2026-03-01T12%3A00%3A00Z"
    assert link("/") == "/"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(5, "5 s"), (90, "2 min"), (3600, "1 h"), (5400, "1.5 h"), (86400 * 12, "12 d")],
)
def test_lengths_of_time_are_in_their_largest_unit(seconds: int, shown: str) -> None:
    assert span(timedelta(seconds=seconds)) == shown


def test_ages_count_from_now_and_times_to_come_are_called_so() -> None:
    assert ago(NOW - timedelta(hours=2), NOW) == "2 h ago"
    assert ago(NOW + timedelta(hours=2), NOW) == "in 2 h"


def test_times_are_for_people_and_for_machines() -> None:
    assert utc(NOW) == '<time datetime="2026-03-01T12:00:00Z">2026-03-01 12:00</time>'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.012345, "0.01235"),
        (-1.5, "-1.5"),
        (123456.0, "123500"),
        (1e-9, "1.000e-09"),
    ],
)
def test_numbers_have_four_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_excesses_and_shares_have_their_units() -> None:
    assert (times(4.126), times(1234.5), times(None)) == ("4.13\xa0×", "1,234\xa0×", "–")
    assert (percent(0.713), percent(0.0123), percent(0.0), percent(None)) == (
        "71 %",
        "1.2 %",
        "0 %",
        "–",
    )
