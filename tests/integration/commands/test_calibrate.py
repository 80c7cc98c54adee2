"""``calibrate`` as a command over simulated traffic: thresholds by resampling and by burn-in."""

import json
import sys
from pathlib import Path

import pytest

from monitor import cli
from monitor.commands import calibrate, reference, replay
from monitor.store.engine import open_database
from monitor.store.references import active_references, list_references, reference_samples
from tests.integration.commands.program import Program, reduced, write_log

STREAM = "llava"
# Four windows an hour; an alarm is stated in one of 64, which 40 windows support.
SETTINGS = """
windows: {pane: 5m, length: 15m, slide: 15m, min_samples: 10}
reference: {null_draws: 50}
alerts: {false_alarms_per_week: 315}
"""
A_DAY = 15 * 4 * 24  # exchanges, fifteen to a window


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an active reference and the logs of a day and a half."""
    folder = tmp_path_factory.mktemp("calibrate")
    (folder / "monitor.yaml").write_text(SETTINGS)
    write_log(folder / "good.jsonl", 1, 500, 1.0, stream=STREAM)
    write_log(folder / "past.jsonl", 2, A_DAY * 3 // 2, 1.0, stream=STREAM, per_minute=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(reference, "load_encoders", reduced)
        patch.setattr(
            sys,
            "argv",
            ["mllm-monitor", "--config", "monitor.yaml", "reference", "build", "good.jsonl"],
        )
        cli.main()
    return folder


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    for file in origin.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(calibrate, "load_encoders", reduced)
    return Program(monkeypatch)


def active(folder: Path) -> dict[str, str]:
    with open_database(f"sqlite:///{folder}/mllm-monitor.db") as database, database.read() as s:
        return active_references(s)


def test_resampling_gives_every_null_the_draws_that_were_asked_for(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "calibrate", "--draws", "60", "--json") == 0
    rows = [json.loads(line) for line in program.out.splitlines()]
    assert {row["from"] for row in rows} == {"resampling"}
    assert "from 60 draws of the 250 exchanges held out" in program.err


def test_the_same_draws_again_are_the_same_reference(
    folder: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    before = active(folder)
    assert program(capsys, "calibrate") == 0
    assert program(capsys, "calibrate", "--draws", "51") == 0
    changed = active(folder)
    assert program(capsys, "calibrate", "--draws", "50") == 0
    assert changed["*"] != before["*"]
    assert len(set(active(folder).values()) | set(before.values())) == 1


def test_a_dry_run_changes_nothing(
    folder: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    before = active(folder)
    assert program(capsys, "calibrate", "past.jsonl", "--dry-run") == 0
    assert active(folder) == before


def test_a_burn_in_from_logs_judges_their_stream_from_then_on(
    folder: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "calibrate", "past.jsonl", "--json") == 0
    rows = {row["signal"]: row for row in map(json.loads, program.out.splitlines())}
    assert (rows["emi"]["from"], rows["emi"]["windows"]) == ("burn-in", 144)
    assert set(active(folder)) == {"*", STREAM}


def test_a_calibrated_reference_keeps_the_exchanges_it_was_made_from(
    folder: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "calibrate", "past.jsonl") == 0
    with open_database(f"sqlite:///{folder}/mllm-monitor.db") as database, database.read() as s:
        first, second = (reference_samples(s, v.digest) for v in list_references(s))
    assert [sample.exchange_id for sample in first] == [sample.exchange_id for sample in second]


def test_stored_windows_give_what_their_logs_give(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay, "load_encoders", reduced)
    assert program(capsys, "calibrate", "past.jsonl", "--dry-run", "--json") == 0
    of_logs = program.out
    assert program(capsys, "replay", "past.jsonl", "--json") == 0
    assert program(capsys, "calibrate", "--burn-in", "--dry-run", "--json") == 0
    assert program.out == of_logs


def test_only_windows_within_the_healthy_time_are_taken(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = ("--since", "2026-03-01T03:00:00Z", "--until", "2026-03-02T04:10:00Z")
    assert program(capsys, "calibrate", "past.jsonl", *healthy, "--dry-run") == 0
    assert "from 100 windows of llava, 2026-03-01 03:00 to 2026-03-02 04:00" in program.err


def test_too_few_windows_are_refused_with_how_many_more_are_needed(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.patch.setenv("MLLM_MONITOR_ALERTS__FALSE_ALARMS_PER_WEEK", "1")
    assert program(capsys, "calibrate", "past.jsonl") == 2
    assert "144 healthy windows of 0.25 h cannot support alerts.false_alarms_per_week of 1" in (
        program.err
    )
    assert "672 are needed, 5.5 days more of traffic; or accept 4.7 a week" in program.err


def test_windows_of_less_than_a_day_are_refused(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "calibrate", "past.jsonl", "--until", "2026-03-01T20:00:00Z") == 2
    assert "the windows span 20 h; they must span 24 h at least" in program.err


def test_windows_too_large_for_what_is_held_out_are_refused(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.patch.setenv("MLLM_MONITOR_WINDOWS__MIN_SAMPLES", "70")
    assert program(capsys, "calibrate") == 2
    assert "windows of 70 need 4 times as many exchanges held out, the reference has 250" in (
        program.err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.jsonl"], "missing.jsonl: no such file"),
        (["empty.jsonl"], "the files hold no exchange"),
        (["past.jsonl", "--stream", "lava"], "the files hold no traffic of stream 'lava'; did you"),
        (["past.jsonl", "--draws", "50"], "--draws is for resampling"),
        (["--since", "2026-03-01"], "--since and --until are for past windows"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_calibrated_is_said_and_nothing_changes(
    folder: Path,
    program: Program,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    (folder / "empty.jsonl").write_text("")
    before = active(folder)
    assert program(capsys, "calibrate", *arguments) == 2
    assert said in program.err
    assert active(folder) == before


def test_without_stored_traffic_logs_are_asked_for(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "calibrate", "--burn-in") == 2
    assert "no traffic is stored yet; give the logs" in program.err


def test_bursts_are_said_to_differ_more_than_chance(
    folder: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (folder / "past.jsonl").read_text().splitlines()
    bursts = []
    for i, line in enumerate(lines):  # of three neighbours all ask what the first asks
        record, first = json.loads(line), json.loads(lines[i - i % 3])
        record["query"], record["response"] = first["query"], first["response"]
        record["target"] = first["target"]
        bursts.append(json.dumps(record))
    (folder / "bursts.jsonl").write_text("\n".join(bursts) + "\n")
    assert program(capsys, "calibrate", "bursts.jsonl", "--dry-run") == 0
    assert "by resampling they would alarm more often than stated" in program.err
