import re
from datetime import timedelta

import pytest

from monitor.store.references import active_references
from monitor.store.tables import ReferenceSampleRow
from monitor.web.runbooks import runbooks
from tests.integration.service.parts import START
from tests.integration.web.conftest import WEIRD, Site
from tests.integration.web.test_html import HTML, opened

END = "2026-03-01T12:10:00Z"


def window(site: Site, **query: str) -> str:
    return opened(site, "/window", **{"stream": "llava", "end": END, **query})


# --- windows


def test_a_window_comes_at_once_and_says_where_the_rest_is_to_be_had(measured: Site) -> None:
    page = window(measured)
    assert "Which modality" in page
    assert 'data-from="/window/case?stream=llava&amp;end=2026-03-01T12%3A10%3A00Z"' in page
    assert 'aria-busy="true"' in page


def test_what_is_fetched_is_a_part_and_not_a_page(measured: Site) -> None:
    part = opened(measured, "/window/case", stream="llava", end=END)
    assert "<html" not in part
    assert "Which exchanges" in part
    assert "Which slices" in part


def test_without_script_the_whole_is_sent_in_one(measured: Site) -> None:
    (where,) = re.findall(r'http-equiv="refresh" content="0;url=([^"]+)"', window(measured))
    whole = opened(measured, where.replace("&amp;", "&"))
    assert "Which exchanges" in whole
    assert 'http-equiv="refresh"' not in whole


def test_without_an_end_it_is_the_newest_window(measured: Site) -> None:
    page = opened(measured, "/window", stream="llava")
    assert "12:05</time> – <time" in page


def test_an_alert_may_give_the_end_in_seconds(measured: Site) -> None:
    seconds = str(int((START + timedelta(minutes=10)).timestamp()))
    assert "11:55</time>" in window(measured, end=seconds)


def test_a_window_leads_to_those_before_and_after(measured: Site) -> None:
    page = window(measured)
    assert re.findall(r'end=([^"&]+)[^"]*" rel="(prev|next)"', page) == [
        ("2026-03-01T12%3A05%3A00Z", "prev"),
        ("2026-03-01T12%3A15%3A00Z", "next"),
    ]


def test_a_slice_of_a_window_can_be_looked_at(measured: Site) -> None:
    page = window(measured, slice="tenant=t1")
    assert '<option value="tenant=t1" selected>' in page
    assert "Of tenant=t1 alone:" in page  # before it is taken apart
    assert "Have the answers got worse?" in page.partition("Which modality")[0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"stream": "nobody"}, 404),
        ({"stream": "llava", "end": "2020-01-01T00:00:00Z"}, 404),
        ({"stream": "llava", "slice": "tenant=nobody"}, 404),
        ({"stream": "llava", "signal": "mood"}, 400),
        ({"stream": "llava", "end": "soon"}, 400),
        ({}, 404),
    ],
)
def test_people_are_told_what_is_wrong_with_an_address(
    measured: Site, query: dict[str, str], status: int
) -> None:
    for path in ("/window", "/window/case", "/compare"):
        if path == "/compare" and "slice" in query:
            continue
        answer = measured.client.get(path, params=query, headers=HTML)
        assert answer.status_code == status
        assert "<h1>" in answer.text


# --- comparisons and exchanges


def test_two_windows_stand_beside_each_other(measured: Site) -> None:
    page = opened(
        measured,
        "/compare",
        stream="llava",
        end="2026-03-01T12:20:00Z",
        **{"with": "2026-03-01T12:05:00Z"},
    )
    assert "Between the two themselves" in page
    assert "Difference" in page


def test_where_nothing_was_measured_last_week_another_window_can_be_chosen(
    measured: Site,
) -> None:
    page = opened(measured, "/compare", stream="llava", end="2026-03-01T12:20:00Z")
    assert "There is nothing to compare with" in page
    assert "<option value=" in page


def test_an_exchange_of_any_stream_has_its_page(measured: Site) -> None:
    page = opened(measured, "/exchange", stream=WEIRD, id=f"{WEIRD}-0-3")
    assert "What is unusual in" in page
    assert "<script>" not in page
    answer = measured.client.get("/exchange", params={"stream": WEIRD, "id": "none"})
    assert answer.status_code == 404


# --- references


def digest(site: Site) -> str:
    with site.rig.database.read() as session:
        return active_references(session)["*"]


def test_a_reference_tells_its_age_its_q_and_its_nulls(measured: Site) -> None:
    page = opened(measured, "/reference", digest=digest(measured))
    assert "every stream without its own" in page
    assert "Gain over knowing nothing" in page
    assert page.count('class="histogram"') >= 5
    assert "Its exchanges are not kept" in page


def test_a_reference_is_found_by_a_part_of_its_digest(measured: Site) -> None:
    page = opened(measured, "/reference", digest=digest(measured)[:12])
    assert digest(measured) in page


def test_exchanges_of_a_reference_are_turned_over_page_by_page(measured: Site) -> None:
    where = digest(measured)
    with measured.rig.database.begin() as session:
        for i in range(30):
            session.add(
                ReferenceSampleRow(
                    digest=where,
                    position=i,
                    exchange_id=f"exchange {i}",
                    part="density",
                    text=f"question {i}.",
                )
            )
    first = opened(measured, "/reference", digest=where)
    (further,) = re.findall(r'href="([^"#]+)#samples" rel="next"', first)
    second = opened(measured, further.replace("&amp;", "&"))
    assert "question 0." in first
    assert "question 12." not in first
    assert "question 12." in second
    at = opened(measured, "/reference", digest=where, at="20")
    assert re.findall(r'class="card chosen" id="(p\d+)"', at) == ["p20"]


@pytest.mark.parametrize(
    ("query", "status"),
    [({"digest": "nothing"}, 404), ({}, 404), ({"digest": "x", "after": "-9"}, 400)],
)
def test_there_is_no_other_reference(measured: Site, query: dict[str, str], status: int) -> None:
    assert measured.client.get("/reference", params=query).status_code == status


# --- runbooks


def test_every_runbook_is_listed_and_can_be_read(site: Site) -> None:
    index = opened(site, "/runbooks")
    assert runbooks()
    for name in runbooks():
        assert f'href="/runbooks/{name}"' in index
        assert f"<h1>{name}</h1>" in opened(site, f"/runbooks/{name}")


def test_there_is_no_other_runbook(site: Site) -> None:
    for name in ("Nothing", "../README", "%2e%2e%2fREADME"):
        assert site.client.get(f"/runbooks/{name}").status_code == 404
