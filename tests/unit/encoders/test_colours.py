import numpy as np
import pytest
from PIL import Image

from monitor.encoders import colours
from monitor.encoders.colours import shrunk, to_srgb
from tests.unit.encoders import profiles
from tests.unit.encoders.conftest import gradient


def whole(image: Image.Image) -> tuple[int, int, int, int]:
    return 0, 0, *image.size


def seen(image: Image.Image, profile: bytes) -> tuple[int, ...]:
    """The one colour of an image after its profile."""
    return tuple(np.asarray(to_srgb(image, profile))[0, 0].tolist())


def test_a_profile_says_what_the_values_mean() -> None:
    image = Image.new("RGB", (4, 4), (200, 30, 10))
    assert seen(image, profiles.red_is_blue()) == pytest.approx((10, 30, 200), abs=2)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_profile_applies_to_grey_pixels_in_any_mode(mode: str) -> None:
    # sRGB's curve at 55 / 255 of the light.
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)
    image = Image.new("L", (4, 4), 55).convert(mode)
    assert seen(image, profiles.linear_grey()) == pytest.approx((expected,) * 3, abs=2)


def test_a_colour_profile_applies_to_a_grey_image() -> None:
    image = Image.new("L", (4, 4), 90)
    assert seen(image, profiles.red_is_blue()) == pytest.approx((90, 90, 90), abs=2)


@pytest.mark.parametrize(("inks", "level"), [((255, 255, 0, 0), 255), ((0, 0, 0, 255), 0)])
def test_a_profile_of_inks_says_what_they_look_like(inks: tuple[int, ...], level: int) -> None:
    image = Image.new("CMYK", (4, 4), inks)
    assert seen(image, profiles.only_black_ink()) == pytest.approx((level,) * 3, abs=2)


def test_pixels_tagged_as_srgb_stay_what_they_are() -> None:
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    np.testing.assert_array_equal(np.asarray(to_srgb(image, profiles.srgb())), np.asarray(image))


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"no profile",
        profiles.red_is_blue()[:200],
        profiles.red_is_blue()[:128] + b"\xff" * 400,
        profiles.only_black_ink(),
    ],
    ids=["none", "words", "cut", "no tags", "of inks"],
)
def test_a_profile_that_cannot_be_used_is_ignored(profile: bytes) -> None:
    assert seen(Image.new("RGB", (4, 4), (200, 30, 10)), profile) == (200, 30, 10)


def test_a_colour_profile_on_inks_is_ignored() -> None:
    assert seen(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), profiles.srgb()) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(300, 200), (200, 301), (7, 900)])
def test_working_in_bands_changes_no_pixel(
    mode: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.new(mode, size)
    pixels = np.random.default_rng(3).integers(0, 256, len(image.tobytes()), dtype=np.uint8)
    image.frombytes(pixels.tobytes())
    at_once = np.asarray(shrunk(image, 64, whole(image)))
    monkeypatch.setattr(colours, "_BAND_PIXELS", 2_000)
    np.testing.assert_array_equal(np.asarray(shrunk(image, 64, whole(image))), at_once)


def test_scaling_down_agrees_with_one_careful_step() -> None:
    image = gradient(1600, 800)
    expected = np.asarray(image.resize((100, 50), Image.Resampling.BICUBIC), np.int16)
    difference = np.abs(np.asarray(shrunk(image, 100, whole(image)), np.int16) - expected)
    # The third channel wraps from 255 to 0, and any two filters differ there.
    assert difference[..., :2].max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (513, 512), (512, 512)])
def test_no_side_is_lost_or_too_long(size: tuple[int, int]) -> None:
    small = shrunk(Image.new("RGB", size), 512, (0, 0, *size))
    assert 1 <= min(small.size) <= max(small.size) <= 512


@pytest.mark.parametrize("shown", [(2, 3, 6, 5), (0, 0, 4, 8), (0, 6, 8, 8)])
def test_what_is_not_shown_is_ground(
    shown: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colours, "_BAND_PIXELS", 16)
    expected = Image.new("L", (8, 8), 255)
    expected.paste(0, shown)
    found = shrunk(Image.new("L", (8, 8), 0), 8, shown)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_a_half_transparent_pixel_is_mixed_with_white() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 51))
    small = shrunk(image, 8, whole(image))
    assert small.getpixel((0, 0)) == (255, 204, 204)
