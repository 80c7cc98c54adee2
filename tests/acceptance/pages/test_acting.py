"""Acting in a real browser: sign in, acknowledge, accept a new normal, export, forget."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.pages.conftest import Seen, measured_daemon
from tests.acceptance.pages.hostile import STREAM, evil, shown
from tests.acceptance.pages.rules import violations
from tests.acceptance.prepared import SETTINGS, START

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

READER, ACTOR = "reader-0123456789abcdef", "actor-0123456789abcdef"
SLOW = 120_000  # milliseconds, of what takes minutes on a busy machine


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon of its own, which takes tokens: what is done to it is seen nowhere else."""
    folder = tmp_path_factory.mktemp("acting")
    (folder / "read").write_text(f"bob {READER}\n")
    (folder / "act").write_text(f"{evil('who')} {ACTOR}\n")
    files = {"read_tokens_file": str(folder / "read"), "act_tokens_file": str(folder / "act")}
    given = SETTINGS.get("http", {})
    assert isinstance(given, dict)
    with measured_daemon(folder, http={**given, **files}) as process:
        yield process.address


def sign_in(page: Page, address: str, token: str) -> None:
    page.goto(f"{address}/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.fixture
def actor(browser: Browser, guarded: str) -> Iterator[Seen]:
    """Somebody who has signed in to act, by a name that is an attempt to run script."""
    context = browser.new_context(viewport={"width": 375, "height": 740})
    page = context.new_page()
    sign_in(page, guarded, ACTOR)
    yield Seen(page, guarded)
    context.close()


def open_window(seen: Seen) -> Page:
    page = seen.open("/window", stream=STREAM)
    expect(page.locator("[aria-busy]")).to_have_count(0, timeout=SLOW)
    return page


def test_a_link_from_another_site_leads_in_without_signing_in_again(
    browser: Browser, guarded: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{guarded}/audit")
    expect(page).to_have_url(f"{guarded}/login?next=%2Faudit")
    page.get_by_label("Token").fill(READER)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Who did what")).to_be_visible()
    elsewhere = guarded.replace("127.0.0.1", "localhost")  # another site to a browser
    page.goto(f"{elsewhere}/healthz")
    page.set_content(f'<a href="{guarded}/audit">the alert</a>')
    page.get_by_text("the alert").click()
    expect(page.get_by_role("heading", name="Who did what")).to_be_visible()
    context.close()


def test_a_reader_sees_no_forms_that_act(browser: Browser, guarded: str) -> None:
    context = browser.new_context()
    seen = Seen(context.new_page(), guarded)
    sign_in(seen.page, guarded, READER)
    page = open_window(seen)
    expect(page.get_by_text("take a token for acting")).to_be_visible()
    assert page.locator("form[method=post]").count() == 1  # to sign out
    context.close()


def test_a_note_that_attacks_is_shown_and_withdrawn(actor: Seen) -> None:
    page = open_window(actor)
    long = "looked into, " * 40 + "to be continued"
    page.get_by_label("Note", exact=True).fill(evil("note") + long)
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("div.note")).to_contain_text(shown("note"))
    expect(page.locator("div.note")).to_contain_text(shown("who"))
    expect(page.locator("div.note")).to_contain_text("to be continued")  # whole, in its frame
    assert actor.overhang() <= 0
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator("div.note")).to_have_count(0)
    actor.assert_harmless()


def test_a_new_normal_is_built_accepted_and_taken_back(actor: Seen) -> None:
    page = open_window(actor)
    page.get_by_role("link", name="Accept as the new normal").click()
    page.get_by_label("Traffic from").fill(f"{START:%Y-%m-%dT%H:%M}")
    page.get_by_label("to (UTC)", exact=True).fill("")
    page.get_by_label("Name of the version").fill(evil("version").replace("\u202e", ""))
    page.get_by_label("Take windows too that were drifting").check()
    page.get_by_role("button", name="Build and show what changes").click()
    expect(page.get_by_role("heading", name="What changes")).to_be_visible(timeout=SLOW)
    expect(page.locator("main")).to_contain_text(shown("version"))
    assert actor.overhang() <= 0
    page.get_by_role("button", name="Accept it").click()
    expect(page.locator(".verdict")).to_contain_text("is judged by it")
    page.get_by_role("button", name="Go back to the version of before").click()
    expect(page.get_by_text("It is stored, and judges nothing")).to_be_visible()
    actor.assert_harmless()


def test_acting_breaks_no_rule_of_accessibility(actor: Seen, browser: Browser) -> None:
    broken = violations(actor.open("/promote", stream=STREAM))
    actor.page.get_by_label("Traffic from").fill(f"{START:%Y-%m-%dT%H:%M}")
    actor.page.get_by_label("Take windows too that were drifting").check()
    actor.page.get_by_role("button", name="Build and show what changes").click()
    expect(actor.page.locator("#task[data-running]")).to_be_visible()
    broken += violations(actor.page)
    actor.page.evaluate("window.is_here = true")
    expect(actor.page.locator("#task:not([data-running])")).to_be_visible(timeout=SLOW)
    expect(actor.page.locator("#told[role=status]")).to_have_text("It is done.")
    assert actor.page.evaluate("window.is_here")  # the page was not loaded again meanwhile
    broken += violations(actor.page) + violations(actor.open("/audit"))
    exchange = open_window(actor).locator("article.exchange h3 a").first
    exchange.click()
    broken += violations(actor.page)
    actor.page.get_by_role("link", name="Forget this exchange").click()
    broken += violations(actor.page)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{actor.address}/login")
    assert broken + violations(page) == []
    context.close()


def test_an_exported_case_runs_nothing_and_asks_nobody(
    actor: Seen, browser: Browser, tmp_path: Path
) -> None:
    page = open_window(actor)
    with page.expect_download(timeout=SLOW) as download:
        page.get_by_role("link", name="One file of HTML").click()
    file = tmp_path / "case.html"
    download.value.save_as(file)
    with page.expect_download(timeout=SLOW) as download:
        page.get_by_role("link", name="JSON", exact=True).first.click()
    download.value.save_as(tmp_path / "case.json")
    assert json.loads((tmp_path / "case.json").read_text())["case"]["stream"] == STREAM
    context = browser.new_context(offline=True)
    seen = Seen(context.new_page(), "file://")
    seen.page.goto(file.as_uri())
    expect(seen.page.locator("h1")).to_contain_text(shown("stream"))
    expect(seen.page.locator("#exchanges")).to_be_visible()
    widths = "[...document.images].map((image) => image.naturalWidth)"
    assert all(width > 0 for width in seen.page.evaluate(widths))
    assert seen.page.evaluate("window.fired") == []
    assert [p for p in seen.problems if not p.startswith("foreign: data:")] == []
    assert violations(seen.page) == []
    context.close()


def test_an_exchange_is_forgotten_after_saying_what_will_happen(actor: Seen) -> None:
    page = open_window(actor)
    card = page.locator("article.exchange").first
    card.locator("h3 a").click()
    page.get_by_role("link", name="Forget this exchange").click()
    expect(page.locator("main")).to_contain_text("It cannot be undone")
    expect(page.locator("main")).to_contain_text(shown("id"))
    page.get_by_label("I am sure").check()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_text("It is forgotten: 1 sample")).to_be_visible(timeout=SLOW)
    page.goto(f"{actor.address}/audit")
    expect(page.locator("main")).to_contain_text("forget exchange")
    assert shown("id") not in actor.text()
    actor.assert_harmless()
