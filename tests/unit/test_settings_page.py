"""docs/settings.md and deploy/monitor.example.yaml say what the code says, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from monitor.settings import Settings, SourceSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "settings.md").read_text()
EXAMPLE = (ROOT / "deploy" / "monitor.example.yaml").read_text()
ROW = re.compile(r"^\| `([\w.\[\]]+)` \|(.*?)\| (.*) \|$", re.MULTILINE)
Said = tuple[object, str]  # default and meaning


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Said]]:
    defaults = json.loads(model.model_construct().model_dump_json())
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings_of(inner, f"{prefix}{name}.")
        elif prefix + name == "sources":
            yield from settings_of(SourceSettings, "sources[].")
        else:
            yield prefix + name, (defaults[name], str(field.description))


def default_on_page(cell: str) -> object:
    """Written as in the file, without quotes that one knows are there."""
    return yaml.safe_load(cell.strip().strip("`")) if cell.strip() else ""


IN_CODE = dict(settings_of(Settings))
ON_PAGE = {m[1]: (default_on_page(m[2]), m[3]) for m in ROW.finditer(PAGE)}


def test_the_page_lists_every_setting_and_no_other() -> None:
    assert list(ON_PAGE) == list(IN_CODE)


@pytest.mark.parametrize("name", IN_CODE)
def test_the_page_says_the_default_and_the_meaning(name: str) -> None:
    (default, meaning), (said, explained) = IN_CODE[name], ON_PAGE[name]
    assert (said, explained.replace("`", "")) == (default, meaning.replace("`", ""))


def test_the_example_explains_every_setting_in_the_same_words() -> None:
    words = " ".join(EXAMPLE.replace("#", " ").split()).replace("`", "")
    unexplained = [
        name
        for name, (_, meaning) in IN_CODE.items()
        if not name.startswith("sources") and meaning.replace("`", "") not in words
    ]
    assert unexplained == []
