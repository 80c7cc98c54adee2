"""What the untrained encoders see of real photographs and prompts."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from monitor.encoders.builtin import BuiltinImageEncoder, BuiltinTextEncoder
from monitor.encoders.images import ImageLimits, decode_image
from monitor.stats.rjsd import Spectrum, rjsd_from

pytestmark = pytest.mark.statistical

WINDOW = 64


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.0))


def noisy(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float64)
    noise = np.random.default_rng(11).normal(0, 8, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


def faded(image: Image.Image) -> Image.Image:
    return image.point([round(128 + (level - 128) * 0.5) for level in range(256)] * 3)


def recompressed(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=20)
    return Image.open(out)


def darker(image: Image.Image) -> Image.Image:
    return image.point([round(level * 0.7) for level in range(256)] * 3)


CORRUPTIONS = [blurred, noisy, faded, recompressed, darker]


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[Image.Image]:
    files = sorted((shared_data / "photos").iterdir())
    chosen = np.random.default_rng(1).permutation(len(files))
    return [Image.open(files[i]).convert("RGB") for i in chosen]


def embedded(images: list[Image.Image]) -> Tensor:
    decoded = []
    for image in images:
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        decoded.append(decode_image(out.getvalue(), ImageLimits()))
    return BuiltinImageEncoder().encode(decoded)


@pytest.fixture(scope="module")
def reference(photos: list[Image.Image]) -> Spectrum:
    return Spectrum.of_rows(embedded(photos[:200]))


def window_values(reference: Spectrum, z: Tensor, count: int) -> list[float]:
    rng = np.random.default_rng(2)
    draws = [rng.choice(len(z), WINDOW, replace=False) for _ in range(count)]
    return [rjsd_from(reference, Spectrum.of_rows(z[torch.from_numpy(d)])) for d in draws]


@pytest.fixture(scope="module")
def null(reference: Spectrum, photos: list[Image.Image]) -> list[float]:
    return window_values(reference, embedded(photos[200:]), 30)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda f: f.__name__)
def test_windows_of_corrupted_photographs_lie_above_all_clean_ones(
    corruption: Callable[[Image.Image], Image.Image],
    photos: list[Image.Image],
    reference: Spectrum,
    null: list[float],
) -> None:
    drifted = window_values(reference, embedded([corruption(p) for p in photos[200:]]), 10)
    # Without an effect all orders are alike: once in 10^8 for 10 draws above 30.
    assert min(drifted) > max(null)


@pytest.mark.parametrize("change", ["KeyboardAug_3", "sr_4", "German", "Chinese"])
def test_changed_prompts_lie_further_off_than_the_same_ones_unchanged(
    shared_data: Path, change: str
) -> None:
    encoder = BuiltinTextEncoder()

    def prompts(infix: str) -> Tensor:
        name = f"llava_bench_coco_{infix}llava-v1.5-13b.jsonl"
        lines = (shared_data / "llava_bench" / "responses" / name).read_text().splitlines()
        return encoder.encode([json.loads(line)["prompt"] for line in lines])

    clean, changed = prompts(""), prompts(f"{change}_")
    rng = np.random.default_rng(3)
    for _ in range(30):  # without an effect all 30 would agree once in 10^9
        p, q = torch.from_numpy(rng.permutation(90)).split(45)
        spectrum = Spectrum.of_rows(clean[p])
        assert rjsd_from(spectrum, Spectrum.of_rows(changed[q])) > rjsd_from(
            spectrum, Spectrum.of_rows(clean[q])
        )
