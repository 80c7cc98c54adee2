"""Seeded encoders that were never trained: they see the surface of images and texts.

An untrained network is a known baseline for shift detection ("UAE" in Rabanser, Günnemann and
Lipton, 2019, "Failing Loudly"). All weights come from one counter-based stream of integers, so they
are the same bits on every machine.
"""

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from monitor.encoders.encoder import EncoderFacts, EncoderPair
from monitor.encoders.images import DECODING, DecodedImage

VERSION = 1  # raise it with every change of the code that moves an embedding
DIM = 768
SEED = 20_250_502

CHARACTERS_MAX = 16_384
NGRAM_MAX = 3
BUCKET_BITS = 13
BUCKETS = 1 << BUCKET_BITS

SIDE = 192
SCALES = 4
FILTERS = 8  # for each of the three channels
CELLS = 2
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1.0, -1.0, 0.0), (-0.5, -0.5, 1.0))
ENERGY_FLOOR = 0.5 / 255  # half a grey level, below which a response is rounding
# Chosen on photographs, clean against mildly corrupted: docs/decisions tells how.
FALL_GAIN, LEVEL_GAIN, LAYOUT_GAIN = 3.0, 0.6, 6.0

_TEXTS = 64  # embedded together; few enough that their buckets stay in the cache
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def builtin_encoders() -> EncoderPair:
    """The pair that needs no download; both sides have 768 dimensions."""
    images, texts = BuiltinImageEncoder(), BuiltinTextEncoder()
    return EncoderPair(
        "builtin",
        visual=images,
        textual=texts,
        facts=(
            EncoderFacts("visual", "builtin", "energies", DIM, "cpu", images.weight_bytes),
            EncoderFacts("textual", "builtin", "n-grams", DIM, "cpu", texts.weight_bytes),
        ),
    )


class BuiltinTextEncoder:
    """Runs of one to three characters hashed into buckets, then a fixed Gaussian projection.

    Language-agnostic; sensitive to spelling, case, wording and script. The kind and amount of white
    space make no difference; a text is read up to `CHARACTERS_MAX`.
    """

    dim = DIM

    def __init__(self) -> None:
        self._projection = gaussian(stream=1, shape=(BUCKETS, DIM))
        self.digest = _digest("text", (VERSION, CHARACTERS_MAX, NGRAM_MAX), self._projection)
        self.weight_bytes = self._projection.nbytes

    def encode(self, inputs: Iterable[str]) -> Tensor:
        """See `Encoder.encode`."""
        texts = list(inputs)
        rows = [self._encode(texts[i : i + _TEXTS]) for i in range(0, len(texts), _TEXTS)]
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
    """Fixed random convolutions, rectified and pooled at several scales, then random phases.

    What is pooled is the energy of each filter at each scale. How it falls from one scale to the
    next hardly varies between ordinary photographs, whatever they show, and moves with blur, noise,
    compression and resampling; the coarse layout of brightness and colour moves with the content.

    Energies are positive and mostly share one direction, so they cannot serve as unit vectors
    themselves. The phases make the inner product of two embeddings a Gaussian kernel of their
    distance (Rahimi and Recht, 2007, "Random features for large-scale kernel machines").
    """

    dim = DIM

    def __init__(self) -> None:
        features = SCALES * 3 * FILTERS + 3 * CELLS**2
        drawn = gaussian(stream=2, shape=(3, FILTERS, 1, 3, 3))
        phases = gaussian(stream=3, shape=(features, DIM // 2))
        constants = (
            VERSION,
            DECODING,
            SIDE,
            OPPONENT,
            ENERGY_FLOOR,
            FALL_GAIN,
            LEVEL_GAIN,
            LAYOUT_GAIN,
        )
        # Of the weights as drawn: sums, as below, may end in other bits on another machine.
        self.digest = _digest("image", constants, drawn, phases)
        filters = drawn - drawn.mean(dim=(3, 4), keepdim=True)
        filters /= filters.square().sum(dim=(3, 4), keepdim=True).sqrt()
        # One group of filters per opponent channel, expressed on RGB.
        self._opponent = torch.tensor(OPPONENT)
        mixed = (filters * self._opponent[:, None, :, None, None]).flatten(0, 1)
        self._filters = mixed.contiguous(memory_format=torch.channels_last)
        self._frequencies = phases / features**0.5
        self.weight_bytes = self._filters.nbytes + self._frequencies.nbytes

    def encode(self, inputs: Iterable[DecodedImage]) -> Tensor:
        """See `Encoder.encode`."""
        # One by one: in a batch the rounding depends on the others, and nothing is gained.
        rows = [self._encode(image) for image in inputs]
        return torch.cat(rows) if rows else torch.empty(0, DIM)

    def _encode(self, image: DecodedImage) -> Tensor:
        square = Image.fromarray(image.pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = torch.tensor(np.asarray(square))[None].permute(0, 3, 1, 2)
        plane = pixels.to(torch.float32) / 255
        energies = []
        for _ in range(SCALES):
            response = functional.conv2d(plane, self._filters)
            energies.append(torch.log(response.abs_().mean(dim=(2, 3)) + ENERGY_FLOOR))
            plane = functional.avg_pool2d(plane, 2)
        energy = torch.stack(energies, dim=1)
        layout = functional.adaptive_avg_pool2d(plane, CELLS).flatten(2)
        features = torch.cat(
            [
                (energy[:, :-1] - energy[:, 1:]).flatten(1) * FALL_GAIN,
                energy.mean(dim=1) * LEVEL_GAIN,
                (self._opponent @ layout).flatten(1) * LAYOUT_GAIN,
            ],
            dim=1,
        )
        phase = features @ self._frequencies
        return functional.normalize(torch.cat([phase.cos(), phase.sin()], dim=1), dim=1)


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text[:CHARACTERS_MAX]).split())


def _ngram_cells(
    points: npt.NDArray[np.uint32], owner: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.int64]]:
    """For every n-gram within one text, its text and bucket as one number."""
    rolling = points.astype(np.uint64)
    for n in range(1, NGRAM_MAX + 1):
        if n > 1:
            rolling = rolling[:-1] * _MULTIPLIER + points[n - 1 :]
        mixed = (rolling ^ (rolling >> np.uint64(32))) * _MULTIPLIER
        bucket = (mixed >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
        first = owner[: len(bucket)]
        yield (first * BUCKETS + bucket)[first == owner[n - 1 :]]


def gaussian(*, stream: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal to good accuracy, from integers only.

    The sum of the eight bytes of a random word; numpy's own normals may differ by version and
    mathematical library.
    """
    words = np.random.Philox(key=SEED + stream).random_raw(int(np.prod(shape)))
    total = words.view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.float32)
    return torch.from_numpy(((total - 1020.0) / np.float32(math.sqrt(43690.0))).reshape(shape))


def _digest(kind: str, constants: Sequence[object], *weights: Tensor) -> str:
    found = hashlib.sha256(f"builtin {kind} {constants}".encode())
    for weight in weights:
        found.update(weight.numpy().tobytes())
    return found.hexdigest()
