"""Other encoders than the built-in ones, as a person at the command line meets them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.encoders.checkpoints import CLIP, TINY, XLMR


def settings(folder: Path, models: Path = TINY) -> Path:
    """The published encoders with tiny weights; small windows and references."""
    path = folder / "paper.yaml"
    tree = {
        "database": {"url": f"sqlite:///{folder / 'monitor.db'}"},
        "data_dir": str(folder / "data"),
        "encoders": {
            "preset": "paper",
            "device": "cpu",
            "visual": {"model": str(models / CLIP)},
            "textual": {"model": str(models / XLMR)},
        },
        "windows": {"length": "5m", "slide": "5m", "min_samples": 20},
        "reference": {"null_draws": 50},
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        cwd=folder,
        env={
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "OMP_NUM_THREADS": "1",
            "MLLM_MONITOR_HTTP__LISTEN": "127.0.0.1:0",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_tells_the_models_their_memory_and_the_digest(tmp_path: Path) -> None:
    done = program(tmp_path, "--config", str(settings(tmp_path)), "check")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if "encoders" in line or "weights" in line]
    assert [line.split()[0] for line in lines] == ["ok"] * 3
    assert f"paper ({TINY / CLIP} clip_patch_mean, {TINY / XLMR} embedding_layer)" in lines[0]
    assert lines[1].endswith("64 dimensions, on cpu, 0.5 MB of weights")
    assert lines[2].endswith("64 dimensions, on cpu, 1.2 MB of weights")


def test_the_daemon_refuses_a_broken_model_in_one_line_before_it_is_ready(tmp_path: Path) -> None:
    models = Path(shutil.copytree(TINY, tmp_path / "models"))
    weights = models / CLIP / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    path = settings(tmp_path, models)
    done = program(tmp_path, "--config", str(path), "run")
    refused = [line for line in done.stderr.splitlines() if line.startswith("mllm-monitor: ")]
    assert done.returncode == 2
    assert len(refused) == 1
    assert f"encoder {models / CLIP}: its weights cannot be used" in refused[0]
    assert "Traceback" not in done.stderr
    assert "daemon_ready" not in done.stderr


@pytest.mark.slow
def test_logs_are_measured_with_the_published_encoders_and_no_others_are_taken_after(
    tmp_path: Path,
) -> None:
    path = str(settings(tmp_path))
    traffic = ("--per-minute", "40", "--count")
    assert not program(
        tmp_path, "simulate", *traffic, "400", "--seed", "1", "--out", "good.jsonl"
    ).returncode
    assert not program(
        tmp_path, "simulate", *traffic, "200", "--seed", "2", "--out", "other.jsonl"
    ).returncode
    built = program(tmp_path, "--config", path, "reference", "build", "good.jsonl")
    shown = program(tmp_path, "--config", path, "reference", "show", "reference", "--json")
    measured = program(tmp_path, "--config", path, "replay", "other.jsonl", "--json")
    assert (built.returncode, measured.returncode) == (0, 0), built.stderr + measured.stderr
    theirs = json.loads(shown.stdout)["encoders"]
    signals = {json.loads(line)["signal"] for line in measured.stdout.splitlines()}
    assert {"visual_discrepancy", "emi", "emid_bound"} <= signals
    Path(path).write_text(f"database: {{url: 'sqlite:///{tmp_path / 'monitor.db'}'}}\n")
    refused = program(tmp_path, "--config", path, "run")
    assert refused.returncode == 2
    assert f"built with {theirs}," in refused.stderr
    assert "the settings give builtin" in refused.stderr
