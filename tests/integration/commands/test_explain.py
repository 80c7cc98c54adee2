"""``explain`` as a user: logs are replayed, and the window that is out is asked about."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from monitor import cli
from monitor.commands import reference, replay
from monitor.commands.case_report import put_case
from monitor.records import Modality, Signal
from monitor.service.investigation import CaseWish
from monitor.service.wiring import make_investigator, opened_database, utc_now
from monitor.settings import load_settings
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.store.acknowledgements import (
    Acknowledgement,
    add_acknowledgement,
    withdraw_acknowledgement,
)
from monitor.web.api.case_schema import CaseLine
from tests.integration.commands.program import START, Program, reduced, write_log

SETTINGS = """
windows: {pane: 5m, length: 15m, slide: 15m, min_samples: 20}
reference: {null_draws: 60}
slices: {labels: [tenant]}
"""
STREAM = "shop\x1b[2J"
SHOWN = "shop�[2J"  # as a terminal gets it
FROM_HALF_PAST = "2026-03-01T00:30:00Z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three quarters of an hour; in the last one a tenant asks in new languages."""
    folder = tmp_path_factory.mktemp("explain")
    (folder / "monitor.yaml").write_text(SETTINGS)
    write_log(folder / "good.jsonl", 1, 400)
    mix = Mix(stream=STREAM, per_minute=10)
    cause = Drift(DriftKind.LANGUAGE, labels={"tenant": "globex"}, start=START.replace(minute=30))
    live = simulate(2, start=START, count=445, drifts=[cause], mix=mix)
    calm = simulate(4, start=START, count=155, mix=Mix(stream="calm", per_minute=10))
    (folder / "live.jsonl").write_bytes(b"".join(map(as_native_line, [*live, *calm])))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for module in (reference, replay):
            patch.setattr(module, "load_encoders", reduced)
        for command in (["reference", "build", "good.jsonl"], ["replay", "live.jsonl"]):
            patch.setattr(sys, "argv", ["mllm-monitor", "--config", "monitor.yaml", *command])
            cli.main()
    return folder


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(folder)
    return Program(monkeypatch)


def test_the_newest_window_that_is_out_is_explained_in_words_and_by_its_tenant(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "explain") == 0
    lines = program.out.splitlines()
    assert lines[0] == SHOWN
    assert lines[1].startswith("2026-03-01 00:30 to 00:45 UTC, ")
    assert "more texts are of a new kind" in program.out
    assert "tenant=globex" in next(line for line in lines if " comes from " in line)
    slices = lines[lines.index("Slices, by their share of novelty_textual") + 2]
    assert slices.startswith("tenant=globex ")


def test_it_says_the_same_as_json(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(capsys, "explain", "--json", "--exchanges", "3") == 0
    case = CaseLine.model_validate_json(program.out)
    assert (case.stream, case.leading, case.modality) == (
        STREAM,
        "novelty_textual",
        Modality.TEXTUAL,
    )
    assert case.slices[0].value == "globex"
    assert len(case.exchanges) == 3
    assert set(json.loads(program.out)) == {
        field.alias or name for name, field in CaseLine.model_fields.items()
    }


def test_the_case_is_exported_as_a_file_that_needs_nothing_else(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data = tmp_path / "case.html", tmp_path / "case.json"
    assert program(capsys, "explain", "--export", str(page), "--json") == 0
    said = json.loads(program.out)
    assert "with what users wrote" in program.err
    assert program(capsys, "explain", "--export", str(data), "--exchanges", "5") == 0
    text = page.read_text()
    assert "globex" in text
    assert 'src="data:image/jpeg;base64,' in text
    assert not [word for word in ("<script", 'src="/', 'href="/') if word in text]
    assert json.loads(data.read_text())["case"] == said


def test_where_nothing_is_out_it_is_the_newest_window_that_holds_enough(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "explain", "--stream", "calm") == 0
    assert program.out.splitlines()[1].startswith("2026-03-01 00:00 to 00:15 UTC, ")
    assert "nothing is out of its normal range" in program.err


def test_a_window_a_slice_and_a_signal_can_be_chosen(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--stream", STREAM, "--window", FROM_HALF_PAST, "--signal", "emi")
    assert program(capsys, "explain", *chosen, "--slice", "tenant=acme") == 0
    lines = program.out.splitlines()
    assert lines[0] == f"{SHOWN}, tenant=acme"
    assert lines[1].startswith("2026-03-01 00:15 to 00:30 UTC, ")
    assert any(line == "Exchanges, by their share of emi" for line in lines)


def test_beside_answers_that_got_worse_stand_those_that_were_asked_alike(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "explain", "--signal", "emi", "--exchanges", "1") == 0
    assert "nearest of the reference (by text, " in program.out


def test_what_others_said_about_the_window_comes_first(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    half_past = START.replace(minute=30)
    note = Acknowledgement(
        STREAM, START, half_past, "told\r\nAnn\x1b[2J", "Kim", half_past, signal=Signal.EMI
    )
    with opened_database(load_settings(Path("monitor.yaml"))) as database:
        with database.begin() as session:
            id_ = add_acknowledgement(session, note)
        assert program(capsys, "explain", "--stream", STREAM, "--window", FROM_HALF_PAST) == 0
        with database.begin() as session:
            withdraw_acknowledgement(session, id_, "Kim", half_past)
    head, _, _ = program.out.partition("traffic has")  # the verdict
    assert "\nKim acknowledged emi, 2026-03-01 00:30 UTC: told Ann�[2J\n" in head


def test_it_reads_well_in_a_narrow_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    settings = load_settings(Path("monitor.yaml"))
    with opened_database(settings) as database:
        case = make_investigator(settings, database, utc_now).case(CaseWish(STREAM))
    monkeypatch.setattr("monitor.commands.case_report.PIPE_WIDTH", 60)
    put_case(case)
    assert max(map(cell_len, capsys.readouterr().out.splitlines())) <= 60


def test_nothing_that_strangers_wrote_steers_the_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    settings = load_settings(Path("monitor.yaml"))
    with opened_database(settings) as database:
        case = make_investigator(settings, database, utc_now).case(CaseWish(STREAM))
    hostile = "\x1b[31m\x07\u202e[bold]evil[/bold]\nSignals\r"
    first = replace(
        case.exchanges[0],
        exchange_id=hostile,
        text=hostile * 2_000,
        response=hostile,
        target=hostile,
        labels={hostile: hostile},
    )
    worst = replace(case.slices[0], label=hostile, value=hostile)
    put_case(replace(case, exchanges=(first,), slices=(worst,), stream=hostile))
    out = capsys.readouterr().out
    assert not {c for c in out if not c.isprintable()} - {"\n"}
    assert "[bold]evil[/bold]" in out
    assert out.splitlines().count("Signals") == 1
    assert len(out) < 20_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stream", "nobody"], "no traffic of stream 'nobody'; did you mean"),
        (["--stream", "clam"], "no traffic of stream 'clam'; did you mean 'calm'?"),
        (["--window", "noon"], "--window: expected a time such as 2026-03-01T12:00:00Z"),
        (["--window", "2020-01-01T00:00:00Z"], "that holds 2020-01-01 00:00 UTC"),
        (["--export", "case.txt"], "--export must end in .html or .json; got 'case.txt'"),
        (["--signal", "mood"], "--signal must be one of visual_discrepancy"),
        (["--slice", "tenant=nobody"], "was not measured in this window"),
    ],
)
def test_what_is_not_there_is_one_line(
    program: Program, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert program(capsys, "explain", *arguments) == 2
    assert program.out == ""
    assert said in program.err
    assert len(program.err.splitlines()) == 1


def test_before_anything_is_measured_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "monitor.yaml").write_text("{}")
    program = Program(monkeypatch)
    assert program(capsys, "explain") == 2
    assert "mllm-monitor reference build" in program.err
