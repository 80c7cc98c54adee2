"""Copies of the tiny checkpoints, whole, changed or broken."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.presets import Execution, ModelChoice, pretrained_encoders

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_encoders"
CLIP, XLMR = "clip", "xlmr"
CPU = Execution(offline=True, device="cpu")


def copied(folder: Path) -> Path:
    """Both checkpoints, to be changed."""
    return Path(shutil.copytree(TINY, folder / "encoders"))


def paper(folder: Path = TINY) -> EncoderPair:
    """The published encoders with the weights of this folder."""
    return pretrained_encoders(
        "paper", ModelChoice(str(folder / CLIP)), ModelChoice(str(folder / XLMR)), CPU
    )


def custom(visual: str, textual: str, folder: Path = TINY) -> EncoderPair:
    """The same models with these poolings."""
    return pretrained_encoders(
        "custom",
        ModelChoice(str(folder / CLIP), visual),
        ModelChoice(str(folder / XLMR), textual),
        CPU,
    )


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Write other weights in place of those of one checkpoint."""
    path = folder / "model.safetensors"
    weights = change({name: w.clone() for name, w in load_file(path).items()})
    save_file(weights, path, {"format": "pt"})


def as_bin(folder: Path) -> None:
    """The same weights in the older form."""
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()
