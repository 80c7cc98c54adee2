"""From the alert's link to the cause: one tenant's images were blurred, and nobody says so."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.acceptance.pages.conftest import Seen
from tests.acceptance.pages.rules import violations
from tests.acceptance.program import Program

STREAM = "shop"
START = datetime(2026, 3, 1, tzinfo=UTC)
BLURRED_FROM = START + timedelta(hours=1, minutes=15)
SETTINGS: Mapping[str, object] = {
    "http": {"listen": "127.0.0.1:0"},
    "slices": {"labels": ["tenant"]},
    "reference": {"null_draws": 50},
    "alerts": {"false_alarms_per_week": 10},
}
PATIENCE_MS = 60_000  # for a case; how long it takes is not what is tested


def rfc3339(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that has measured the traffic; its address."""
    program = Program(tmp_path_factory.mktemp("case"), SETTINGS)
    simulate = ("simulate", "--per-minute", "4", "--stream", STREAM, "--seed")
    program.done(*simulate, "1", "--start", "2026-02-28", "--count", "700", "--out", "good.jsonl")
    program.done("reference", "build", "good.jsonl", "--name", "normal")
    drift = ("--drift", "blur:5", "--drift-only", "tenant=acme")
    begins = ("--drift-from", rfc3339(BLURRED_FROM))
    program.done(*simulate, "2", *drift, *begins, "--count", "560", "--out", "day.jsonl")
    program.done("replay", "day.jsonl")
    with program.running("run") as process:
        yield process.address


@pytest.fixture
def on_call(desk: BrowserContext, watched: str) -> Page:
    """Where the alert's link leads."""
    end = int((BLURRED_FROM + timedelta(hours=1)).timestamp())
    page = Seen(desk.new_page(), watched).open(
        "/window", stream=STREAM, end=str(end), slice="all", signal="visual_discrepancy"
    )
    expect(page.get_by_role("heading", name="Which slices")).to_be_visible(timeout=PATIENCE_MS)
    return page


def test_the_verdict_tells_what_since_when_and_who(on_call: Page) -> None:
    verdict = on_call.get_by_label("Verdict").inner_text()
    assert re.search(r"Since 01:[13450]+ UTC the images look different", verdict)
    assert "The texts and responses do not." in verdict
    assert re.search(r"\d+ % of what is different about the images comes from tenant=acme", verdict)


def test_the_slice_that_is_named_is_one_click_away(on_call: Page) -> None:
    first = on_call.get_by_role("region", name="Slices by").first.locator("tbody tr").first
    expect(first).to_contain_text("acme")
    of_all = first.get_by_role("cell").nth(1)
    expect(of_all).to_have_text(re.compile(r"[45]\d %"))  # half of the exchanges, all of the excess
    first.get_by_role("link").click()
    verdict = on_call.get_by_label("Verdict")
    expect(verdict).to_contain_text("Of tenant=acme alone:", timeout=PATIENCE_MS)
    expect(verdict).to_contain_text("the images look different")


@pytest.mark.parametrize("width", [1280, 1000, 390, 320])
def test_nothing_in_the_table_of_slices_is_cut_off_or_covers_its_neighbour(
    on_call: Page, width: int
) -> None:
    on_call.set_viewport_size({"width": width, "height": 800})
    parts = on_call.locator(".narrow, .narrow :is(th, td):not(:has(.unseen-title))")
    cut = "all => all.filter(it => it.scrollWidth > it.clientWidth).map(it => it.textContent)"
    assert parts.count() > 10
    assert parts.evaluate_all(cut) == []


def test_what_is_seen_breaks_no_rule_of_accessibility(on_call: Page) -> None:
    assert violations(on_call) == []


def test_another_tenant_is_calm(on_call: Page) -> None:
    on_call.locator("select[name=slice]").select_option("tenant=globex")
    on_call.get_by_role("button", name="Show").click()
    verdict = on_call.get_by_label("Verdict")
    expect(verdict).to_contain_text("Of tenant=globex alone:", timeout=PATIENCE_MS)
    expect(verdict).not_to_contain_text("the images look different")


def test_the_worst_exchanges_are_that_tenants_beside_what_is_normal(on_call: Page) -> None:
    cards = on_call.locator("article.exchange")
    labels = cards.evaluate_all("cards => cards.slice(0, 5).map(card => card.innerText)")
    assert all("tenant=acme" in card and "Nearest of the reference" in card for card in labels)
    cards.first.locator("h3 a").click()
    on_call.wait_for_url(re.compile("/exchange"))
    picture = on_call.locator("img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("img => img.naturalWidth") > 0


# --- the map

FOCUSED = "document.activeElement"
PLACE = f"(({{x, y}}) => [x, y])({FOCUSED}.querySelector('circle').getBoundingClientRect())"
BELOW = """
() => {
  const seen = new Set();
  const press = () => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key: "PageDown", bubbles: true, cancelable: true }));
  while (!seen.has(document.activeElement)) { seen.add(document.activeElement); press(); }
  return seen.size;
}
"""


@pytest.fixture
def on_the_map(on_call: Page) -> Page:
    """Arrived there with keys alone."""
    on_call.locator("a[href='#map']").press("Enter")
    on_call.wait_for_url(re.compile("#map$"))
    on_call.keyboard.press("Tab")
    return on_call


def test_the_map_is_one_stop_of_the_keyboard_that_begins_with_what_adds_most(
    on_the_map: Page,
) -> None:
    worst = on_the_map.locator("article.exchange h3 a").first.inner_text()
    told_of = on_the_map.get_by_role("application", name="Map").get_by_role("link")
    expect(told_of).to_have_count(1)
    expect(told_of).to_be_focused()
    expect(told_of).to_have_accessible_name(re.compile(f"^{re.escape(worst)}: adds 0"))
    on_the_map.keyboard.press("Tab")
    assert on_the_map.evaluate(f"{FOCUSED}.closest('.map')") is None


@pytest.mark.parametrize(
    ("key", "axis", "sign"),
    [("ArrowLeft", 0, -1), ("ArrowRight", 0, 1), ("ArrowUp", 1, -1), ("ArrowDown", 1, 1)],
)
def test_an_arrow_leads_to_another_point_in_its_direction(
    on_the_map: Page, key: str, axis: int, sign: int
) -> None:
    back = {"ArrowLeft": "ArrowRight", "ArrowUp": "ArrowDown"}
    on_the_map.keyboard.press(back.get(key, key))  # so that there is a way
    before = on_the_map.evaluate(PLACE)
    on_the_map.keyboard.press(key)
    after = on_the_map.evaluate(PLACE)
    assert sign * (after[axis] - before[axis]) > 0
    expect(on_the_map.get_by_role("application").get_by_role("link")).to_be_focused()


def test_where_one_is_on_the_map_is_seen_and_said(on_the_map: Page) -> None:
    on_the_map.keyboard.press("PageDown")
    on_the_map.keyboard.press("ArrowDown")
    ring, point = on_the_map.locator(".map .ring"), on_the_map.locator(".map :focus circle")
    expect(ring).to_be_visible()
    for side in ("cx", "cy"):
        expect(ring).to_have_attribute(side, str(point.get_attribute(side)))
    said = on_the_map.evaluate(f"{FOCUSED}.textContent")
    expect(on_the_map.locator(".map figcaption")).to_have_text(said)
    assert violations(on_the_map) == []


def test_every_point_is_reached_and_opened_without_a_mouse(on_the_map: Page) -> None:
    assert on_the_map.evaluate(BELOW) == on_the_map.locator(".map a").count()
    on_the_map.keyboard.press("End")
    expect(on_the_map.locator(".map :focus")).to_have_accessible_name(re.compile("reference"))
    on_the_map.keyboard.press("Home")
    on_the_map.keyboard.press("Enter")
    expect(on_the_map.locator("article.exchange").first).to_be_in_viewport()
