"""Sites with tokens, and browsers that have signed in at them."""

import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from monitor.web.access import Keys
from monitor.web.gate import Access
from tests.integration.web.conftest import Serve, Site

READER, ACTOR = "reader-0123456789abcdef", "actor-0123456789abcdef"
HTML = {"Accept": "text/html"}
_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]+)"')


def keys(folder: Path, name: str, *lines: str) -> Keys:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return Keys(path, f"http.{name}_tokens_file")


def guarded(new_site: Serve, folder: Path) -> Site:
    """A site where ``bob`` may read and ``ann`` may act."""
    access = Access(
        read=keys(folder, "read", f"bob {READER}"), act=keys(folder, "act", f"ann {ACTOR}")
    )
    return new_site(access=access)


@dataclass
class Browser:
    """Follows forms as a browser does: a page first, then what it posts."""

    site: Site

    @property
    def client(self) -> httpx.Client:
        return self.site.client

    def page(self, path: str, **query: str) -> httpx.Response:
        return self.client.get(path, params=query or None, headers=HTML)

    def token(self, path: str = "/login", **query: str) -> str:
        """The one of a form on a page."""
        found = _TOKEN.search(self.page(path, **query).text)
        assert found is not None
        return found[1]

    def post(
        self, path: str, fields: dict[str, str], *, csrf: str, **headers: str
    ) -> httpx.Response:
        return self.client.post(path, data={"csrf": csrf, **fields}, headers={**HTML, **headers})

    def sign_in(self, token: str, after: str = "/") -> httpx.Response:
        return self.post("/login", {"token": token, "next": after}, csrf=self.token())
