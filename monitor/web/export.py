"""A case as one file that needs nothing else: HTML to look at, or JSON."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from fastapi import APIRouter, Request, Response
from jinja2 import Environment
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException

from monitor.service.case import Case
from monitor.service.investigation import Investigator
from monitor.store.engine import Database
from monitor.store.exemplars import reference_thumbnail
from monitor.store.selection import thumbnails
from monitor.web.api.actions import NoteLine
from monitor.web.api.case_schema import CaseLine
from monitor.web.assets import Assets
from monitor.web.investigation import Shell, context_of, shell_of, wish_of
from monitor.web.pages import PageParts
from monitor.web.rendering import make_templates

STYLE = "style.css"
JPEG = b"\xff\xd8\xff"  # what our own encoder writes; nothing else is taken along
_PICTURE = re.compile(r'src="(/api/v1/(?:images|references)/[0-9a-z/]+)"')
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
Pictures = Mapping[str, bytes]  # by the address that pages have them under


@dataclass(frozen=True, slots=True)
class CaseFile:
    """What goes into a file: the case, what is said about it, and its pictures."""

    case: Case
    shell: Shell
    pictures: Pictures
    made_at: datetime
    home: str  # address of the monitor that links lead to


class Exporter:
    """Writes files of cases."""

    def __init__(self, database: Database, investigator: Investigator, assets: Assets) -> None:
        self.database = database
        self._investigator = investigator
        self._templates: Environment = make_templates(assets)
        self._style = assets.text(STYLE)

    def file_of(self, shell: Shell, home: str) -> CaseFile:
        """Everything about the window of a shell; takes as long as its case."""
        case = self._investigator.case(shell.wish)
        made_at = datetime.now(UTC)
        return CaseFile(case, shell, dict(self._pictures(case)), made_at, home.rstrip("/"))

    def html(self, file: CaseFile) -> str:
        """One page without script, whose pictures and style are in it."""
        digest = base64.b64encode(sha256(self._style.encode()).digest()).decode()
        page = self._templates.get_template("actions/export.html").render(
            shell=file.shell,
            style=Markup(self._style),  # noqa: S704 - a file of ours
            style_hash=f"sha256-{digest}",
            now=file.made_at,
            home=file.home,
            **context_of(file.shell, file.case),
        )
        return _portable(page, file.pictures, file.home)

    def json_text(self, file: CaseFile) -> str:
        """The case as the API has it, with the notes on it."""
        said = {
            "exported_at": file.made_at.isoformat(timespec="seconds"),
            "case": CaseLine.of(file.case).model_dump(mode="json", by_alias=True),
            "acknowledgements": [
                NoteLine.model_validate(note).model_dump(mode="json", by_alias=True)
                for note in file.shell.notes
            ],
        }
        return json.dumps(said, ensure_ascii=False, allow_nan=False, indent=1)

    def _pictures(self, case: Case) -> Iterator[tuple[str, bytes]]:
        hashes = {
            image.content_hash
            for exchange in case.exchanges
            for image in exchange.images
            if image.has_thumbnail and image.content_hash
        }
        near = {
            found.position
            for exchange in case.exchanges
            for neighbours in exchange.neighbours.values()
            for found in neighbours
            if found.has_thumbnail
        }
        with self.database.read() as session:
            for content_hash, picture in thumbnails(session, sorted(hashes)).items():
                yield f"/api/v1/images/{content_hash}", picture
            digest = case.reference_digest
            for position in sorted(near) if digest else ():
                picture_there = reference_thumbnail(session, str(digest), position)
                if picture_there is not None:
                    yield f"/api/v1/references/{digest}/samples/{position}/image", picture_there


def export_routes(parts: PageParts, exporter: Exporter, home: str) -> APIRouter:
    """``/export``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/export")
    def export(request: Request) -> Response:
        form = request.query_params.get("format", "html")
        if form not in {"html", "json"}:
            raise HTTPException(400, f"format must be html or json, got {form[:20]!r}")
        shell = shell_of(parts.database, wish_of(request))
        file = exporter.file_of(shell, home or str(request.base_url))
        content = exporter.html(file) if form == "html" else exporter.json_text(file)
        return Response(
            content,
            media_type="text/html" if form == "html" else "application/json",
            headers={
                "Content-Disposition": f'attachment; filename="{file_name(shell, form)}"',
                "Cache-Control": "no-store",
            },
        )

    return router


def file_name(shell: Shell, form: str) -> str:
    """What a file is called; a stream may be called anything."""
    name = _UNSAFE.sub("-", shell.wish.stream)[:60].strip("-.") or "stream"
    return f"case-{name}-{shell.summary.window.end.astimezone(UTC):%Y%m%dT%H%M}.{form}"


def _portable(page: str, pictures: Pictures, home: str) -> str:
    """With pictures in it, and links that lead to the monitor from anywhere.

    What strangers wrote has no quotation marks in the page, so none of this is theirs.
    """

    def inlined(found: re.Match[str]) -> str:
        picture = pictures.get(found[1], b"")
        if not picture.startswith(JPEG):
            return 'src="data:,"'
        return f'src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}"'

    page = page.replace(' loading="lazy"', "")
    return _PICTURE.sub(inlined, page).replace('href="/', f'href="{escape(home)}/')
