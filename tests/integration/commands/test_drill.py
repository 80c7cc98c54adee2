"""``drill`` as a command over simulated traffic: log in, tables, JSON and a picture out."""

import json
import sys
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.orm import Session

from monitor import cli
from monitor.commands import drill, reference
from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.settings import Settings
from monitor.store.streams import ensure_streams
from monitor.store.windows import record_window
from tests.integration.commands.program import START, Program, reduced, write_log

HOUR = timedelta(hours=1)
SETTINGS = """
windows: {min_samples: 30, length: 1h}
sampling: {per_pane: 10}
reference: {null_draws: 60}
alerts: {false_alarms_per_week: 20}
"""
SHIFTS = ("blur", "typos", "worse_responder", "shuffled_answers", "wrong_image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an active reference and the logs of two days."""
    folder = tmp_path_factory.mktemp("drill")
    (folder / "monitor.yaml").write_text(SETTINGS)
    write_log(folder / "good.jsonl", 1, 900)
    write_log(folder / "other.jsonl", 2, 400)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(reference, "load_encoders", reduced)
        command = ["--config", "monitor.yaml", "reference", "build", "good.jsonl"]
        patch.setattr(sys, "argv", ["mllm-monitor", *command])
        cli.main()
    return folder


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(drill, "load_encoders", reduced)
    return Program(monkeypatch)


Documents = dict[str | None, dict[str, Any]]


@pytest.fixture(scope="module")
def drilled(folder: Path) -> Documents:
    """One drill over the other day, by shift."""
    shifts = chain.from_iterable(("--shift", shift) for shift in SHIFTS)
    out: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(drill, "load_encoders", reduced)
        patch.setattr(drill, "put_json", out.append)
        options = {
            "--window": "120",
            "--trials": "20",
            "--strengths": "5",
            "--fractions": "0.5,1",
            "--picture": "power.png",
        }
        given = [*shifts, *chain.from_iterable(options.items()), "--json"]
        command = ["--config", "monitor.yaml", "drill", "other.jsonl", *given]
        patch.setattr(sys, "argv", ["mllm-monitor", *command])
        cli.main()
    return {document["shift"]: json.loads(json.dumps(document)) for document in out}


def power(drilled: Documents, shift: str | None, signal: str) -> float:
    value = drilled[shift]["outcomes"][-1]["signals"][signal]["power"]
    assert isinstance(value, float)
    return value


def test_undrifted_windows_and_every_shift_have_a_document(drilled: Documents) -> None:
    assert list(drilled) == [None, *SHIFTS]
    assert {d["n"] for d in drilled.values()} == {120}


def test_undrifted_windows_hardly_ever_alarm(drilled: Documents) -> None:
    # 16 signals at 0.8 % each: more than 9 of 20 windows happen once in a million runs.
    assert drilled[None]["outcomes"][0]["any"]["power"] <= 9 / 20


def test_strong_blur_is_always_found_by_the_images_and_never_by_the_texts(
    drilled: Documents,
) -> None:
    assert power(drilled, "blur", "visual_discrepancy") == 1
    unmoved = ("textual_discrepancy", "response_discrepancy", "novelty_textual", "output_gap")
    assert {s: power(drilled, "blur", s) for s in unmoved} == {
        s: power(drilled, None, s) for s in unmoved
    }


def test_strong_typos_are_always_found_by_the_texts(drilled: Documents) -> None:
    assert power(drilled, "typos", "textual_discrepancy") == 1


def test_wrong_answers_to_like_questions_are_found_by_information_and_not_by_what_was_asked(
    drilled: Documents,
) -> None:
    assert power(drilled, "worse_responder", "mi_query_response") == 1
    unmoved = ("visual_discrepancy", "textual_discrepancy", "image_text_agreement")
    assert {s: power(drilled, "worse_responder", s) for s in unmoved} == {
        s: power(drilled, None, s) for s in unmoved
    }


def test_a_reference_that_keeps_no_content_still_knows_its_exchanges(
    folder: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.patch.setattr(reference, "load_encoders", reduced)
    (folder / "mute.yaml").write_text(
        SETTINGS + "privacy: {content_retention: 0}\ndatabase: {url: 'sqlite:///mute.db'}\n"
    )
    program.patch.setenv("MLLM_MONITOR_CONFIG", "mute.yaml")
    program.config = ()
    assert program(capsys, "reference", "build", "other.jsonl") == 0
    assert program(capsys, "drill", "other.jsonl", "--window", "30") == 2
    assert "the files hold 0 (400 others were left out" in program.err


@pytest.mark.parametrize("signal", ["mi_query_response", "emi", "emid"])
def test_shuffled_answers_are_always_found_by_information(drilled: Documents, signal: str) -> None:
    assert power(drilled, "shuffled_answers", signal) == 1


def test_wrong_images_are_found_by_agreement_and_by_no_discrepancy_of_texts(
    drilled: Documents,
) -> None:
    assert drilled["wrong_image"]["smallest_fraction_by_signal"]["image_text_agreement"]
    unmoved = "textual_discrepancy"
    assert power(drilled, "wrong_image", unmoved) == power(drilled, None, unmoved)


@pytest.mark.usefixtures("drilled")
def test_the_picture_is_a_png(folder: Path) -> None:
    with Image.open(folder / "power.png", formats=["PNG"]) as image:
        assert np.asarray(image).std() > 0


def test_what_the_reference_was_made_from_is_left_out(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--trials", "1", "--shift", "wrong_image", "--fractions", "1")
    files = ("good.jsonl", "other.jsonl")
    assert program(capsys, "drill", *files, "--window", "100", *quick) == 0
    assert "400 exchanges supplied the windows; 900 others were left out" in program.err


def test_logs_with_too_little_that_is_unseen_are_refused_with_what_is_needed(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "drill", "good.jsonl", "other.jsonl", "--window", "201") == 2
    assert "windows of 201 exchanges need at least 402" in program.err
    assert "the files hold 400 (900 others were left out" in program.err


def test_without_measured_windows_a_window_is_what_its_panes_may_hold(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--trials", "1", "--shift", "shuffled_answers", "--fractions", "1")
    assert program(capsys, "drill", "other.jsonl", *quick) == 0
    assert "With windows of 120 exchanges" in program.err


def test_logs_without_anything_to_take_are_refused_with_what_was_wrong(
    program: Program, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "odd.jsonl").write_text("no json\n")
    assert program(capsys, "drill", "odd.jsonl") == 2
    assert "the files hold no exchange; refused: 1 broken_json" in program.err


@pytest.mark.parametrize(("stream", "usual"), [("llava", 60), ("*", 60), ("quiet", 256 * 12)])
def test_a_window_is_as_large_as_the_median_of_the_last_week_that_has_some(
    session: Session, stream: str, usual: int
) -> None:
    ensure_streams(session, ["llava"], START)
    for day, n in ((0, 500), (20, 40), (21, 60), (22, 90), (23, 7)):
        window = WindowId(START + day * timedelta(days=1), START + (24 * day + 1) * HOUR)
        summary = WindowSummary("llava", window, "normal@0123", 1, n, n, 0, {}, window.end)
        verdict = Verdict.INSUFFICIENT
        textual = Measurement(
            "llava", ALL, Signal.TEXTUAL_DISCREPANCY, window, n, verdict, "normal@0123"
        )
        record_window(session, summary, [textual])
    assert drill._usual_window(session, Settings(), stream) == usual


def test_traffic_without_images_leaves_the_shifts_of_images_out(
    program: Program, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(folder / "texts.jsonl", 3, 100, text_only_share=1.0)
    quick = ("--window", "40", "--trials", "2", "--strengths", "5", "--fractions", "1", "--json")
    assert program(capsys, "drill", "texts.jsonl", *quick) == 0
    shifts = [json.loads(line)["shift"] for line in program.out.splitlines()]
    texts = ["typos", "synonyms", "truncation", "code_switching"]
    texts += ["worse_responder", "shuffled_answers"]
    assert shifts == [None, *texts]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shift", "fog"], "--shift takes one of blur, noise"),
        (["--strengths", "9"], "--strengths takes whole numbers from 1 to 5"),
        (["--fractions", "2"], "--fractions takes numbers above 0"),
        (["--picture", "power.gif"], "--picture takes a file that ends in .png or .svg"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_injected_is_said_in_one_line(
    program: Program, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert program(capsys, "drill", "other.jsonl", *arguments) == 2
    assert said in program.err


def test_a_stream_without_a_reference_is_refused(
    tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.patch.chdir(tmp_path)
    (tmp_path / "monitor.yaml").write_text(SETTINGS)
    write_log(tmp_path / "good.jsonl", 1, 3)
    assert program(capsys, "db", "upgrade") == 0
    assert program(capsys, "drill", "good.jsonl") == 2
    assert "no reference is active; build one with" in program.err
