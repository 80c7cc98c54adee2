"""A daemon that watches hostile traffic, and a real browser to look at it with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    sync_playwright,
)

from tests.acceptance.pages.hostile import COUNT, REFERENCE, STEP, STREAM, exchanges
from tests.acceptance.prepared import SETTINGS, START
from tests.acceptance.program import Process, Program
from tests.acceptance.traffic import write
from tests.programs import program

CALM = "calm"
MEASURED = "SELECT count(DISTINCT stream) FROM windows WHERE julianday(end) >= julianday('{end}')"
TRAP = "window.fired = []; window.hacked = (field) => window.fired.push(field);"
PHONE = {"width": 375, "height": 740}


@dataclass
class Seen:
    """A page in the browser, and everything that went wrong while it was there."""

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(TRAP)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("requestfailed", self._lost)
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))

    def open(self, path: str, **query: str) -> Page:
        """Go there and wait until nothing is loaded any more."""
        question = f"?{urlencode(query)}" if query else ""
        self.page.goto(f"{self.address}{path}{question}", wait_until="networkidle")
        return self.page

    def text(self) -> str:
        """What a person can read, closed parts and all."""
        return str(self.page.locator("body").text_content())

    def assert_harmless(self) -> None:
        """Nothing of a stranger ran, nothing tried to, nothing was asked elsewhere."""
        assert self.page.evaluate("window.fired") == []
        assert self.problems == []

    def overhang(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"console: {message.text}")

    def _lost(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # as it is when one goes on to another page
            self.problems.append(f"lost: {request.url}")

    def _asked(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.address).netloc:
            self.problems.append(f"foreign: {url}")


@contextmanager
def measured_daemon(folder: Path, **sections: object) -> Iterator[Process]:
    """A daemon that has measured the last windows of a drifting and of a calm stream."""
    program = Program(folder, {**SETTINGS, "sources": [{"path": "live.jsonl"}], **sections})
    normal = list(exchanges(1, "normal", STREAM, 300))
    write(folder / "normal.jsonl", normal)
    program.done("reference", "build", "normal.jsonl", "--name", REFERENCE)
    live = [*exchanges(2, "drifting", STREAM), *exchanges(3, CALM, CALM)]
    write(folder / "live.jsonl", live)
    last = (START + COUNT * STEP).strftime("%Y-%m-%d %H:%M:%S")
    with program.running("run") as process:
        process.until(
            "windows of both streams", lambda: program.query(MEASURED.format(end=last)) == [(2,)]
        )
        yield process


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with measured_daemon(tmp_path_factory.mktemp("pages")) as process:
        yield process.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = program("chromium", "chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def desk(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(color_scheme="light", viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def seen(desk: BrowserContext, address: str) -> Seen:
    return Seen(desk.new_page(), address)


@pytest.fixture
def phone(browser: Browser, address: str) -> Iterator[Seen]:
    context = browser.new_context(viewport=PHONE, color_scheme="dark")  # type: ignore[arg-type]  # a TypedDict
    yield Seen(context.new_page(), address)
    context.close()


@pytest.fixture
def browser_without_script(browser: Browser, address: str) -> Iterator[Seen]:
    context = browser.new_context(java_script_enabled=False)
    yield Seen(context.new_page(), address)
    context.close()
