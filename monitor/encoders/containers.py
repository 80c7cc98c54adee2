"""Image files reduced to the parts that hold pixels, before any decoder sees them.

Every file comes from a stranger. Walking its structure here, in bounded work, tells the dimensions
before a pixel is allocated, and drops what decoders have so often stumbled over: text, EXIF,
thumbnails, later frames, trailing data. Orientation and colour profile are read and kept apart.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from monitor.encoders.metadata import (
    exif_orientation,
    jpeg_profile,
    png_profile,
    webp_profile,
)
from monitor.encoders.vp8l import TooComplexError, check_lossless
from monitor.errors import ImageRejectedError

PARTS_MAX = 16_384  # chunks or segments of one file
SCANS_MAX = 24  # of a JPEG, twice what encoders make; each passes over all pixels
SUB_BLOCKS_MAX = 262_144  # of a GIF, up to the end of its first frame


class Refusal(StrEnum):
    """Why an image is not embedded."""

    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_COMPLEX = "too_complex"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    NOT_BASE64 = "not_base64"
    OUTSIDE_ROOT = "outside_root"
    NOT_A_FILE = "not_a_file"
    UNREADABLE = "unreadable"
    ABSENT = "absent"


class ImageFormat(StrEnum):
    """The formats that are decoded."""

    PNG = "png"
    JPEG = "jpeg"
    GIF = "gif"
    WEBP = "webp"


@dataclass(frozen=True, slots=True)
class Container:
    """``essence`` is the file without anything but the pixels of its first frame.

    ``orientation`` is the EXIF value, 1 to 8; ``shown`` the part that the frame covers.
    """

    format: ImageFormat
    width: int
    height: int
    essence: bytes
    orientation: int = 1
    profile: bytes = b""
    shown: tuple[int, int, int, int] | None = None


def open_container(data: bytes) -> Container:
    """Walk the file; decodes no pixel.

    Raises:
        ImageRejectedError: with a `Refusal` as its reason.
    """
    for magic, walk in _WALKS:
        if magic.match(data):
            try:
                return walk(data)
            except (struct.error, IndexError) as exc:
                raise _refused(Refusal.TRUNCATED, "the file ends within its structure") from exc
    if _FOREIGN.match(data):
        raise _refused(Refusal.UNSUPPORTED_FORMAT, "only png, jpeg, gif and webp are decoded")
    raise _refused(Refusal.NOT_AN_IMAGE, "no known image format starts like this")


def _png(data: bytes) -> Container:
    view = memoryview(data)
    size: tuple[int, int] | None = None
    exif: bytes | None = None
    profile: bytes | None = None
    clear_scale: float | None = None
    kept: list[bytes | memoryview] = [view[:8]]
    for kind, start, end in _png_chunks(data):
        if kind == b"IHDR":
            if size is not None:
                raise _refused(Refusal.BROKEN, "two headers")
            width, height, depth, colours = struct.unpack_from(">IIBB", data, start + 8)
            size, clear_scale = (width, height), _PNG_CLEAR_SCALE.get((depth, colours))
        elif kind == b"eXIf" and exif is None:
            exif = data[start + 8 : end - 4]
        elif kind == b"iCCP" and profile is None:
            profile = png_profile(data[start + 8 : end - 4])
        if kind == b"tRNS" and clear_scale is not None:
            kept.append(_png_clear(data[start + 8 : end - 4], clear_scale))
        elif kind in _PNG_KEPT:
            kept.append(view[start:end])
    if size is None:
        raise _refused(Refusal.BROKEN, "no header")
    essence, orientation = b"".join(kept), exif_orientation(exif or b"")
    return Container(ImageFormat.PNG, *size, essence, orientation, profile or b"")


def _png_clear(values: bytes, scale: float) -> bytes:
    # Pillow compares the named colour, in the bits of the file, with pixels brought to eight bits.
    count = min(len(values) // 2, 3)
    scaled = (int(value * scale) & 0xFFFF for value in struct.unpack_from(f">{count}H", values))
    body = b"tRNS" + struct.pack(f">{count}H", *scaled)
    return struct.pack(">I", 2 * count) + body + struct.pack(">I", zlib.crc32(body))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 8
    for _ in range(PARTS_MAX):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            raise _refused(Refusal.TRUNCATED, "a chunk goes past the end")
        kind = data[at + 4 : at + 8]
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise _refused(Refusal.TOO_COMPLEX, f"more than {PARTS_MAX} chunks")


def _jpeg(data: bytes) -> Container:
    view = memoryview(data)
    size: tuple[int, int] | None = None
    exif: bytes | None = None
    scans, profile_parts = 0, 0
    profile: dict[int, bytes] = {}
    kept = [view[:2]]
    for marker, start, end, next_start in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            if size is not None:
                raise _refused(Refusal.BROKEN, "two frame headers")
            size = _jpeg_size(marker, data, start)
        elif marker == _JPEG_SCAN:
            scans += 1
        elif marker == _JPEG_EXIF and exif is None and data.startswith(b"Exif\0\0", start + 4):
            exif = data[start + 10 : end]
        elif marker == _JPEG_PROFILE and data.startswith(b"ICC_PROFILE\0", start + 4):
            profile_parts = data[start + 17]
            profile[data[start + 16]] = data[start + 18 : end]
        if marker in _JPEG_KEPT:
            kept.append(view[start:next_start])
    if scans > SCANS_MAX:
        raise _refused(Refusal.TOO_COMPLEX, f"more than {SCANS_MAX} scans")
    if size is None or not scans:
        raise _refused(Refusal.BROKEN, "no frame or no scan")
    essence, orientation = b"".join([*kept, b"\xff\xd9"]), exif_orientation(exif or b"")
    found = jpeg_profile(profile, profile_parts)
    return Container(ImageFormat.JPEG, *size, essence, orientation, found)


def _jpeg_size(marker: int, data: bytes, start: int) -> tuple[int, int]:
    if marker not in _JPEG_DECODED:
        detail = "only baseline and progressive jpeg with Huffman codes are decoded"
        raise _refused(Refusal.UNSUPPORTED_FORMAT, detail)
    height, width = struct.unpack_from(">HH", data, start + 5)
    return width, height


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Marker, start, end of its header and start of the next one; entropy-coded data between."""
    found = _JPEG_MARKER.search(data, 2)
    for _ in range(PARTS_MAX):
        if found is None:
            raise _refused(Refusal.TRUNCATED, "no end marker")
        start = found.start()
        marker = data[start + 1]
        if marker == _JPEG_END:
            return
        (length,) = struct.unpack_from(">H", data, start + 2)
        end = start + 2 + length
        found = _JPEG_MARKER.search(data, end)
        entropy_end = found.start() if found and marker == _JPEG_SCAN else end
        yield marker, start, end, entropy_end
    raise _refused(Refusal.TOO_COMPLEX, f"more than {PARTS_MAX} segments")


def _gif(data: bytes) -> Container:
    view = memoryview(data)
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    at = 13 + _gif_palette_bytes(packed)
    kept = [view[:at]]
    control = view[:0]
    budget = SUB_BLOCKS_MAX
    while True:
        introducer = data[at]
        if introducer == _GIF_EXTENSION:
            end, budget = _gif_sub_blocks_end(data, at + 2, budget)
            if data[at + 1] == _GIF_CONTROL:
                control = view[at:end]
        elif introducer == _GIF_IMAGE:
            left, top, w, h, packed = struct.unpack_from("<HHHHB", data, at + 1)
            end, _ = _gif_sub_blocks_end(data, at + 11 + _gif_palette_bytes(packed), budget)
            # Decoders grow the canvas to hold a first frame that sticks out of it.
            size = max(width, left + w), max(height, top + h)
            essence = b"".join([*kept, control, view[at:end], b";"])
            shown = left, top, left + w, top + h
            return Container(ImageFormat.GIF, *size, essence, shown=shown)
        else:
            raise _refused(Refusal.BROKEN, "no frame")
        at = end


def _gif_palette_bytes(packed: int) -> int:
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _gif_sub_blocks_end(data: bytes, at: int, budget: int) -> tuple[int, int]:
    while length := data[at]:
        at += 1 + length
        budget -= 1
        if not budget:
            raise _refused(Refusal.TOO_COMPLEX, f"more than {SUB_BLOCKS_MAX} sub-blocks")
    return at + 1, budget


def _webp(data: bytes) -> Container:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if riff_bytes + 8 > len(data):
        raise _refused(Refusal.TRUNCATED, "the file is shorter than its header says")
    view = memoryview(data)
    size: tuple[int, int] | None = None
    exif = profile = b""
    kept: dict[bytes, bytes | memoryview] = {}
    for kind, start, end in _webp_chunks(data, 12, riff_bytes + 8):
        if kind == b"EXIF":
            exif = exif or data[start + 8 : end].removeprefix(b"Exif\0\0")
        elif kind == b"ICCP":
            profile = profile or webp_profile(data[start + 8 : end])
        if kind not in _WEBP_KEPT or kind in kept:
            continue
        if size is None:
            size = _webp_size(kind, data, start + 8)
        kept[kind] = view[start:end]
    if size is None:
        raise _refused(Refusal.BROKEN, "no bitstream")
    if b"VP8X" in kept:
        # The flags of what was dropped: colour profile, EXIF, XMP.
        head = bytes(kept[b"VP8X"])
        kept[b"VP8X"] = head[:8] + bytes([head[8] & ~0x2C]) + head[9:]
    _check_bitstreams({kind: bytes(chunk) for kind, chunk in kept.items()})
    length = 4 + sum(map(len, kept.values()))
    essence = b"".join([b"RIFF", struct.pack("<I", length), b"WEBP", *kept.values()])
    return Container(ImageFormat.WEBP, *size, essence, exif_orientation(exif), profile)


def _webp_chunks(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(PARTS_MAX):
        if at >= stop:
            return
        (length,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        if end > len(data):
            raise _refused(Refusal.TRUNCATED, "a chunk goes past the end")
        yield data[at : at + 4], at, end
        at = end
    raise _refused(Refusal.TOO_COMPLEX, f"more than {PARTS_MAX} chunks")


def _check_bitstreams(chunks: dict[bytes, bytes]) -> None:
    """Refuse lossless bitstreams, of pixels or of transparency, that ask for too much."""
    if b"ANMF" in chunks:
        frame = chunks[b"ANMF"]
        inner = reversed(list(_webp_chunks(frame, 24, len(frame) - 1)))
        _check_bitstreams({kind: frame[a:b] for kind, a, b in inner if kind != b"ANMF"})
    try:
        if b"VP8L" in chunks:
            check_lossless(chunks[b"VP8L"], 8 * 13, *_webp_size(b"VP8L", chunks[b"VP8L"], 8))
        if {b"ALPH", b"VP8 "} <= chunks.keys() and chunks[b"ALPH"][8] & 3 == _ALPHA_LOSSLESS:
            check_lossless(chunks[b"ALPH"], 8 * 9, *_webp_size(b"VP8 ", chunks[b"VP8 "], 8))
    except TooComplexError as exc:
        raise _refused(Refusal.TOO_COMPLEX, str(exc)) from exc
    except ValueError as exc:
        raise _refused(Refusal.BROKEN, str(exc)) from exc


def _webp_size(kind: bytes, data: bytes, at: int) -> tuple[int, int]:
    if kind == b"VP8X":
        width, width_high, height, height_high = struct.unpack_from("<HBHB", data, at + 4)
        return 1 + width + (width_high << 16), 1 + height + (height_high << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, at + 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, at + 6)
        return width & 0x3FFF, height & 0x3FFF
    raise _refused(Refusal.BROKEN, "the first chunk does not tell the size")


def _refused(reason: Refusal, detail: str) -> ImageRejectedError:
    return ImageRejectedError(reason, detail)


_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# By bit depth and colour type: grey of two and four bits, RGB of 16.
_PNG_CLEAR_SCALE = {(2, 0): 255 / 3, (4, 0): 255 / 15, (16, 2): 1 / 256}
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # neither stuffing, restart nor fill
_JPEG_SCAN, _JPEG_END, _JPEG_EXIF, _JPEG_PROFILE = 0xDA, 0xD9, 0xE1, 0xE2
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Arithmetic codes can stand for unbounded work, and neither browsers nor cameras know them.
_JPEG_DECODED = {0xC0, 0xC1, 0xC2}
# Tables, restart interval, and the two application segments that say how colours are coded.
_JPEG_KEPT = _JPEG_DECODED | {0xC4, 0xDB, 0xDD, 0xE0, 0xEE, _JPEG_SCAN}
_GIF_EXTENSION, _GIF_IMAGE, _GIF_CONTROL = 0x21, 0x2C, 0xF9
# One of each at most, so that only the first frame of an animation is left.
_ALPHA_LOSSLESS = 1
_WEBP_KEPT = frozenset({b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"})
_WALKS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Container]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
)
# BMP, TIFF, ICO, HEIC and AVIF, JPEG 2000, JPEG XL, PDF, SVG.
_FOREIGN = re.compile(
    rb"BM|II\*\0|MM\0\*|\0\0\x01\0|....ftyp|\0\0\0\x0c(jP  |JXL )|\xff\x0a|%PDF|\s*<(\?xml|svg)",
    re.DOTALL,
)
