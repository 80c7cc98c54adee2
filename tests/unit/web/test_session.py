"""Tokens that read and act, and the sessions that begin with them."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.errors import SettingsError
from monitor.web.access import Keys
from monitor.web.forms import our_path
from monitor.web.session import Role, Session, Sessions, Visitor, load_secret

SECRET = b"s" * 32
TOKEN = "0123456789abcdef"  # noqa: S105 - of nobody
SIGNED = Session("id", "ann", "f" * 16, Role.ACT)


def sessions(secret: bytes = SECRET, length: timedelta = timedelta(hours=1)) -> Sessions:
    return Sessions(secret, length)


def keys(folder: Path, text: str) -> Keys:
    (folder / "tokens").write_text(text)
    return Keys(folder / "tokens", "http.act_tokens_file")


def test_a_session_comes_back_as_it_was() -> None:
    assert sessions().read(sessions().cookie(SIGNED)) == SIGNED
    assert sessions().read(sessions().cookie(Session("id"))) == Session("id")


def test_a_session_of_another_secret_or_changed_by_one_letter_is_none() -> None:
    cookie = sessions(b"t" * 32).cookie(SIGNED)
    assert sessions().read(cookie) is None
    ours = sessions().cookie(SIGNED)
    assert all(sessions().read(ours[:i] + "~" + ours[i + 1 :]) is None for i in range(len(ours)))


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = sessions().cookie(SIGNED)
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 4_000_000_000)
    assert sessions().read(cookie) is None


def test_the_token_of_a_form_belongs_to_one_session() -> None:
    token = sessions().form_token(SIGNED)
    assert sessions().is_form_of(SIGNED, token)
    assert not sessions().is_form_of(Session("other"), token)
    assert not sessions(b"t" * 32).is_form_of(SIGNED, token)
    assert not sessions().is_form_of(SIGNED, "é")


def test_a_browser_gets_a_session_only_for_a_form() -> None:
    visitor = Visitor(form_token=TOKEN)
    assert not visitor.used
    assert visitor.csrf == TOKEN
    assert visitor.used


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = load_secret(tmp_path / "data", None)
    assert load_secret(tmp_path / "data", None) == made
    (file,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"short", b""])
def test_a_secret_that_could_be_guessed_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SettingsError, match="at least 32 characters"):
        load_secret(tmp_path, tmp_path / "secret")


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load_secret(tmp_path, tmp_path / "nowhere")


def test_a_token_has_the_name_before_it_else_a_fingerprint(tmp_path: Path) -> None:
    found = keys(tmp_path, f"Ann Smith {TOKEN}\n{TOKEN[::-1]}\n")
    named, unnamed = found.find(TOKEN), found.find(TOKEN[::-1])
    assert named is not None
    assert unnamed is not None
    assert named.name == "Ann Smith"
    assert unnamed.name.startswith("token ")
    assert TOKEN[::-1] not in f"{unnamed!r}"
    assert found.find("Ann Smith") is None


@pytest.mark.parametrize("text", [f"{TOKEN[:-1]}\n", f"ann {TOKEN[:-1]}\n"])
def test_a_token_that_could_be_guessed_is_refused_and_not_repeated(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(SettingsError, match="fewer than 16 characters") as refused:
        keys(tmp_path, text)
    assert TOKEN[:-1] not in str(refused.value)


def test_tokens_that_become_unusable_stay_as_they_were(tmp_path: Path) -> None:
    found = keys(tmp_path, TOKEN)
    key = found.find(TOKEN)
    (tmp_path / "tokens").write_text("short\n")
    assert key is not None
    assert found.holds(key.fingerprint)
    (tmp_path / "tokens").write_text(f"{TOKEN[::-1]} \n")
    assert not found.holds(key.fingerprint)


@pytest.mark.parametrize("path", ["/", "/window?stream=a%2Fb&end=1#e3", "/a//b"])
def test_paths_of_ours_are_followed(path: str) -> None:
    assert our_path(path) == path


@pytest.mark.parametrize("path", ["//a", "/\\a", "a", "", None, "/a\r\nb", "/a b", "http://a"])
def test_other_paths_are_not(path: str | None) -> None:
    assert our_path(path) == "/"
