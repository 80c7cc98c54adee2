"""From the settings of a source to the source."""

from pathlib import Path

import pytest

from monitor.service.wiring import configured_feeds, configured_source
from monitor.settings import Settings, SourceSettings
from monitor.traffic.sources.folder import FolderSource
from monitor.traffic.sources.jsonl import FileSource
from monitor.traffic.sources.table import TableSource


@pytest.mark.parametrize(
    ("keys", "kind", "name"),
    [
        ({"path": "a.jsonl"}, FileSource, "a.jsonl"),
        ({"type": "folder", "path": "drops/*", "name": "n"}, FolderSource, "n"),
        ({"type": "table", "url": "sqlite:///a", "table": "t", "key": "k"}, TableSource, "t"),
    ],
)
def test_each_type_makes_its_source_under_its_title(
    keys: dict[str, str], kind: type, name: str
) -> None:
    source = configured_source(SourceSettings.model_validate(keys))
    assert (type(source), source.name) == (kind, name)


def test_a_topic_takes_its_properties_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("security.protocol=SASL_SSL\n")
    keys = {"type": "kafka", "brokers": "k:1", "topic": "t", "properties_file": path}
    (feed,) = configured_feeds(Settings.model_validate({"sources": [keys]}))
    assert feed.source._config["security.protocol"] == "SASL_SSL"


def test_the_address_of_a_table_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://me:s3cret@db/app\n")
    keys = {"type": "table", "url_file": path, "table": "t", "key": "k"}
    source = configured_source(SourceSettings.model_validate(keys))
    assert isinstance(source, TableSource)
    assert source._url.password == "s3cret"  # noqa: S105 - made up
