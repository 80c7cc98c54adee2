"""Runbooks of alerts as pages: markdown of ours, with HTML in it refused all the same."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.exceptions import HTTPException

from monitor.web.pages import Pages

SUFFIX = ".md"
_IN_CHECKOUT = Path(__file__).parents[2] / "deploy" / "runbooks"


def runbooks() -> dict[str, str]:
    """Text by the name of its alert; from the wheel, or from the checkout that this runs in."""
    shipped: Traversable = files("monitor").joinpath("runbooks")
    folder = shipped if shipped.is_dir() else _IN_CHECKOUT
    if not folder.is_dir():
        return {}
    return {
        entry.name.removesuffix(SUFFIX): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if entry.name.endswith(SUFFIX)
    }


def runbook_routes(pages: Pages) -> APIRouter:
    """``/runbooks`` and one below it for every alert."""
    router = APIRouter(include_in_schema=False)
    texts = runbooks()
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table"])
    rendered = {name: Markup(markdown.render(text)) for name, text in texts.items()}  # noqa: S704 - of our own files, by what escapes HTML
    titles = {name: Markup(markdown.renderInline(_title(text))) for name, text in texts.items()}  # noqa: S704 - as above

    @router.get("/runbooks")
    def index() -> HTMLResponse:
        return pages("runbooks.html", "runbooks", titles=titles)

    @router.get("/runbooks/{name}")
    def runbook(name: str) -> HTMLResponse:
        if name not in rendered:
            raise HTTPException(404, "there is no runbook for an alert of this name")
        return pages("runbook.html", "runbooks", name=name, body=rendered[name])

    return router


def _title(text: str) -> str:
    """The first line that is no heading: what the alert means."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")
