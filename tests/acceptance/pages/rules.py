"""What axe has to say about a page, in every theme and on every screen."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
SCREENS = ((1280, 900), (375, 740))
UNFOLD = "document.querySelectorAll('details').forEach((it) => { it.open = true; })"


def violations(page: Page) -> list[str]:
    """Broken rules of WCAG 2, A and AA, and of good practice; closed parts are opened first."""
    page.evaluate(UNFOLD)
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the known
        for width, height in SCREENS:
            page.set_viewport_size({"width": width, "height": height})
            said = Axe().run(page, options=OPTIONS).response["violations"]
            found += [f"{scheme}, {width}: {line}" for rule in said for line in _lines(rule)]
    return found


def _lines(rule: dict[str, Any]) -> list[str]:
    return [f"{rule['id']} {node['target']} {node['html'][:200]}" for node in rule["nodes"]]
