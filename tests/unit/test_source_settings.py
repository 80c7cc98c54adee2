import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.errors import SettingsError
from monitor.settings import Settings, SourceSettings, load_settings

KAFKA = {"type": "kafka", "brokers": "k:9092", "topic": "calls"}
TABLE = {"type": "table", "table": "calls", "key": "id"}


def fault(*sources: dict[str, str]) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"sources": sources})
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "type jsonl needs path"),
        ({"type": "kafka"}, "type kafka needs brokers and topic"),
        ({"type": "kafka", "topic": "t"}, "type kafka needs brokers"),
        ({**KAFKA, "path": "a.jsonl"}, "path is not for type kafka"),
        ({"path": "a.jsonl", "format": "otlp_logs"}, "only type kafka reads"),
        ({"path": "a.jsonl", "topic": "t"}, "topic is not for type jsonl"),
        ({"type": "table", "url": "sqlite:///a.db"}, "type table needs table and key"),
        (TABLE, "type table needs url or url_file"),
        ({**TABLE, "url": "sqlite:///a", "url_file": "b"}, "type table needs url or url_file"),
    ],
)
def test_a_source_says_what_its_type_needs_and_does_not_take(
    source: dict[str, str], said: str
) -> None:
    assert said in fault(source)


def test_sources_of_one_title_are_refused_until_they_are_named() -> None:
    assert "two sources are called calls" in fault(KAFKA, KAFKA)
    named = Settings.model_validate({"sources": [KAFKA, {**KAFKA, "name": "other cluster"}]})
    assert [source.title for source in named.sources] == ["calls", "other cluster"]


def test_a_type_takes_what_it_may_be_given() -> None:
    source = SourceSettings.model_validate({**KAFKA, "group": "g", "format": "otlp", "name": "n"})
    assert (source.title, source.group) == ("n", "g")


def test_an_address_with_a_password_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "monitor.yaml"
    source = {**TABLE, "url": "postgresql://me:s3cret@db/app"}
    path.write_text(json.dumps({"sources": [source]}))
    with pytest.raises(SettingsError, match="url_file") as caught:
        load_settings(path, {})
    assert "s3cret" not in str(caught.value)
