import struct

import numpy as np
import pytest
from PIL import Image

from monitor.encoders import vp8l
from monitor.encoders.containers import Refusal, open_container
from monitor.encoders.vp8l import TooComplexError, check_lossless
from monitor.errors import ImageRejectedError
from tests.unit.encoders.conftest import encoded, gradient
from tests.unit.encoders.mutants import grouped_webp

LOSSLESS_START = 8 * 25  # bits of a file before its transforms


def check(webp: bytes) -> None:
    (sides,) = struct.unpack_from("<I", webp, 21)
    check_lossless(webp, LOSSLESS_START, 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF))


def pictures() -> dict[str, Image.Image]:
    noise = np.random.default_rng(5).integers(0, 256, (90, 130, 4), np.uint8)
    return {
        "gradient": gradient(300, 200),
        "noise": Image.fromarray(noise),
        "one colour": Image.new("RGB", (50, 3), "red"),
        "two colours": gradient(90, 70).quantize(2).convert("RGB"),
        "twelve colours": gradient(90, 70).quantize(12).convert("RGB"),
        "one pixel": Image.new("RGB", (1, 1)),
    }


@pytest.mark.parametrize("method", [0, 3, 6])
@pytest.mark.parametrize("quality", [0, 100])
@pytest.mark.parametrize("name", pictures())
def test_no_file_of_the_usual_encoder_is_refused(name: str, method: int, quality: int) -> None:
    image = pictures()[name]
    check(encoded(image, "WEBP", lossless=True, exact=True, method=method, quality=quality))


@pytest.mark.parametrize("groups", [1, 2, 200])
def test_groups_are_counted_to_the_last(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vp8l, "GROUPS_MAX", groups)
    check(grouped_webp(64, groups))
    monkeypatch.setattr(vp8l, "GROUPS_MAX", groups - 1)
    with pytest.raises(TooComplexError):
        check(grouped_webp(64, groups))


def test_cells_are_counted_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vp8l, "CELLS_MAX", 255)
    with pytest.raises(TooComplexError, match="cells"):
        check(grouped_webp(64, 1))


def test_transparency_is_held_to_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    image = gradient(300, 200)
    image.putalpha(image.convert("L"))
    data = encoded(image, "WEBP", quality=50)
    assert b"ALPH" in data
    open_container(data)
    monkeypatch.setattr(vp8l, "CELLS_MAX", 0)
    with pytest.raises(ImageRejectedError) as caught:
        open_container(data)
    assert caught.value.reason == Refusal.TOO_COMPLEX


def test_the_first_frame_of_an_animation_is_held_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [gradient(300, 200), gradient(300, 200).rotate(180)]
    data = encoded(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:])
    assert b"ANMF" in data
    open_container(data)
    monkeypatch.setattr(vp8l, "CELLS_MAX", 0)
    with pytest.raises(ImageRejectedError) as caught:
        open_container(data)
    assert caught.value.reason == Refusal.TOO_COMPLEX


@pytest.mark.parametrize(
    "head",
    [0b0011_0011, 0b0111_0111, 0b0000_0000_1100],
    ids=["a transform twice", "a palette of no code", "no code for groups"],
)
def test_a_broken_head_is_said_to_be_broken(head: int) -> None:
    with pytest.raises(ValueError, match=r"twice|code|cache|lengths"):
        check_lossless(head.to_bytes(40, "little"), 0, 64, 64)
