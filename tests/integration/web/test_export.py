"""A case as one file: complete, harmless, and the same as the pages and the API show."""

import base64
import io
import json
import re
import shutil
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from monitor.store.engine import open_database
from tests.integration.service.parts import (
    Rig,
    admit,
    exchange,
    inline,
    png,
    small_settings,
    store_reference,
)
from tests.integration.web.conftest import Serve, Site

EVIL = "</style></title><script>hacked()</script>\"'><img src=x onerror=hacked()>\u202e"
STREAM = f"s/{EVIL}"


@pytest.fixture(scope="module")
def migrated_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A window of exchanges that try to run script wherever they are shown."""
    folder = tmp_path_factory.mktemp("hostile")
    path = Path(shutil.copy(migrated_file, folder / "monitor.db"))
    lines = [
        exchange(
            f"{i}{EVIL}",
            i / 10,
            stream=STREAM,
            images=[inline(png(i % 5))],
            labels={"tenant": EVIL},
            target=EVIL,
            response=EVIL,
        )
        for i in range(60)
    ]
    with open_database(f"sqlite:///{path}") as database:
        rig = Rig(small_settings(folder, slices={"labels": ["tenant"]}), database)
        with database.begin() as session:
            store_reference(session)
        admit(rig.around.intake, lines)
        rig.jobs.ingest.run(lambda: False)
        rig.jobs.embed()
        rig.jobs.measure()
    return path


@pytest.fixture
def exported(new_site: Serve) -> tuple[Site, str]:
    site = new_site()
    answer = site.client.get("/export", params={"stream": STREAM})
    assert answer.status_code == 200
    disposition = answer.headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="case-[\w.-]+\.html"', disposition)
    return site, answer.text


class Read(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_nothing_in_the_file_is_script_or_asked_elsewhere(exported: tuple[Site, str]) -> None:
    tags = Read(exported[1]).tags
    assert "script" not in {tag for tag, _ in tags}
    assert not {name for _, given in tags for name in given if name.startswith("on")}
    sources = [given.get("src") or "" for _, given in tags if "src" in given]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not [given for tag, given in tags if tag in {"link", "iframe", "object", "base", "form"}]


def test_its_pictures_are_those_that_we_encoded(exported: tuple[Site, str]) -> None:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', exported[1])
    for picture in found:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert image.format == "JPEG"


def test_its_policy_allows_its_own_style_and_nothing_else(exported: tuple[Site, str]) -> None:
    page = exported[1]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(sha256(style[1].encode()).digest()).decode()
    said = policy[1].replace("&#39;", "'")
    assert said.startswith(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'")


def test_what_users_wrote_is_in_it_as_text(exported: tuple[Site, str]) -> None:
    page = exported[1]
    assert "&lt;script&gt;hacked()" in page
    assert "<script" not in page


def test_links_lead_to_the_monitor(exported: tuple[Site, str]) -> None:
    site, page = exported
    addresses = [given.get("href") or "" for tag, given in Read(page).tags if tag == "a"]
    home = str(site.client.base_url).rstrip("/")
    assert {address.partition("?")[0] for address in addresses} >= {f"{home}/reference"}
    assert all(address.startswith((f"{home}/", "#")) for address in addresses)


def test_json_is_what_the_api_has(new_site: Serve) -> None:
    site = new_site()
    asked = {"stream": STREAM}
    answer = site.client.get("/export", params={**asked, "format": "json"})
    said = json.loads(answer.text)
    assert said["case"] == site.client.get("/api/v1/case", params=asked).json()
    assert said["acknowledgements"] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"stream": "nobody"}, 404),
        ({"stream": STREAM, "format": "exe"}, 400),
        ({"stream": STREAM, "signal": "mood"}, 400),
    ],
)
def test_what_cannot_be_exported_is_told_so(
    new_site: Serve, query: dict[str, str], status: int
) -> None:
    refused = new_site().client.get("/export", params=query)
    assert (refused.status_code, list(refused.json())) == (status, ["error"])
