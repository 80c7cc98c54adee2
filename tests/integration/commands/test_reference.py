"""``reference`` as a command over simulated traffic: networks that learn, kept and imported."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from monitor.commands import reference, replay
from monitor.store.engine import open_database
from monitor.store.references import active_references, load_arrays
from tests.integration.commands.program import Program, reduced, write_log

SETTINGS = "windows: {min_samples: 30}\nsampling: {per_pane: 600}\nreference: {null_draws: 50}\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program in a folder with the logs of two days."""
    monkeypatch.chdir(tmp_path)
    for command in (reference, replay):
        monkeypatch.setattr(command, "load_encoders", reduced)
    (tmp_path / "monitor.yaml").write_text(SETTINGS)
    for seed in (1, 2):
        write_log(tmp_path / f"day{seed}.jsonl", seed, 300, stream="llava")
    return Program(monkeypatch)


def weights_of_answers() -> dict[str, Tensor]:
    """The q of answers of the active reference, as a checkpoint has it."""
    with open_database("sqlite:///mllm-monitor.db") as database, database.read() as session:
        (digest,) = active_references(session).values()
        arrays = load_arrays(session, digest)
    prefix = "q_answer/"
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def test_a_q_from_a_checkpoint_is_used_as_it_is(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "reference", "build", "day1.jsonl") == 0
    assert "q of answers: " in program.err
    weights = weights_of_answers()
    torch.save(weights, "q.pt")
    given = ("--conditional", "q.pt", "--activate")
    assert program(capsys, "reference", "build", "day2.jsonl", "--name", "second", *given) == 0
    assert "q of answers" not in program.err  # neither trained nor noted
    imported = weights_of_answers()
    assert imported.keys() == weights.keys()
    assert all(torch.equal(imported[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "(200 object_ref); images.root, which paths are below, is not set;"),
        ("images: {root: a}\n", "(200 absent); images.root, which paths are below, is a;"),
    ],
)
def test_images_that_cannot_be_looked_at_and_missing_targets_are_said_before_the_long_part(
    program: Program,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: str,
    said: str,
) -> None:
    (tmp_path / "monitor.yaml").write_text(SETTINGS + settings)
    lines = []
    for i, line in enumerate((tmp_path / "day1.jsonl").read_text().splitlines()):
        record = json.loads(line)
        del record["target"]
        record["query"]["images"] = [{"path": f"{i}.png"}] if i < 200 else []
        lines.append(json.dumps(record))
    (tmp_path / "paths.jsonl").write_text("\n".join(lines))
    assert program(capsys, "reference", "build", "paths.jsonl") == 0
    words = program.err.splitlines()
    images, targets = (line for line in words if line.startswith("note: ") and "docs/" in line)
    assert "200 of 200 exchanges with images have none that can be looked at" in images
    assert said in images
    assert targets.startswith("note: no exchange has a target")
    assert words.index(targets) < next(i for i, w in enumerate(words) if w.startswith("nulls: "))


def test_a_replay_judges_no_exchange_that_the_reference_was_built_from(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "reference", "build", "day1.jsonl") == 0
    assert program(capsys, "replay", "day1.jsonl", "day2.jsonl", "--json") == 0
    assert "window_overlaps_reference" in program.err
    measured = [json.loads(line) for line in program.out.splitlines()]
    assert {m["n"] for m in measured if m["signal"] == "textual_discrepancy"} == {300}


def test_a_reference_remembers_how_its_exchanges_are_labelled(
    program: Program, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    more = "streams: {by: [stream, tenant]}\nslices: {labels: [language, tenant]}\n"
    (tmp_path / "monitor.yaml").write_text(SETTINGS + more)
    given = ("day1.jsonl", "day2.jsonl", "--stream", "llava/acme")
    assert program(capsys, "reference", "build", *given) == 0
    assert program(capsys, "reference", "show", "reference", "--json") == 0
    facts = json.loads(program.out)
    labels = facts["labels"]
    assert labels.keys() == {"language", "images", "image_size", "prompt_length", "tenant"}
    assert {sum(counts.values()) for counts in labels.values()} == {facts["exchanges"]}
    assert labels["tenant"] == {"acme": facts["exchanges"]}
    assert labels["image_size"] == {"small": labels["images"]["1"], "none": labels["images"]["0"]}
    assert program(capsys, "reference", "show", "reference") == 0
    assert f"acme {facts['exchanges']}" in program.out
