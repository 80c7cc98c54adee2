import base64
import io
import struct
import warnings
import zlib
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
from tests.unit.encoders.conftest import KINDS, encoded, gradient

LIMITS = ImageLimits()


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


@pytest.mark.parametrize("kind", ["png", "png alpha", "png animated", "webp lossless"])
def test_the_same_pixels_come_out_of_every_lossless_container(kind: str) -> None:
    np.testing.assert_array_equal(pixels(KINDS[kind]()), np.asarray(gradient()))


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


def bombs() -> dict[str, bytes]:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    jpeg = bytearray(KINDS["jpeg"]())
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    gif = bytearray(KINDS["gif"]())
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    canvas = struct.pack("<IHBHB", 0, 0xFFFF, 0, 0xFFFF, 0)
    return {
        "png": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b""),
        "jpeg": bytes(jpeg),
        "gif": bytes(gif),
        "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + canvas,
    }


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_a_bomb_is_refused_before_a_decoder_sees_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Image, "open")
    assert refusal(bombs()[kind]) == Refusal.TOO_MANY_PIXELS


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


def outcome(data: bytes) -> str:
    """What came of it; any other exception, and any warning, fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decode_image(data, ImageLimits(max_pixels=100_000))
        except ImageRejectedError as exc:
            return Refusal(exc.reason)
    return "decoded"


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
    assert outcome(bytes(mutated[:cut] + mutated[max(0, cut - doubled) :]))


@pytest.mark.parametrize("name", FILES)
def test_no_single_wrong_byte_in_the_head_of_a_file_does_harm(name: str) -> None:
    original = FILES[name]
    rng = np.random.default_rng(7)
    for at in range(min(len(original), 160)):
        mutated = bytearray(original)
        mutated[at] ^= int(rng.integers(1, 256))
        assert outcome(bytes(mutated))


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]),
)
def test_noise_behind_any_signature_is_refused(noise: bytes, signature: bytes) -> None:
    assert outcome(signature + noise) != "decoded"


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
