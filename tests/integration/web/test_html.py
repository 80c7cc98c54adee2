import re
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest

from monitor.records import Signal
from monitor.web.words import WORDINGS, wording
from tests.integration.web.conftest import WEIRD, Site

HTML = {"Accept": "text/html"}
WINDOW_SECONDS = 900


def opened(site: Site, path: str, **query: str) -> str:
    answer = site.client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def stream_page(site: Site, stream: str = "llava", **query: str) -> str:
    return opened(site, "/stream", name=stream, **query)


# --- any page


@pytest.mark.parametrize("path", ["/", f"/stream?name={quote(WEIRD)}"])
def test_names_are_escaped_and_no_script_is_inline(measured: Site, path: str) -> None:
    page = opened(measured, path)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize("path", ["/", "/stream?name=llava"])
def test_a_page_asks_nothing_of_other_sites_and_styles_nothing_inline(
    measured: Site, path: str
) -> None:
    page = opened(measured, path)
    assert re.findall(r"(?:src|href|action)=\"(?![/#])", page) == []
    assert re.findall(r"\sstyle=|\son[a-z]+=|javascript:", page) == []


def test_what_strangers_wrote_is_not_for_caches(measured: Site) -> None:
    assert measured.client.get("/").headers["cache-control"] == "no-store"


def test_people_are_told_in_words_what_is_not_there(site: Site) -> None:
    answer = site.client.get("/nowhere", headers=HTML)
    assert (answer.status_code, "There is nothing here" in answer.text) == (404, True)
    assert "No page has this address." in answer.text


@pytest.mark.parametrize("path", ["/window", "/promote"])
def test_times_are_asked_for_in_utc(measured: Site, path: str) -> None:
    page = opened(measured, path, stream="llava")
    labels = re.findall(r"<label>([^<]+)<input type=\"datetime-local\"", page)
    assert labels
    assert [label for label in labels if "(UTC)" not in label] == []


def test_a_file_keeps_as_long_as_its_address(site: Site) -> None:
    found = re.search(r'href="(/static/style\.css\?v=[0-9a-f]+)"', opened(site, "/"))
    assert found
    named = site.client.get(found[1])
    assert "immutable" in named.headers["cache-control"]
    plain = site.client.get("/static/style.css")
    assert plain.headers["cache-control"] == "no-cache"
    again = site.client.get("/static/style.css", headers={"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304


def test_a_monitor_that_is_not_ready_says_so_on_every_page(measured: Site) -> None:
    measured.reasons.append("the encoders are loading")
    assert "the encoders are loading" in stream_page(measured)


# --- the overview


def rows(page: str) -> list[str]:
    return re.findall(r'<tr data-name="([^"]*)"', page)


def test_it_says_what_to_do_while_there_is_nothing(site: Site) -> None:
    assert "No traffic has been seen yet" in opened(site, "/")


def test_every_stream_is_listed_and_leads_to_its_page(measured: Site) -> None:
    page = opened(measured, "/")
    assert len(rows(page)) == 2
    assert 'href="/stream?name=llava"' in page


def test_streams_are_found_by_a_part_of_their_name(measured: Site) -> None:
    assert rows(opened(measured, "/", q="LAV")) == ["llava"]


def test_streams_can_be_put_in_the_order_of_their_names(measured: Site) -> None:
    assert rows(opened(measured, "/", sort="stream"))[1] == "llava"


def test_streams_are_found_by_their_state(measured: Site) -> None:
    page = opened(measured, "/")
    standing = re.search(r'<option value="([^"]+)">[^<]+\(\d+\)', page)
    assert standing
    found = rows(opened(measured, "/", state=standing[1]))
    assert 0 < len(found) <= 2
    assert rows(opened(measured, "/", state="no such state")) == []


def test_the_trend_is_that_of_what_is_stored_also_after_more_was_measured(measured: Site) -> None:
    before = opened(measured, "/")
    later = opened(measured, "/")
    assert re.findall(r'class="line" d="[^"]+"', before) == re.findall(
        r'class="line" d="[^"]+"', later
    )
    assert 'class="spark"' in before


# --- a stream


def test_every_signal_has_its_chart_in_words(measured: Site) -> None:
    page = stream_page(measured)
    assert [s for s in Signal if f'data-signal="{s.value}"' not in page] == []
    assert [s for s in Signal if wording(s).title not in page] == []


def test_every_signal_has_words_of_its_own() -> None:
    assert set(WORDINGS) == set(Signal)
    assert len({w.title for w in WORDINGS.values()}) == len(Signal)


def test_the_three_questions_are_answered_apart(measured: Site) -> None:
    page = stream_page(measured)
    places = [
        page.index(f">{question}</h2>")
        for question in (
            "Has the traffic changed?",
            "Have the answers got worse?",
            "How bad could it be?",
        )
    ]
    assert places == sorted(places)


def test_a_slice_can_be_chosen(measured: Site) -> None:
    page = stream_page(measured, slice="tenant=t1")
    assert '<option value="tenant=t1" selected>' in page
    verdict = page.partition('aria-label="Verdict"')[2].partition("</section>")[0]
    assert "Of tenant=t1 alone:" in verdict


def test_windows_lead_to_their_pages(measured: Site) -> None:
    assert re.search(
        r'href="/window\?stream=llava&amp;end=2026-03-01T12%3A15', stream_page(measured)
    )


def test_another_time_can_be_looked_at(measured: Site) -> None:
    assert "No window was measured" in stream_page(measured, end="2020-01-01T00:00:00Z")


def test_reference_changes_are_marked(measured: Site) -> None:
    now = measured.rig.clock.now
    page = stream_page(measured, end=str((now + timedelta(days=1)).timestamp()), span="3d")
    assert "Reference of every stream" in page


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"name": "nobody"}, 404),
        ({}, 404),
        ({"name": "llava", "end": "yesterday"}, 400),
        ({"name": "llava", "end": "9" * 400}, 400),
        ({"name": "llava", "end": "0001-01-01T00:00:00Z"}, 400),
        ({"name": "llava", "span": "forever"}, 200),
        ({"name": "llava", "slice": "no such slice"}, 200),
    ],
)
def test_odd_questions_get_an_answer(measured: Site, query: dict[str, str], status: int) -> None:
    assert measured.client.get("/stream", params=query).status_code == status
    assert measured.client.get("/stream/points", params=query).status_code == status


def columns(site: Site, **query: str) -> dict[str, object]:
    answer: httpx.Response = site.client.get("/stream/points", params=query)
    found: dict[str, object] = answer.json()
    return found


def test_the_charts_have_the_stored_values(measured: Site) -> None:
    drawn = columns(measured, name="llava")
    stored = measured.client.get(
        "/api/v1/measurements",
        params={
            "stream": "llava",
            "slice": "all",
            "signal": "emi",
            "start": "2026-03-01T00:00:00Z",
            "end": "2026-03-02T00:00:00Z",
        },
    ).json()["measurements"]
    signals = drawn["signals"]
    assert isinstance(signals, dict)
    assert signals["emi"]["value"] == [m["value"] for m in stored]
    assert signals["emi"]["threshold"] == [m["threshold"] for m in stored]


def test_charts_of_a_stream_that_has_just_begun_begin_with_it(measured: Site) -> None:
    drawn = columns(measured, name="llava", span="90d")
    ends = drawn["window_end"]
    assert isinstance(ends, list)
    assert drawn["start"] == ends[0] - WINDOW_SECONDS
