import base64
import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monitor.encoders.containers import ImageFormat, Refusal
from monitor.encoders.images import (
    DecodedImage,
    ImageLimits,
    content_hash,
    decode_base64_image,
    decode_image,
    thumbnail_jpeg,
)
from monitor.errors import ImageRejectedError
from tests.unit.encoders import profiles
from tests.unit.encoders.conftest import KINDS, encoded, gradient
from tests.unit.encoders.mutants import STATES, bombs, interlaced, outcome, png_chunk, raw_png

LIMITS = ImageLimits()
SMALL = ImageLimits(max_pixels=100_000)


def refusal(data: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(ImageRejectedError) as caught:
        decode_image(data, limits)
    return caught.value.reason


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return decode_image(data, LIMITS).pixels


def test_every_kind_becomes_read_only_rgb_of_its_size(valid_file: bytes) -> None:
    image = decode_image(valid_file, LIMITS)
    assert (image.pixels.shape, image.pixels.dtype) == ((24, 40, 3), np.uint8)
    assert (image.width, image.height, image.pixels.flags.writeable) == (40, 24, False)


def few_colours() -> Image.Image:
    """An image that a palette can hold."""
    levels = np.asarray(gradient()) // 86 * 86
    return Image.fromarray(levels.astype(np.uint8))


def in_palette(image: Image.Image) -> Image.Image:
    return image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)


def turned(image: Image.Image) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=tags.tobytes())


SAME_COLOURS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda i: encoded(i, "PNG"),
    "png alpha": lambda i: encoded(i.convert("RGBA"), "PNG"),
    "png 16 bit": lambda i: raw_png(
        i.size,
        16,
        2,
        b"".join(
            b"\0" + np.repeat(row, 2, axis=0).tobytes()
            for row in np.asarray(i).reshape(i.height, -1)
        ),
    ),
    "png interlaced": interlaced,
    "png animated": lambda i: encoded(i, "PNG", save_all=True, append_images=[i.rotate(180)]),
    "png turned": turned,
    "png tagged srgb": lambda i: encoded(i, "PNG", icc_profile=profiles.srgb()),
    "png palette": lambda i: encoded(in_palette(i), "PNG"),
    "gif": lambda i: encoded(in_palette(i), "GIF"),
    "gif animated": lambda i: encoded(
        in_palette(i), "GIF", save_all=True, append_images=[in_palette(i.rotate(180))]
    ),
    "webp": lambda i: encoded(i, "WEBP", lossless=True),
    "webp alpha": lambda i: encoded(i.convert("RGBA"), "WEBP", lossless=True, exact=True),
    "webp animated": lambda i: encoded(
        i, "WEBP", lossless=True, save_all=True, append_images=[i.rotate(180)]
    ),
}


@pytest.mark.parametrize("kind", SAME_COLOURS)
def test_the_same_pixels_come_out_of_every_lossless_container(kind: str) -> None:
    image = few_colours()
    np.testing.assert_array_equal(pixels(SAME_COLOURS[kind](image)), np.asarray(image))


def grey_16_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image, np.uint16) * 257)


SAME_GREYS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda i: encoded(i, "PNG"),
    "png colour": lambda i: encoded(i.convert("RGB"), "PNG"),
    "png alpha": lambda i: encoded(i.convert("LA"), "PNG"),
    "png 16 bit": lambda i: encoded(grey_16_bit(i), "PNG"),
    "png one bit": lambda i: encoded(i.convert("1", dither=Image.Dither.NONE), "PNG"),
    "png palette": lambda i: encoded(i.convert("P"), "PNG"),
    "gif": lambda i: encoded(i, "GIF"),
    "webp": lambda i: encoded(i, "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", SAME_GREYS)
def test_the_same_greys_come_out_of_every_lossless_container(kind: str) -> None:
    grey = gradient().convert("L").point([0] * 128 + [255] * 128)
    found = pixels(SAME_GREYS[kind](grey))
    np.testing.assert_array_equal(found, np.asarray(grey.convert("RGB")))


def cut_out(image: Image.Image) -> Image.Image:
    """With transparent pixels all around."""
    hole = Image.new("L", image.size, 0)
    hole.paste(255, (9, 5, 31, 17))
    layer = image.convert("RGBA")
    layer.putalpha(hole)
    return layer


def gif_of_part(image: Image.Image) -> bytes:
    """A frame that leaves most of the canvas open."""
    data = bytearray(encoded(in_palette(image.crop((9, 5, 31, 17))), "GIF"))
    frame = data.index(b"\x2c" + bytes(4))
    data[6:10] = struct.pack("<HH", *image.size)
    data[frame + 1 : frame + 5] = struct.pack("<HH", 9, 5)
    return bytes(data)


SAME_CUT_OUTS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda i: encoded(cut_out(i), "PNG"),
    "png on white": lambda i: encoded(on_white(i), "PNG"),
    "webp": lambda i: encoded(cut_out(i), "WEBP", lossless=True),
    "webp of a part": lambda i: encoded(
        cut_out(i), "WEBP", lossless=True, save_all=True, append_images=[i.convert("RGBA")]
    ),
    "gif": lambda i: encoded(cut_out(i), "GIF"),
    "gif of a part": gif_of_part,
}


def on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image.crop((9, 5, 31, 17)), (9, 5))
    return ground


@pytest.mark.parametrize("kind", SAME_CUT_OUTS)
def test_what_is_transparent_is_white_in_every_container(kind: str) -> None:
    image = few_colours()
    np.testing.assert_array_equal(pixels(SAME_CUT_OUTS[kind](image)), np.asarray(on_white(image)))


@pytest.mark.parametrize("kind", ["gif", "gif animated", "png palette"])
def test_a_palette_image_shows_its_palette_colours(kind: str) -> None:
    difference = np.abs(pixels(KINDS[kind]()).astype(int) - np.asarray(gradient()))
    assert np.median(difference) < 16


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "jpeg restarts", "webp", "jpeg cmyk"])
def test_a_lossy_container_stays_near_the_pixels(kind: str) -> None:
    difference = np.abs(pixels(KINDS[kind]()).astype(int) - np.asarray(gradient()))
    assert np.median(difference) < 8


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    expected = np.arange(960).reshape(24, 40) * 60 // 256
    np.testing.assert_array_equal(pixels(KINDS["png 16 bit"]())[..., 0], expected)


def test_transparent_pixels_show_the_background_and_not_what_they_hide() -> None:
    hidden = Image.new("RGBA", (8, 8), (200, 10, 10, 0))
    assert (pixels(encoded(hidden, "PNG")) == 255).all()


def test_a_transparent_palette_entry_shows_the_background() -> None:
    flat = Image.new("P", (8, 8), 5)
    flat.putpalette(list(range(256)) * 3)
    assert (pixels(encoded(flat, "PNG", transparency=5)) == 255).all()


@pytest.mark.parametrize(
    ("depth", "colour", "clear", "row", "expected"),
    [
        (1, 0, [1], b"\x40", [0, 255]),
        (2, 0, [1], b"\x40", [255, 0]),
        (2, 0, [3], b"\x40", [85, 0]),
        (4, 0, [4], b"\x40", [255, 0]),
        (8, 0, [64], b"\x40\x41", [255, 65]),
        (16, 0, [0x4041], b"\x40\x41\x40\x40", [255, 64]),
        (8, 2, [1, 2, 3], b"\1\2\3\x40\x40\x40", [255, 64]),
        (16, 2, [0x0102, 0x0304, 0x0506], bytes([1, 2, 3, 4, 5, 6] + [2, 2] * 3), [255, 2]),
    ],
)
def test_a_named_transparent_colour_is_found_at_every_depth(
    depth: int, colour: int, clear: list[int], row: bytes, expected: list[int]
) -> None:
    named = png_chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    found = pixels(raw_png((2, 1), depth, colour, b"\0" + row, before=named))
    assert found[0, :, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_colour_profile_is_applied_in_every_container_that_has_one(kind: str) -> None:
    red = Image.new("RGB", (64, 64), (220, 20, 20))
    found = pixels(encoded(red, kind, quality=100, icc_profile=profiles.red_is_blue()))
    assert found[32, 32].tolist() == pytest.approx([20, 20, 220], abs=6)


def test_a_profile_in_several_parts_is_applied() -> None:
    profile = profiles.red_is_blue() + bytes(100_000)
    found = pixels(encoded(Image.new("RGB", (64, 64), "red"), "JPEG", icc_profile=profile))
    assert found[32, 32].tolist() == pytest.approx([0, 0, 255], abs=6)


def test_a_broken_profile_leaves_the_picture() -> None:
    data = encoded(gradient(), "PNG", icc_profile=profiles.red_is_blue()[:300])
    np.testing.assert_array_equal(pixels(data), np.asarray(gradient()))


# Adobe inverts inks in the file. The second are those of red as luminance and chrominance.
@pytest.mark.parametrize(("transform", "inks"), [(0, (0, 255, 255, 0)), (2, (76, 84, 255, 0))])
def test_inks_are_read_as_adobe_writes_them(transform: int, inks: tuple[int, ...]) -> None:
    data = bytearray(encoded(Image.new("CMYK", (64, 64), inks), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = transform
    assert pixels(bytes(data))[32, 32].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_the_first_of_several_pictures_in_a_jpeg_is_shown() -> None:
    other = Image.new("RGB", (30, 30), "red")
    data = encoded(Image.new("RGB", (40, 24), "blue"), "MPO", save_all=True, append_images=[other])
    assert pixels(data)[12, 20].tolist() == pytest.approx([0, 0, 255], abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_shown_upright(orientation: int) -> None:
    # The inverse of each turn, so that the right turn restores the picture.
    stored = gradient()
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    if orientation in inverse:
        stored = stored.transpose(Image.Transpose(inverse[orientation]))
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = decode_image(encoded(stored, "PNG", exif=tags.tobytes()), LIMITS)
    np.testing.assert_array_equal(image.pixels, np.asarray(gradient()))
    assert (image.width, image.height) == (40, 24)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_large_image_is_scaled_to_the_longest_side(kind: str) -> None:
    image = decode_image(encoded(gradient(1600, 800), kind), ImageLimits(longest_side=100))
    assert image.pixels.shape == (50, 100, 3)
    assert (image.width, image.height) == (1600, 800)


def test_a_jpeg_decoded_at_reduced_scale_looks_like_its_full_decoding() -> None:
    data = encoded(gradient(1600, 800), "JPEG", quality=95)
    reduced = decode_image(data, ImageLimits(longest_side=100)).pixels.astype(int)
    with Image.open(io.BytesIO(data)) as full:
        expected = np.asarray(full.resize((100, 50), Image.Resampling.BOX)).astype(int)
    assert np.abs(reduced - expected)[2:-2, 2:-2, :2].max() <= 4


def test_a_strip_one_pixel_high_survives_scaling() -> None:
    assert pixels(encoded(Image.new("RGB", (5000, 1)), "PNG")).shape == (1, 512, 3)


def test_the_hash_is_of_the_encoded_file() -> None:
    data = KINDS["png"]()
    assert decode_image(data, LIMITS).content_hash == content_hash(data) != content_hash(data[:-1])


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_a_bomb_is_refused_before_a_decoder_sees_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Image, "open")
    assert refusal(bombs()[f"{kind} of a giant size"][0]) == Refusal.TOO_MANY_PIXELS


def test_too_many_bytes_are_refused_unread() -> None:
    assert refusal(b"?" * 11, ImageLimits(max_bytes=10)) == Refusal.TOO_MANY_BYTES


def test_a_pixel_cap_that_pillow_would_warn_about_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="at most 80000000"):
        ImageLimits(max_pixels=10**9)


def test_an_image_of_no_height_is_broken() -> None:
    data = bytearray(KINDS["png"]())
    data[20:24] = bytes(4)
    assert refusal(bytes(data)) == Refusal.BROKEN


def test_a_wrong_checksum_of_the_pixels_is_broken() -> None:
    data = bytearray(KINDS["png"]())
    data[data.index(b"IDAT") + 10] ^= 1
    assert refusal(bytes(data)) == Refusal.BROKEN


def test_a_png_whose_pixels_end_early_is_truncated() -> None:
    data = KINDS["png"]()
    start = data.index(b"IDAT") - 4
    assert refusal(data[:start] + data[-12:]) in {Refusal.TRUNCATED, Refusal.BROKEN}


def test_threads_may_decode_side_by_side(valid_file: bytes) -> None:
    expected = pixels(valid_file)
    with ThreadPoolExecutor(4) as pool:
        assert all((p == expected).all() for p in pool.map(pixels, [valid_file] * 40))


FILES = {name: build() for name, build in KINDS.items()}


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damage_of_any_kind_ends_in_pixels_or_a_named_refusal(data: st.DataObject) -> None:
    mutated = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)))
    doubled = data.draw(st.integers(0, 64))
    assert outcome(bytes(mutated[:cut] + mutated[max(0, cut - doubled) :]), SMALL) in STATES


@pytest.mark.parametrize("name", FILES)
def test_no_single_wrong_byte_in_the_head_of_a_file_does_harm(name: str) -> None:
    original = FILES[name]
    rng = np.random.default_rng(7)
    for at in range(min(len(original), 160)):
        mutated = bytearray(original)
        mutated[at] ^= int(rng.integers(1, 256))
        assert outcome(bytes(mutated), SMALL) in STATES


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]),
)
def test_noise_behind_any_signature_is_refused(noise: bytes, signature: bytes) -> None:
    assert outcome(signature + noise, SMALL) in Refusal


def test_a_refusal_carries_no_content() -> None:
    with pytest.raises(ImageRejectedError) as caught:
        decode_image(b"a stranger's words", LIMITS)
    assert "stranger" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(FILES["png"]),
        base64.b64encode(FILES["png"]).decode(),
        base64.b64encode(FILES["png"]).rstrip(b"="),
        base64.urlsafe_b64encode(FILES["png"]),
        base64.encodebytes(FILES["png"]),
        "data:image/png;base64," + base64.b64encode(FILES["png"]).decode(),
        "DATA:image/jpeg;charset=x;base64,\r\n" + base64.b64encode(FILES["png"]).decode(),
        "data:;base64," + base64.b64encode(FILES["png"]).decode(),
    ],
)
def test_base64_in_every_usual_dress_gives_the_file(text: str | bytes) -> None:
    assert decode_base64_image(text, LIMITS) == FILES["png"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "====",
        "data:image/png;base64,",
        "data:image/png,%89PNG",
        "a",
        "QUJD*",
        "QUJDdata:image/png;base64,QUJD",
        "QU=JD",
        "猫",
        "[base64_data truncated: 192.4KB]",
        "__REDACTED__!",
    ],
)
def test_anything_else_is_not_base64_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ImageRejectedError) as caught:
        decode_base64_image(text, LIMITS)
    assert caught.value.reason == Refusal.NOT_BASE64
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("run", [" ", "data:", "data:;", "\n"])
def test_no_run_of_anything_takes_long_to_refuse(run: str) -> None:
    # With work that grows with the square of the length this would not end today.
    with pytest.raises(ImageRejectedError) as caught:
        decode_base64_image(run * (5_000_000 // len(run)), LIMITS)
    assert caught.value.reason == Refusal.NOT_BASE64


def test_the_size_of_base64_is_checked_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(base64, "b64decode")
    with pytest.raises(ImageRejectedError) as caught:
        decode_base64_image("A" * 10_000, ImageLimits(max_bytes=1000))
    assert caught.value.reason == Refusal.TOO_MANY_BYTES


def test_base64_may_hold_as_many_bytes_as_a_file() -> None:
    text = base64.b64encode(bytes(1000))
    assert decode_base64_image(text, ImageLimits(max_bytes=1000)) == bytes(1000)


def test_base64_of_one_byte_more_than_a_file_is_refused() -> None:
    with pytest.raises(ImageRejectedError) as caught:
        decode_base64_image(base64.b64encode(bytes(1001)), ImageLimits(max_bytes=1000))
    assert caught.value.reason == Refusal.TOO_MANY_BYTES


def test_a_thumbnail_is_a_small_jpeg_of_the_same_picture() -> None:
    image = decode_image(encoded(gradient(400, 200), "PNG"), LIMITS)
    thumbnail = decode_image(thumbnail_jpeg(image, 64), LIMITS)
    assert (thumbnail.format, thumbnail.pixels.shape) == (ImageFormat.JPEG, (32, 64, 3))
    assert np.abs(thumbnail.pixels.mean((0, 1)) - image.pixels.mean((0, 1))).max() < 3


def test_a_thumbnail_never_grows() -> None:
    image = DecodedImage(np.zeros((5, 9, 3), np.uint8), 9, 5, ImageFormat.PNG, "")
    assert decode_image(thumbnail_jpeg(image, 64), LIMITS).pixels.shape == (5, 9, 3)
