"""Pages in a real browser, over traffic of which every field is an attempt to run script."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.pages.conftest import CALM, Seen
from tests.acceptance.pages.hostile import STREAM, TENANT, shown

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"
SLICE = f"tenant={TENANT}"
PATHS = {
    "overview": ("/", {}),
    "stream": ("/stream", {"name": STREAM}),
    "stream of a slice": ("/stream", {"name": STREAM, "slice": SLICE, "span": "7d"}),
    "window": ("/window", {"stream": STREAM}),
    "window of a slice": ("/window", {"stream": STREAM, "slice": SLICE}),
    "window by a signal": ("/window", {"stream": STREAM, "signal": "textual_discrepancy"}),
    "comparison": ("/compare", {"stream": STREAM}),
    "references": ("/references", {}),
    "runbooks": ("/runbooks", {}),
}


def in_case(page: Page) -> None:
    """Wait until the window is taken apart, where one is."""
    expect(page.locator("[aria-busy]")).to_have_count(0, timeout=60_000)


def reference_digest(address: str) -> str:
    (only,) = httpx.get(f"{address}/api/v1/references", timeout=60).json()["references"]
    return str(only["digest"])


@pytest.mark.parametrize("title", PATHS)
def test_nothing_runs_nothing_is_refused_and_nothing_is_asked_elsewhere(
    seen: Seen, title: str
) -> None:
    path, query = PATHS[title]
    page = seen.open(path, **query)
    in_case(page)
    seen.assert_harmless()
    assert page.locator("main h1").count() == 1


def test_a_reference_shows_what_is_in_it_and_runs_none_of_it(seen: Seen) -> None:
    seen.open("/reference", digest=reference_digest(seen.address))
    seen.assert_harmless()
    said = seen.text()
    for field in ("reference", "id", "text", "response", "target"):
        assert shown(field) in said


def test_a_case_shows_what_strangers_wrote_as_they_wrote_it(seen: Seen) -> None:
    page = seen.open("/window", stream=STREAM)
    in_case(page)
    said = seen.text()
    for field in ("stream", "tenant", "key", "value", "id", "text", "response", "target"):
        assert shown(field) in said
    assert "{{7*7}}" in said
    assert "U+202E" in said
    seen.assert_harmless()


def test_where_no_markup_can_be_what_cannot_be_seen_is_shown_as_well(seen: Seen) -> None:
    page = seen.open("/window", stream=STREAM)
    in_case(page)
    said = page.evaluate(
        "() => [document.title, ...[...document.querySelectorAll('option, [aria-label], title')]"
        ".map((it) => it.ariaLabel ?? it.textContent)].join('\\n')"
    )
    assert "[U+202E]stream" in said
    assert "[U+202E]tenant" in said
    assert "\u202e" not in said


def test_an_exchange_has_a_page_with_its_pictures(seen: Seen) -> None:
    page = seen.open("/window", stream=STREAM)
    in_case(page)
    page.locator("article.exchange h3 a").first.click()
    page.wait_for_url(re.compile("/exchange"))
    assert shown("text") in seen.text()
    seen.assert_harmless()


def test_pictures_of_exchanges_are_ours_and_are_seen(seen: Seen) -> None:
    page = seen.open("/window", stream=STREAM)
    in_case(page)
    picture = page.locator("article.exchange .pictures img").first
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)  # noqa: FBT003 - the value of a property
    assert picture.evaluate("image => image.naturalWidth") > 0
    seen.assert_harmless()


def test_charts_are_drawn_for_every_signal_that_has_values(seen: Seen) -> None:
    page = seen.open("/stream", name=CALM, span="6h")
    expect(page.locator("figure.chart canvas").first).to_be_visible()
    assert page.locator("figure.chart canvas").count() == page.locator("figure.chart").count()
    seen.assert_harmless()


def test_without_script_a_window_is_whole_after_a_moment(browser_without_script: Seen) -> None:
    page = browser_without_script.page
    browser_without_script.open("/window", stream=STREAM)
    page.wait_for_url(re.compile("whole=1"), timeout=60_000)
    expect(page.locator("article.exchange").first).to_be_visible(timeout=60_000)


def test_without_script_streams_have_pictures_and_tables(browser_without_script: Seen) -> None:
    page = browser_without_script.open("/stream", name=CALM, span="6h")
    assert page.locator("figure.chart svg.spark").count() > 0
    assert page.locator("tbody a[href^='/window']").count() > 0


def test_the_theme_is_chosen_and_stays(seen: Seen) -> None:
    page = seen.open("/")
    light = page.evaluate(BACKGROUND)
    button = page.locator("button.theme")
    button.click()  # light
    button.click()  # dark
    dark = page.evaluate(BACKGROUND)
    assert dark != light
    seen.open("/references")
    assert page.evaluate(BACKGROUND) == dark
    seen.assert_harmless()


def test_a_system_that_is_dark_gets_dark_pages(phone: Seen) -> None:
    page = phone.open("/")
    red, *_ = re.findall(
        r"\d+", page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    )
    assert int(red) < 60


def test_streams_are_found_while_typing(seen: Seen) -> None:
    page = seen.open("/")
    page.get_by_label("Find").fill("ALM")
    expect(page.locator("table.streams tbody tr:visible")).to_have_count(1)
    expect(page.locator("p.summary")).to_have_text("Shown: 1 of 2.")


def test_the_way_from_the_overview_to_an_exchange_needs_no_mouse(seen: Seen) -> None:
    page = seen.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.locator("tr", has_text="stream<script>").locator("td a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/window"))
    in_case(page)
    link = page.locator("article.exchange h3 a").first
    link.focus()
    assert link.evaluate("it => getComputedStyle(it).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/exchange"))


@pytest.mark.parametrize("title", PATHS)
def test_no_page_is_wider_than_a_phone(phone: Seen, title: str) -> None:
    path, query = PATHS[title]
    page = phone.open(path, **query)
    in_case(page)
    assert phone.overhang() <= 0


def test_a_page_of_a_reference_is_not_wider_than_a_phone(phone: Seen) -> None:
    phone.open("/reference", digest=reference_digest(phone.address))
    assert phone.overhang() <= 0


def test_pages_have_landmarks_headings_and_names_for_what_can_be_used(seen: Seen) -> None:
    page = seen.open("/stream", name=CALM, span="6h")
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() >= 1  # type: ignore[arg-type]  # one of the known roles
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('a, button, select, input:not([type=hidden])')]"
        ".filter(it => !it.textContent.trim() && !it.labels?.length && !it.ariaLabel).length"
    )
    assert unnamed == 0
    tables = page.locator("table").count()
    assert page.locator("table:has(th[scope])").count() == tables
