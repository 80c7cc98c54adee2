"""``forget`` as a command, beside a database with a little traffic."""

import json
from pathlib import Path

import pytest

from monitor.commands.privacy import content_findings
from monitor.service.wiring import opened_database
from monitor.settings import Settings
from monitor.store.samples import window_samples
from tests.integration.commands.program import Program
from tests.integration.service.parts import (
    HOUR,
    START,
    STREAM,
    admit,
    exchange,
    make_intake,
    store_reference,
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(tmp_path)
    lines = [exchange(name, labels={"tenant": f"t{name}"}) for name in ("a", "b")]
    with opened_database(Settings()) as database:
        admit(make_intake(database), lines)
    return Program(monkeypatch, config=())


def left() -> set[str]:
    with opened_database(Settings()) as database, database.read() as session:
        samples = window_samples(session, STREAM, START, START + HOUR)
    return {s.exchange_id for s in samples if s.labels}


def test_without_yes_it_is_said_what_there_is(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "forget", "--id", "a") == 0
    assert program.out.splitlines() == ["samples: 1", "references: 0", "reference exchanges: 0"]
    assert "nothing was changed" in program.err
    assert left() == {"a", "b"}


@pytest.mark.parametrize("wish", [("--id", "a"), ("--label", "tenant=ta")])
def test_with_yes_it_is_forgotten(
    program: Program, capsys: pytest.CaptureFixture[str], wish: tuple[str, str]
) -> None:
    assert program(capsys, "forget", *wish, "--yes", "--json") == 0
    told = json.loads(program.out)
    assert (told["forgotten"], told["samples"], told["replaced"]) == (True, 1, [])
    assert left() == {"b"}


@pytest.mark.parametrize("wish", [(), ("--id", "a", "--label", "b=c"), ("--label", "tenant")])
def test_what_is_to_be_forgotten_must_be_clear(
    program: Program, capsys: pytest.CaptureFixture[str], wish: tuple[str, ...]
) -> None:
    assert program(capsys, "forget", *wish, "--yes") == 2
    assert left() == {"a", "b"}


def findings(settings: Settings) -> list[tuple[bool, str]]:
    return list(content_findings(settings))


@pytest.mark.usefixtures("program")
def test_check_says_how_much_content_there_is_and_when_it_goes() -> None:
    settings = Settings.model_validate({"privacy": {"redact": ["email", "card"]}})
    told, stored = findings(settings)
    assert told == (True, "privacy: content goes after 7d; redacted: card, email")
    assert stored == (
        True,
        "  stored: 2 exchanges, 0 of references, 0 images (0.0 MB), 0 refused records; "
        "the oldest since 2026-03-02 08:00, to go at 2026-03-09 08:00",
    )


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(("redact", "is_fine"), [([], True), (["email"], False)])
def test_check_refuses_a_reference_that_was_redacted_otherwise(
    redact: list[str],
    is_fine: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    with opened_database(Settings()) as database, database.begin() as session:
        store_reference(session)
    found = findings(Settings.model_validate({"privacy": {"redact": redact}}))
    assert all(fine for fine, _ in found) == is_fine


def test_check_of_no_database_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(findings(Settings())) == 1
    assert list(tmp_path.iterdir()) == []
