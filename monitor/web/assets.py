"""Style, scripts and the charts' library: read once, served from our own origin."""

import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Self

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

ROOT = "/static/"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_VERSION_CHARS = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """One file; its address changes with what is in it, so that browsers may keep it for ever."""

    content: bytes
    media_type: str
    version: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Self:
        suffix = name[name.rfind(".") :]
        kind = KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        return cls(content, kind, sha256(content).hexdigest()[:_VERSION_CHARS])


class Assets:
    """Every file below ``static``; nothing else can be asked for."""

    def __init__(self) -> None:
        self._assets = {
            name: Asset.of(name, content)
            for name, content in _below(files("monitor.web").joinpath("static"), "")
        }

    def address(self, name: str) -> str:
        """Where pages find it."""
        return f"{ROOT}{name}?v={self._assets[name].version}"

    def text(self, name: str) -> str:
        """What is in a file of text."""
        return self._assets[name].content.decode()

    def routes(self) -> APIRouter:
        """The route that serves them."""
        router = APIRouter(include_in_schema=False)

        @router.get(ROOT + "{name:path}")
        def static(request: Request, name: str) -> Response:
            asset = self._assets.get(name)
            if asset is None:
                raise HTTPException(404, "there is no such file")
            is_named = request.query_params.get("v") == asset.version
            keep = "public, max-age=31536000, immutable" if is_named else "no-cache"
            headers = {"Cache-Control": keep, "ETag": f'"{asset.version}"'}
            if request.headers.get("if-none-match") == headers["ETag"]:
                return Response(status_code=304, headers=headers)
            return Response(asset.content, media_type=asset.media_type, headers=headers)

        return router


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()
