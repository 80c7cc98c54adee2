"""Who may post, as settings and the environment say it."""

from pathlib import Path

import pytest

from monitor.errors import SettingsError
from monitor.settings import load_settings

TOKENS = "MLLM_MONITOR_HTTP__TOKENS"


def test_tokens_come_through_the_environment_and_are_not_shown() -> None:
    http = load_settings(None, {TOKENS: "s3cret other"}).http
    assert http.given_tokens == (b"s3cret", b"other")
    assert http.is_guarded
    assert "s3cret" not in f"{http!r} {http.model_dump_json()}"


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blanks_are_no_token(blank: str) -> None:
    assert not load_settings(None, {TOKENS: blank}).http.is_guarded


def test_a_token_guards_what_other_machines_can_reach() -> None:
    listen = {"MLLM_MONITOR_HTTP__LISTEN": "0.0.0.0:9750"}
    with pytest.raises(SettingsError):
        load_settings(None, {**listen, TOKENS: " "})
    assert not load_settings(None, {**listen, TOKENS: "s3cret"}).http.is_loopback


@pytest.mark.parametrize("text", ["http: {tokens: s3cret}", "http: {tokens: [s3cret]}"])
def test_a_token_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings(path, {})
    assert TOKENS in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_token_that_looks_like_a_list_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {TOKENS: "[s3cret]"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["monitor:9750", "ftp://monitor", 'http://a"b', "http://a b", "/"])
@pytest.mark.parametrize("name", ["EXTERNAL_URL", "GRAFANA_URL"])
def test_links_lead_to_addresses_that_a_browser_opens(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {f"MLLM_MONITOR_HTTP__{name}": url})
    assert "must be an http or https address" in str(refused.value)
    given = load_settings(None, {f"MLLM_MONITOR_HTTP__{name}": "https://example.org/monitor"})
    assert given.http.model_dump()[name.lower()] == "https://example.org/monitor"
