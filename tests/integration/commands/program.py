"""The command line in one process, over simulated traffic and encoders of few dimensions."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from monitor import cli
from monitor.encoders.builtin import builtin_encoders
from monitor.encoders.encoder import Encoder, EncoderPair
from monitor.simulate.traffic import Mix, as_native_line, simulate

START = datetime(2026, 3, 1, tzinfo=UTC)
DIM = 64


@dataclass(frozen=True)
class Reduced:
    """The built-in encoder, projected: eigenproblems of 64 dimensions take no time."""

    inner: Encoder[Any]
    dim: int = DIM
    projection: Tensor = field(
        default_factory=lambda: torch.randn(768, DIM, generator=torch.Generator().manual_seed(0))
    )

    @property
    def digest(self) -> str:
        return self.inner.digest

    def encode(self, inputs: Sequence[Any]) -> Tensor:
        return functional.normalize(self.inner.encode(inputs) @ self.projection, dim=1)


def reduced(_settings: object) -> EncoderPair:
    pair = builtin_encoders()
    return EncoderPair("reduced", Reduced(pair.visual), Reduced(pair.textual))


def write_log(
    path: Path,
    seed: int,
    count: int,
    text_only_share: float = 0.1,
    *,
    stream: str | None = None,
    per_minute: float = 60.0,
) -> None:
    """A log of one stream, of the seed's name unless it is given."""
    mix = Mix(stream=stream or f"s{seed}", text_only_share=text_only_share, per_minute=per_minute)
    exchanges = simulate(seed, start=START, count=count, mix=mix)
    path.write_bytes(b"".join(as_native_line(e) for e in exchanges))


@dataclass
class Program:
    """The command line in one folder, with what it last said."""

    patch: pytest.MonkeyPatch
    out: str = ""
    err: str = ""
    config: tuple[str, ...] = ("--config", "monitor.yaml")

    def __call__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> int:
        self.patch.setattr(sys, "argv", ["mllm-monitor", *self.config, *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as exc:
            code = int(exc.code or 0)
        self.out, self.err = capsys.readouterr()
        return code
