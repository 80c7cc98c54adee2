import io
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from monitor.encoders import containers
from monitor.encoders.containers import Refusal, open_container
from monitor.errors import ImageRejectedError
from tests.unit.encoders.conftest import encoded, gradient


def refusal(data: bytes) -> str:
    with pytest.raises(ImageRejectedError) as caught:
        open_container(data)
    return caught.value.reason


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, png_chunk(b"IEND", b"")])


def gif(*blocks: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b"".join(blocks)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def test_size_agrees_with_pillow_on_every_kind(valid_file: bytes) -> None:
    container = open_container(valid_file)
    with Image.open(io.BytesIO(valid_file)) as image:
        assert (container.width, container.height) == image.size


def test_first_frame_decodes_to_the_same_pixels_as_the_whole_file(valid_file: bytes) -> None:
    essence = open_container(valid_file).essence
    with Image.open(io.BytesIO(valid_file)) as whole, Image.open(io.BytesIO(essence)) as kept:
        assert kept.convert("RGBA").tobytes() == whole.convert("RGBA").tobytes()


def test_a_file_is_its_own_essence_only_once_reduced(valid_file: bytes) -> None:
    essence = open_container(valid_file).essence
    assert open_container(essence).essence == essence


def test_only_one_frame_is_left(valid_file: bytes) -> None:
    with Image.open(io.BytesIO(open_container(valid_file).essence)) as kept:
        assert getattr(kept, "n_frames", 1) == 1


def secret_text() -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", "a stranger's words")
    return info


@pytest.mark.parametrize(
    "data",
    [
        encoded(gradient(), "PNG", pnginfo=secret_text()),
        encoded(gradient(), "JPEG", comment="a stranger's words"),
        encoded(gradient(), "GIF", comment="a stranger's words"),
        encoded(gradient(), "WEBP", xmp=b"a stranger's words"),
        encoded(gradient(), "JPEG", icc_profile=b"a stranger's words"),
        encoded(gradient(), "PNG") + b"a stranger's words",
        encoded(gradient(), "JPEG") + b"a stranger's words",
    ],
)
def test_nothing_but_pixels_is_handed_on(data: bytes) -> None:
    assert b"stranger" not in open_container(data).essence


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_from_exif(kind: str, orientation: int) -> None:
    data = encoded(gradient(), kind, exif=exif(orientation))
    assert open_container(data).orientation == orientation


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
    ],
)
def test_an_unreadable_orientation_is_upright(block: bytes) -> None:
    assert open_container(png(4, 4, png_chunk(b"eXIf", block))).orientation == 1


@pytest.mark.parametrize(
    "data", [b"", b"GIF", b"hello", b"\x89PNG\r\n", b"RIFF\0\0\0\0WAVE", b"\xff\xd8"]
)
def test_bytes_without_an_image_signature_are_not_an_image(data: bytes) -> None:
    assert refusal(data) == Refusal.NOT_AN_IMAGE


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "PDF", "AVIF", "JPEG2000"])
def test_other_formats_are_named_as_such(kind: str) -> None:
    assert refusal(encoded(gradient(), kind)) == Refusal.UNSUPPORTED_FORMAT


def test_a_vector_graphic_is_an_unsupported_format() -> None:
    assert refusal(b'\n<svg xmlns="http://www.w3.org/2000/svg"/>') == Refusal.UNSUPPORTED_FORMAT


def test_every_shorter_beginning_of_a_file_is_refused(valid_file: bytes) -> None:
    essence = open_container(valid_file).essence
    # The last byte of a GIF only says that it ends; a WebP may be padded by one.
    reasons = {refusal(essence[:cut]) for cut in range(len(essence) - 1)} - {Refusal.NOT_AN_IMAGE}
    assert reasons <= {Refusal.TRUNCATED, Refusal.BROKEN}


@pytest.mark.parametrize(
    "data",
    [
        png(4, 4, png_chunk(b"tEXt", b"") * 20_000),
        b"\xff\xd8" + b"\xff\xe1\0\2" * 20_000,
        gif(b"\x21\xfe" + b"\x01a" * 300_000 + b"\0"),
        b"RIFF" + struct.pack("<I", 160_004) + b"WEBP" + b"JUNK\0\0\0\0" * 20_000,
    ],
    ids=["png", "jpeg", "gif", "webp"],
)
def test_a_flood_of_parts_is_too_complex(data: bytes) -> None:
    assert refusal(data) == Refusal.TOO_COMPLEX


def test_a_jpeg_of_endless_scans_is_too_complex() -> None:
    data = encoded(gradient(), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    assert refusal(data[:-2] + last_scan * containers.SCANS_MAX + b"\xff\xd9") == (
        Refusal.TOO_COMPLEX
    )


@pytest.mark.parametrize("frame", range(0xC3, 0xD0))
def test_only_baseline_and_progressive_jpegs_are_decoded(frame: int) -> None:
    data = bytearray(encoded(gradient(), "JPEG"))
    data[data.index(b"\xff\xc0") + 1] = frame
    # C4, C8 and CC are no frames but tables and a reserved marker.
    expected = Refusal.BROKEN if frame in {0xC4, 0xC8, 0xCC} else Refusal.UNSUPPORTED_FORMAT
    assert refusal(bytes(data)) == expected


def test_only_the_first_orientation_and_profile_of_a_png_are_read() -> None:
    blocks = [png_chunk(b"eXIf", exif(turn)[6:]) for turn in (3, 6)]
    tags = [png_chunk(b"iCCP", b"name\0\0" + zlib.compress(text)) for text in (b"one", b"two")]
    container = open_container(png(4, 4, *blocks, *tags))
    assert (container.orientation, container.profile) == (3, b"one")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [300, 100_000])
def test_the_colour_profile_is_kept_apart(kind: str, size: int) -> None:
    profile = bytes(range(250)) * (size // 250)
    container = open_container(encoded(gradient(), kind, icc_profile=profile))
    assert container.profile == profile
    assert profile[:250] not in container.essence


def test_two_headers_in_one_png_are_broken() -> None:
    other = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9999, 9999, 8, 0, 0, 0, 0))
    assert refusal(png(4, 4, other)) == Refusal.BROKEN


def test_a_jpeg_with_two_frame_headers_is_broken() -> None:
    data = encoded(gradient(), "JPEG")
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 19]
    assert refusal(data[:at] + frame + data[at:]) == Refusal.BROKEN


def test_a_gif_without_a_frame_is_broken() -> None:
    assert refusal(gif(b";")) == Refusal.BROKEN


def test_a_gif_frame_that_sticks_out_counts_towards_the_size() -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 60_000, 0, 5_000, 9, 0) + b"\x02\x01a\0"
    container = open_container(gif(frame))
    assert (container.width, container.height) == (65_000, 9)
