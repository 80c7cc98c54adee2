"""``reference promote`` as a command: a drift that is accepted is normal from then on."""

import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from monitor import cli
from monitor.commands import promote, reference, replay
from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import DecodedImage
from monitor.service.wiring import opened_database
from monitor.settings import load_settings
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.store.audit import audit_entries
from monitor.store.references import active_references, list_references, reference_samples
from tests.integration.commands.program import DIM, START, Program, reduced

STREAM = "llava"
HOUR = timedelta(hours=1)
SETTINGS = """
windows: {pane: 5m, length: 30m, slide: 30m, min_samples: 20}
sampling: {per_pane: 60}
reference: {null_draws: 50}
slices: {labels: [tenant]}
"""
CALM = ("--since", "2026-03-01T00:00:00Z", "--until", "2026-03-01T01:00:00Z")
PAST = ("--since", "2026-03-01T01:00:00Z", "--until", "2026-03-01T02:00:00Z")


class Sharpness:
    """Images by their colours and how sharp they are: what blurs them is seen at no cost."""

    dim, digest = DIM, "sharpness"

    def encode(self, images: Iterable[DecodedImage]) -> Tensor:
        rows = torch.stack([self._features(np.asarray(image.pixels)) for image in images])
        mixing = torch.randn(rows.shape[1], DIM, generator=torch.Generator().manual_seed(0))
        return functional.normalize(rows @ mixing, dim=1)

    def _features(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        plain = pixels.astype(np.float32) / 255
        edges = [np.abs(np.diff(plain[::k], axis=0)).mean(axis=(0, 1)) for k in (1, 2, 4)]
        return torch.from_numpy(np.concatenate([plain.mean(axis=(0, 1)), *(20 * e for e in edges)]))


def quick(settings: object) -> EncoderPair:
    pair = reduced(settings)
    return EncoderPair("quick", Sharpness(), pair.textual)


def write(path: Path, seed: int, hours: float, *, after: float = 0, blurred: bool = False) -> None:
    start = START + after * HOUR
    drifts = (Drift(DriftKind.BLUR, severity=5, start=start),) if blurred else ()
    mix = Mix(stream=STREAM, per_minute=5)
    exchanges = simulate(seed, start=start, count=int(hours * 300), drifts=drifts, mix=mix)
    path.write_bytes(b"".join(as_native_line(e) for e in exchanges))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference in force, a calm hour that was measured, and one of blur."""
    folder = tmp_path_factory.mktemp("promote")
    (folder / "monitor.yaml").write_text(SETTINGS)
    write(folder / "good.jsonl", 1, 1, after=-24)
    write(folder / "calm.jsonl", 2, 1)
    write(folder / "blur.jsonl", 3, 1, after=1, blurred=True)
    write(folder / "more.jsonl", 4, 0.5, after=3, blurred=True)
    write(folder / "most.jsonl", 5, 0.5, after=4, blurred=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (reference, replay):
            patch.setattr(command, "load_encoders", quick)
        for words in (("reference", "build", "good.jsonl"), ("replay", "calm.jsonl", "blur.jsonl")):
            patch.setattr(sys, "argv", ["mllm-monitor", "--config", "monitor.yaml", *words])
            cli.main()
    return folder


@pytest.fixture
def program(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    for file in origin.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    for command in (promote, reference, replay):
        monkeypatch.setattr(command, "load_encoders", quick)
    return Program(monkeypatch)


def drifting_images(program: Program, capsys: pytest.CaptureFixture[str], log: str) -> set[bool]:
    """Whether the images of the whole stream are drifting, in the windows of a log."""
    assert program(capsys, "replay", log, "--json") in {0, 1}
    rows = [json.loads(line) for line in program.out.splitlines()]
    return {
        row["verdict"] == "drifting"
        for row in rows
        if (row["signal"], row["slice"]) == ("visual_discrepancy", "all")
    }


def promoted(
    program: Program, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, object]:
    assert program(capsys, "reference", "promote", "--stream", STREAM, *options, "--json") == 0
    said = json.loads(program.out)
    assert isinstance(said, dict)
    return said


def test_an_accepted_drift_is_normal_and_a_rollback_makes_it_a_drift_again(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    said = promoted(program, capsys, *PAST, "--include-drifting", "--activate")
    assert "back with `mllm-monitor reference activate" in program.err
    assert drifting_images(program, capsys, "more.jsonl") == {False}
    assert program(capsys, *str(said["rollback"]).split()[1:]) == 0
    assert drifting_images(program, capsys, "most.jsonl") == {True}


def test_drifting_windows_are_left_out_unless_they_are_meant(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(capsys, "reference", "promote", "--stream", STREAM, *PAST) == 2
    assert "all is in 2 windows with a signal that was drifting" in program.err
    assert "--include-drifting accepts them" in program.err


def test_without_activation_it_is_stored_and_the_command_that_accepts_it_is_said(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    said = promoted(program, capsys, *CALM)
    assert f"accept it with `{said['activation']}`" in program.err
    with opened_database(load_settings(Path("monitor.yaml"))) as database, database.read() as s:
        assert said["digest"] not in active_references(s).values()
        assert said["digest"] in {v.digest for v in list_references(s)}


def test_the_diff_tells_what_changes(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    said = promoted(program, capsys, *PAST, "--include-drifting", "--dry-run")
    diff = said["diff"]
    assert isinstance(diff, dict)
    assert diff["counts"]["exchanges"] == [300, 300]
    signals = {s["signal"]: s for s in diff["signals"]}
    assert signals["visual_discrepancy"]["verdict"] == "drifting"
    assert signals["visual_discrepancy"]["excess_ratio"] > 3
    assert signals["textual_discrepancy"]["verdict"] == "in_control"
    assert signals["visual_discrepancy"]["threshold_after"] is not None
    assert {c["label"] for c in diff["labels"]} >= {"tenant", "language"}


def test_a_dry_run_stores_nothing(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    promoted(program, capsys, *CALM, "--dry-run")
    with opened_database(load_settings(Path("monitor.yaml"))) as database, database.read() as s:
        assert (len(list_references(s)), audit_entries(s, limit=10)) == (1, [])


def test_the_version_keeps_its_exchanges_with_their_content(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    said = promoted(program, capsys, *CALM)
    with opened_database(load_settings(Path("monitor.yaml"))) as database, database.read() as s:
        kept = reference_samples(s, str(said["digest"]))
    assert len(kept) == 300
    assert all(k.text and k.response for k in kept)
    assert any(k.thumbnail for k in kept)
    assert len({k.exchange_id for k in kept}) == 300


def test_too_few_samples_are_refused_with_how_many_more_are_needed(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    little = ("--since", "2026-03-01T00:00:00Z", "--until", "2026-03-01T00:15:00Z")
    assert program(capsys, "reference", "promote", "--stream", STREAM, *little) == 2
    assert "75 samples of 0.25 h are too few: 160 are needed, 85 more, 0.283 h" in program.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stream", "nobody", *CALM), "no traffic of stream 'nobody'; did you mean 'llava'?"),
        (("--stream", STREAM, "--since", "2027-01-01"), "no traffic of that time is stored"),
    ],
)
def test_what_is_not_there_is_said(
    program: Program, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert program(capsys, "reference", "promote", *options) == 2
    assert said in program.err


def test_who_did_it_is_in_the_audit(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    said = promoted(program, capsys, *CALM, "--activate")
    with opened_database(load_settings(Path("monitor.yaml"))) as database, database.read() as s:
        entries = audit_entries(s, limit=10)
    assert [e.action for e in entries] == ["activate reference", "promote reference"]
    assert {(e.target, e.detail) for e in entries} == {(said["reference"], STREAM)}
    assert all("command line" in e.who for e in entries)
