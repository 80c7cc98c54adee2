"""Embedded traffic from files beside the checkout and from the simulator."""

import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from monitor.encoders.builtin import BuiltinImageEncoder, BuiltinTextEncoder
from monitor.encoders.images import ImageLimits, decode_image
from monitor.reference.embedded import Embedded, Vectors
from monitor.simulate.traffic import Drift, Mix, simulate

START = datetime(2026, 3, 1, tzinfo=UTC)


def simulated(
    count: int, seed: int, *, drifts: Sequence[Drift] = (), mix: Mix | None = None
) -> Embedded:
    """Simulated exchanges in order of time, under the builtin encoders."""
    exchanges = list(simulate(seed, start=START, count=count, drifts=drifts, mix=mix))
    images = [e.images[0].data for e in exchanges if e.images]
    targets = [e.target for e in exchanges if e.target is not None]
    return Embedded(
        ids=tuple(e.id for e in exchanges),
        z_t=texts([e.text for e in exchanges]),
        z_y=texts([e.response for e in exchanges]),
        z_v=pictures([data for data in images if data is not None]),
        has_image=np.array([bool(e.images) for e in exchanges]),
        z_target=texts(targets),
        has_target=np.array([e.target is not None for e in exchanges]),
    )


def llava_bench(folder: Path) -> Embedded:
    """All recorded prompts and answers as one mixed population, with their targets, no images."""
    targets = {place: _lines(folder / f"{place}_targets_gpt4.jsonl") for place in ("coco", "wild")}
    rows, wanted = [], []
    for file in sorted((folder / "responses").iterdir()):
        answers = _lines(file)
        rows += answers
        wanted += targets["coco" if "_coco_" in file.name else "wild"][: len(answers)]
    n, dim = len(rows), BuiltinTextEncoder.dim
    return Embedded(
        ids=tuple(str(i) for i in range(n)),
        z_t=texts([row["prompt"] for row in rows]),
        z_y=texts([row["text"] for row in rows]),
        z_v=np.empty((0, dim), dtype=np.float32),
        has_image=np.zeros(n, dtype=np.bool_),
        z_target=texts([row["text"] for row in wanted]),
        has_target=np.ones(n, dtype=np.bool_),
    )


def photographs(
    folder: Path, change: Callable[[Image.Image], Image.Image] | None = None
) -> Vectors:
    """Embedded photographs, each changed first where a change is given."""
    if change is None:
        return pictures([file.read_bytes() for file in sorted(folder.iterdir())])
    changed = []
    for file in sorted(folder.iterdir()):
        out = io.BytesIO()
        change(Image.open(file).convert("RGB")).save(out, "PNG", compress_level=1)
        changed.append(out.getvalue())
    return pictures(changed)


def images_only(z_v: Vectors) -> Embedded:
    """Exchanges of images alone: the texts are stand-ins, and nothing of them may be read."""
    n = len(z_v)
    return Embedded(
        ids=tuple(str(i) for i in range(n)),
        z_t=z_v,
        z_y=z_v,
        z_v=z_v,
        has_image=np.ones(n, dtype=np.bool_),
        z_target=np.empty((0, z_v.shape[1]), dtype=np.float32),
        has_target=np.zeros(n, dtype=np.bool_),
    )


def pictures(files: Sequence[bytes]) -> Vectors:
    return _plain(BuiltinImageEncoder().encode([decode_image(f, ImageLimits()) for f in files]))


def texts(lines: Sequence[str]) -> Vectors:
    return _plain(BuiltinTextEncoder().encode(lines))


def _plain(rows: Tensor) -> Vectors:
    plain: Vectors = rows.to(torch.float32).numpy()
    return plain


def _lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
