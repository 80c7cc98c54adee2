"""Pages for those who hear them, use keys alone, or magnify them; over hostile traffic."""

import re
from typing import Literal

import pytest
from playwright.sync_api import Page, Route, expect

from tests.acceptance.pages.conftest import CALM, Seen
from tests.acceptance.pages.hostile import STREAM
from tests.acceptance.pages.rules import violations
from tests.acceptance.pages.test_pages import BACKGROUND, PATHS, in_case, reference_digest

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

MORE = {
    "stream that is calm": ("/stream", {"name": CALM, "span": "6h"}),
    "stream without windows": ("/stream", {"name": CALM, "end": "2020-01-01T00:00:00Z"}),
    "window that is calm": ("/window", {"stream": CALM}),
    "comparison with a window": ("/compare", {"stream": CALM, "with": "2026-03-02T00:06:00Z"}),
    "search without a result": ("/", {"q": "nothing is called so"}),
    "runbook": ("/runbooks/MllmMonitorAnswersWorse", {}),
    "new normal": ("/promote", {"stream": STREAM}),
    "audit": ("/audit", {}),
    "page that is not there": ("/nowhere", {}),
}
NARROW = {"width": 320, "height": 256}  # 1280 x 1024, magnified four times
PRESSES = 60
FOCUS = "document.activeElement"


@pytest.mark.parametrize("title", [*PATHS, *MORE])
def test_no_rule_of_accessibility_is_broken(seen: Seen, title: str) -> None:
    path, query = {**PATHS, **MORE}[title]
    in_case(seen.open(path, **query))
    assert violations(seen.page) == []


def test_no_rule_is_broken_by_a_reference_or_an_exchange(seen: Seen) -> None:
    seen.open("/reference", digest=reference_digest(seen.address))
    assert violations(seen.page) == []
    in_case(seen.open("/window", stream=STREAM))
    seen.page.locator("article.exchange h3 a").first.click()
    seen.page.wait_for_url("**/exchange**")
    assert violations(seen.page) == []


@pytest.mark.parametrize("title", [*PATHS, *MORE])
def test_magnified_four_times_nothing_has_to_be_read_sideways(seen: Seen, title: str) -> None:
    path, query = {**PATHS, **MORE}[title]
    seen.page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a TypedDict
    in_case(seen.open(path, **query))
    assert seen.overhang() <= 0


COLOURS = """
() => [...document.querySelectorAll("main :is(input:not([type=hidden]), select, textarea)")]
  .map((it) => [getComputedStyle(it).borderTopColor, getComputedStyle(it).backgroundColor])
"""


def luminance(colour: str) -> float:
    """Of ``rgb(...)``, by WCAG's formula."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_can_be_filled_in_is_seen_to_be(seen: Seen, scheme: Literal["light", "dark"]) -> None:
    page = seen.open("/window", stream=CALM)
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate(COLOURS)
    assert min(contrast(edge, inside) for edge, inside in colours) >= 3  # WCAG 1.4.11


def test_on_paper_a_dark_page_is_light_and_has_no_buttons(seen: Seen) -> None:
    page = seen.open("/window", stream=CALM)
    in_case(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print")
    assert luminance(page.evaluate(BACKGROUND)) > 0.9
    assert page.locator("button:visible, .button:visible, select:visible").count() == 0
    expect(page.locator(".verdict")).to_be_visible()


def test_on_paper_charts_keep_to_their_frames(seen: Seen) -> None:
    seen.page.set_viewport_size({"width": 794, "height": 1123})  # A4; one column on a screen
    page = seen.open("/stream", name=CALM, span="6h")
    expect(page.locator("figure.chart canvas").first).to_be_visible()
    page.emulate_media(media="print")
    wider = "all => all.filter(it => it.scrollWidth > it.clientWidth).length"
    assert page.locator("figure.chart").evaluate_all(wider) == 0
    assert seen.overhang() <= 0


# --- by keys alone


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until it is reached; whatever is reached on the way can be seen to be."""
    for _ in range(PRESSES):
        page.keyboard.press("Tab")
        assert page.evaluate(f"getComputedStyle({FOCUS}).outlineStyle") == "solid"
        if page.evaluate(f"(it) => {FOCUS}.matches(it)", selector):
            return
    raise AssertionError(f"{selector} is not reached by {PRESSES} presses of Tab")


def go(page: Page, selector: str, to: str) -> None:
    tab_to(page, selector)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{to}**")
    in_case(page)


def test_the_way_from_the_overview_to_a_note_and_an_exchange_takes_keys_alone(seen: Seen) -> None:
    page = seen.open("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    go(page, f"tr[data-name={CALM}] th a", "/stream")
    go(page, "main a[href^='/window']", "/window")
    go(page, "a[href='#acting']", "#acting")
    tab_to(page, "textarea[name=note]")
    page.keyboard.type("seen, and being looked into")
    tab_to(page, "form.act button")
    page.keyboard.press("Enter")
    expect(page.locator("div.note")).to_contain_text("seen, and being looked into")
    in_case(page)
    go(page, "a[href='#exchanges']", "#exchanges")
    go(page, "article.exchange h3 a", "/exchange")
    seen.assert_harmless()


def held_back(page: Page) -> list[Route]:
    """What takes seconds waits until it is let go."""
    waiting: list[Route] = []
    page.route("**/window/case**", lambda route: waiting.append(route))  # noqa: PLW0108 - it is given an attribute
    return waiting


def open_waiting(seen: Seen) -> list[Route]:
    waiting = held_back(seen.page)
    seen.page.goto(f"{seen.address}/window?stream={CALM}")
    expect(seen.page.locator(".waiting")).to_be_visible()
    return waiting


def asked(page: Page, waiting: list[Route]) -> Route:
    """The request that is held back, once it is: the page shows that it waits before it asks."""
    while not waiting:
        page.wait_for_timeout(10)  # what the browser tells is heard in such calls alone
    return waiting.pop()


def let_go(page: Page, waiting: list[Route]) -> None:
    asked(page, waiting).continue_()
    expect(page.locator("#exchanges")).to_be_visible(timeout=60_000)


def test_who_tabs_through_a_window_keeps_the_place_when_the_rest_comes(seen: Seen) -> None:
    waiting = open_waiting(seen)
    page = seen.page
    link = page.locator("#case tbody th a").nth(2)
    link.focus()
    name = link.inner_text()
    let_go(page, waiting)
    assert page.evaluate(f"{FOCUS}.textContent") == name


def test_what_one_reads_stays_where_it_is_when_the_rest_comes(seen: Seen) -> None:
    waiting = open_waiting(seen)
    page = seen.page
    page.set_viewport_size({"width": 1280, "height": 400})
    page.evaluate("scrollTo(0, document.querySelector('#signals').offsetTop)")
    before = page.evaluate("document.querySelector('#signals').getBoundingClientRect().top")
    let_go(page, waiting)
    after = page.evaluate("document.querySelector('#signals').getBoundingClientRect().top")
    assert after == pytest.approx(before, abs=1)


def test_those_who_hear_a_page_are_told_once_that_the_rest_has_come(seen: Seen) -> None:
    waiting = open_waiting(seen)
    page = seen.page
    said = page.locator("#told[role=status]")
    expect(said).to_have_text("")
    assert page.locator("#case [role=status], #case [aria-live]").count() == 0  # it counts seconds
    asked(page, waiting).continue_()
    expect(said).to_contain_text("are there now", timeout=60_000)


def test_what_could_not_be_loaded_can_be_asked_for_again(seen: Seen) -> None:
    waiting = open_waiting(seen)
    page = seen.page
    asked(page, waiting).abort()
    expect(page.locator("#told")).to_contain_text("could not be loaded")
    page.get_by_role("button", name="Try again").press("Enter")
    expect(page.locator(".waiting")).to_be_visible()
    let_go(page, waiting)


def test_choosing_something_changes_nothing_before_it_is_asked_for(seen: Seen) -> None:
    page = seen.open("/")
    for name in ("state", "sort"):
        field = page.locator(f"select[name={name}]")
        field.focus()
        field.select_option(index=1)
        expect(field).to_be_focused()
    assert page.url == f"{seen.address}/"
