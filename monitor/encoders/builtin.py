"""Seeded encoders that were never trained: they see the surface of images and texts.

An untrained network is a known baseline for shift detection ("UAE" in Rabanser, Günnemann and
Lipton, 2019, "Failing Loudly"). All weights come from one counter-based stream of integers, so they
are the same bits on every machine.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import DecodedImage

VERSION = 1  # raise it with every change that moves an embedding
DIM = 768
SEED = 20_250_502


def builtin_encoders() -> EncoderPair:
    """The pair that needs no download; both sides have 768 dimensions."""
    return EncoderPair("builtin", visual=BuiltinImageEncoder(), textual=BuiltinTextEncoder())


class BuiltinTextEncoder:
    """Character n-grams hashed into buckets, then a fixed Gaussian projection.

    Language-agnostic; sensitive to spelling, wording and script. Case and the kind and amount of
    white space make no difference; a text is read up to `CHARACTERS_MAX`.
    """

    dim = DIM

    def __init__(self) -> None:
        self._projection = _gaussian(stream=1, shape=(BUCKETS, DIM))
        self.digest = _digest("text", self._projection)

    def encode(self, inputs: Sequence[str]) -> Tensor:
        """See `Encoder.encode`."""
        rows = [self._encode(inputs[i : i + _CHUNK]) for i in range(0, len(inputs), _CHUNK)]
        return torch.cat(rows) if rows else torch.empty(0, DIM)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        # Every text begins and ends with a space, so that even an empty one has an n-gram.
        points = [
            np.frombuffer(f" {_normalised(t)} ".encode("utf-32-le", "surrogatepass"), np.uint32)
            for t in texts
        ]
        owner = np.repeat(np.arange(len(texts)), [len(p) for p in points])
        cells = np.concatenate(list(_ngram_cells(np.concatenate(points), owner)))
        counts = np.bincount(cells, minlength=len(texts) * BUCKETS)
        occupied = np.flatnonzero(counts)
        starts = np.searchsorted(occupied, np.arange(len(texts)) * BUCKETS)
        summed: Tensor = functional.embedding_bag(
            torch.from_numpy(occupied % BUCKETS),
            self._projection,
            torch.from_numpy(starts),
            mode="sum",
            per_sample_weights=torch.from_numpy(np.sqrt(counts[occupied]).astype(np.float32)),
        )
        return functional.normalize(summed, dim=1)


class BuiltinImageEncoder:
    """Fixed random convolutions at several scales, rectified and pooled."""

    dim = DIM

    def __init__(self) -> None:
        self._filters = _gaussian(stream=2, shape=(FILTERS, 3, 3, 3))
        self._filters -= self._filters.mean(dim=(1, 2, 3), keepdim=True)
        features = SCALES * FILTERS * (1 + 4)
        self._frequencies = _gaussian(stream=3, shape=(features, DIM // 2))
        self.digest = _digest("image", self._filters, self._frequencies)

    def encode(self, inputs: Sequence[DecodedImage]) -> Tensor:
        """See `Encoder.encode`."""
        rows = [self._encode(inputs[i : i + _CHUNK]) for i in range(0, len(inputs), _CHUNK)]
        return torch.cat(rows) if rows else torch.empty(0, DIM)

    def _encode(self, images: Sequence[DecodedImage]) -> Tensor:
        squares = [np.asarray(Image.fromarray(i.pixels).resize((SIDE, SIDE))) for i in images]
        plane = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(torch.float32) / 255
        pooled = []
        for _ in range(SCALES):
            active = functional.conv2d(plane, self._filters).relu()
            means = [functional.adaptive_avg_pool2d(active, cells).flatten(1) for cells in (1, 2)]
            pooled.append(torch.cat(means, dim=1))
            plane = functional.avg_pool2d(plane, 2)
        phase = torch.log(torch.cat(pooled, dim=1) + 1e-3) @ self._frequencies * BANDWIDTH
        rows: Tensor = torch.cat([phase.cos(), phase.sin()], dim=1) / (DIM // 2) ** 0.5
        return rows


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text[:CHARACTERS_MAX].lower()).split())


def _ngram_cells(
    points: npt.NDArray[np.uint32], owner: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.int64]]:
    """For every n-gram within one text, its text and bucket as one number."""
    rolling = points.astype(np.uint64)
    for n in range(2, NGRAM_MAX + 1):
        rolling = rolling[:-1] * _MULTIPLIER + points[n - 1 :]
        mixed = rolling ^ (rolling >> np.uint64(32))
        bucket = (mixed * _MULTIPLIER >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
        within = owner[n - 1 :] == owner[: len(bucket)]
        yield (owner[: len(bucket)] * BUCKETS + bucket)[within]


def _gaussian(*, stream: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal to good accuracy, from integers only.

    The sum of the eight bytes of a random word; numpy's own normals may differ by version and
    mathematical library.
    """
    words = np.random.Philox(key=SEED + stream).random_raw(int(np.prod(shape)))
    total = words.view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.float32)
    return torch.from_numpy(((total - 1020.0) / np.float32(43690.0**0.5)).reshape(shape))


def _digest(kind: str, *weights: Tensor) -> str:
    constants = (VERSION, DIM, BUCKETS, NGRAM_MAX, CHARACTERS_MAX, SIDE, SCALES, BANDWIDTH)
    found = hashlib.sha256(f"builtin {kind} {constants}".encode())
    for weight in weights:
        found.update(weight.numpy().tobytes())
    return found.hexdigest()


NGRAM_MAX = 5
BUCKET_BITS = 13
BUCKETS = 1 << BUCKET_BITS
CHARACTERS_MAX = 16_384
SIDE = 192
SCALES = 4
FILTERS = 16
BANDWIDTH = 0.05
_CHUNK = 64
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
