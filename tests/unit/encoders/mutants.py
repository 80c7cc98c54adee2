"""Damaged and hostile image files, the same in every run."""

import itertools
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from monitor.encoders.containers import Refusal
from monitor.encoders.images import ImageLimits, decode_image
from monitor.errors import ImageRejectedError
from tests.unit.encoders import profiles
from tests.unit.encoders.conftest import KINDS, encoded, gradient

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DECODED = "decoded"
STATES = {DECODED, *Refusal}


def outcome(data: bytes, limits: ImageLimits) -> str:
    """What came of it; any exception but a refusal, and any warning, is passed on."""
    # A warning raised as an error would be taken for a fault of the file.
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            decode_image(data, limits)
            found = DECODED
        except ImageRejectedError as exc:
            found = exc.reason
    assert warned == []
    return found


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(
    size: tuple[int, int],
    depth: int,
    colour: int,
    rows: bytes,
    *,
    before: bytes = b"",
    lace: int = 0,
) -> bytes:
    """A PNG of rows that each begin with their filter."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, lace))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return PNG_MAGIC + header + before + pixels + png_chunk(b"IEND", b"")


def interlaced(image: Image.Image) -> bytes:
    """An RGB PNG in the seven passes of Adam7."""
    pixels = np.asarray(image)
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = b"".join(
        b"\0" + row.tobytes()
        for y, x, down, across in (*steps, (1, 0, 2, 1))
        for row in pixels[y::down, x::across]
        if row.size
    )
    return raw_png(image.size, 8, 2, rows, lace=1)


def grouped_webp(side: int, groups: int) -> bytes:
    """A black lossless WebP whose 4 x 4 blocks take turns with so many groups of prefix codes."""

    def number(value: int, bits: int) -> str:
        return f"{value:0{bits}b}"[::-1]

    one_symbol = "1000"  # a prefix code of the symbol 0 alone
    # 256 symbols of eight bits: a code for lengths 0 and 8, then the lengths themselves.
    lengths = "".join(number(1 if i in {2, 11} else 0, 3) for i in range(12))
    eight_bits = "0" + number(12 - 4, 4) + lengths + "0" + "1" * 256
    cells = "".join(
        # The bits of a prefix code come most significant first.
        f"{i % groups & 0xFF:08b}{i % groups >> 8:08b}"
        for i in range((side // 4) ** 2)
    )
    bits = (
        number(0x2F, 8) + number(side - 1, 14) * 2 + "0000"  # signature and size, version
        "00" "1" "000" "0"  # no transform, no cache, groups for blocks of 4, again no cache
        + eight_bits + "0" * 24 + eight_bits + one_symbol * 3 + cells
        + one_symbol * 5 * groups
    )  # fmt: skip
    stream = int(bits[::-1], 2).to_bytes(len(bits) // 16 * 2 + 2, "little")
    body = b"WEBPVP8L" + struct.pack("<I", len(stream)) + stream
    return b"RIFF" + struct.pack("<I", len(body)) + body


def seeds() -> dict[str, bytes]:
    """Sound files of every container and mode, small ones and some of the size of photographs."""
    large = gradient(700, 500)
    return {name: build() for name, build in KINDS.items()} | {
        "png large": encoded(large, "PNG"),
        "png interlaced": interlaced(gradient()),
        "png tagged": encoded(gradient(), "PNG", icc_profile=profiles.red_is_blue()),
        "jpeg large": encoded(large, "JPEG", progressive=True, quality=90),
        "jpeg tagged": encoded(gradient(), "JPEG", icc_profile=profiles.linear_grey()),
        "jpeg inks": encoded(
            gradient().convert("CMYK"), "JPEG", icc_profile=profiles.only_black_ink()
        ),
        "mpo": encoded(gradient(), "MPO", save_all=True, append_images=[gradient()]),
        "gif large": encoded(large.quantize(256), "GIF", transparency=3),
        "webp large": encoded(large, "WEBP"),
        "webp lossless large": encoded(large, "WEBP", lossless=True),
        "webp grouped": grouped_webp(64, 200),
        "webp tagged": encoded(gradient(), "WEBP", icc_profile=profiles.red_is_blue()),
    }


def mutants(files: Mapping[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Files with one to three faults each, with a name that says which."""
    names = sorted(files)
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        name = names[int(rng.integers(len(names)))]
        other = files[names[int(rng.integers(len(names)))]]
        data = files[name]
        for _ in range(int(rng.integers(1, 4))):
            fault = FAULTS[int(rng.integers(len(FAULTS)))]
            data = fault(data, other, rng) or b"\0"
            name += f", {fault.__name__}"
        yield f"{i}: {name}", data


def flip_bits(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    mutated = np.frombuffer(data, np.uint8).copy()
    # Half of them near the front, where the structure is.
    end = min(len(data), 200) if rng.random() < 0.5 else len(data)
    at = rng.integers(0, end, int(rng.integers(1, 33)))
    mutated[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    return mutated.tobytes()


def overwrite(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(data, rng)
    filling = [bytes(1), b"\xff", b"\xff\xda", other[:64], rng.bytes(64)][int(rng.integers(5))]
    run = (filling * ((end - start) // len(filling) + 1))[: end - start]
    return data[:start] + run + data[end:]


def truncate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data) + 1))]


def repeat(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 40)) + data[end:]


def remove(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    here, there = rng.random(2)
    return data[: int(here * len(data))] + other[int(there * len(other)) :]


def append(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data + other


def lie_about_size(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    at, form = _size_field(data)
    sides = [int(s) for s in rng.choice([0, 1, 2, 39, 40, 41, 4_000, 16_383, 65_535], 2)]
    if at + struct.calcsize(form) > len(data):
        return data
    field = struct.pack(form, *sides)
    return data[:at] + field + data[at + len(field) :]


def shuffle_parts(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    parts = _parts(data)
    order = list(rng.permutation(len(parts) - 1) + 1) if len(parts) > 1 else []
    return b"".join([parts[0], *(parts[i] for i in order)])


def drop_or_double_parts(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    parts = _parts(data)
    times = rng.choice([0, 1, 1, 1, 2, 30], len(parts))
    return parts[0] + b"".join(p * int(n) for p, n in zip(parts[1:], times[1:], strict=True))


def mix_parts(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    parts, others = _parts(data), _parts(other)
    at = int(rng.integers(1, len(parts) + 1))
    return b"".join([*parts[:at], others[int(rng.integers(len(others)))], *parts[at:]])


def mend_checksums(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Damage that no checksum of a PNG gives away."""
    parts = _parts(flip_bits(data, other, rng))
    if parts[0] != PNG_MAGIC:
        return b"".join(parts)
    return PNG_MAGIC + b"".join(p[:-4] + struct.pack(">I", zlib.crc32(p[4:-4])) for p in parts[1:])


FAULTS: Sequence[Callable[[bytes, bytes, np.random.Generator], bytes]] = (
    flip_bits,
    flip_bits,
    overwrite,
    truncate,
    repeat,
    remove,
    splice,
    append,
    lie_about_size,
    shuffle_parts,
    drop_or_double_parts,
    mix_parts,
    mend_checksums,
)


def _span(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, min(len(data), start + int(rng.integers(1, 200)))


def _size_field(data: bytes) -> tuple[int, str]:
    if data.startswith(PNG_MAGIC):
        return 16, ">II"
    if data.startswith(b"RIFF"):
        return (24, "<HxH") if data[12:16] == b"VP8X" else (26, "<HH")
    if data.startswith(b"GIF"):
        return 6, "<HH"
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"), 0)
    return frame + 5, ">HH"


def _parts(data: bytes) -> list[bytes]:
    """The signature, then chunks or segments; anything else in four."""
    if data.startswith(PNG_MAGIC):
        starts = list(_steps(data, 8, lambda at: 12 + struct.unpack_from(">I", data, at)[0]))
    elif data.startswith(b"RIFF"):
        starts = list(_steps(data, 12, lambda at: 8 + struct.unpack_from("<I", data, at + 4)[0]))
    elif data.startswith(b"\xff\xd8"):
        starts = [at for at in range(2, len(data) - 1) if data[at] == 0xFF and data[at + 1] >= 0xC0]
    else:
        starts = [len(data) // 4, len(data) // 2, len(data) * 3 // 4]
    edges = [0, *starts, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def _steps(data: bytes, at: int, length: Callable[[int], int]) -> Iterator[int]:
    while at + 8 <= len(data):
        yield at
        at += length(at)


def bombs() -> dict[str, tuple[bytes, str]]:
    """Files that ask for far more than they are, and the state that each must end in."""
    zeros = zlib.compress(bytes(100_000_000), 9)
    jpeg = encoded(gradient(), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    lie = bytearray(encoded(gradient(), "JPEG"))
    frame = lie.index(b"\xff\xc0")
    lie[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    arithmetic = bytearray(encoded(gradient(), "JPEG"))
    arithmetic[frame + 1] = 0xC9
    gif = bytearray(encoded(gradient(), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    flicker = [Image.new("P", (40, 24), i % 7) for i in range(3_000)]
    canvas = b"VP8X" + struct.pack("<IIHBHB", 10, 0, 0xFFFF, 0, 0xFFFF, 0)
    dot = b"\0\x80"
    return {
        "png of a giant size": (raw_png((50_000, 50_000), 8, 2, dot), Refusal.TOO_MANY_PIXELS),
        "png of a giant length": (raw_png((1, 2**24), 8, 2, dot), Refusal.TOO_MANY_PIXELS),
        "png of endless pixels": (
            PNG_MAGIC
            + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
            + png_chunk(b"IDAT", zeros)
            + png_chunk(b"IEND", b""),
            DECODED,
        ),
        "png with a giant text": (
            raw_png((1, 1), 8, 0, dot, before=png_chunk(b"zTXt", b"a\0\0" + zeros)),
            DECODED,
        ),
        "png with a giant profile": (
            raw_png((1, 1), 8, 0, dot, before=png_chunk(b"iCCP", b"a\0\0" + zeros) * 100),
            DECODED,
        ),
        "png with many directories": (
            raw_png((1, 1), 8, 0, dot, before=png_chunk(b"eXIf", _directory()) * 200),
            DECODED,
        ),
        "jpeg of a giant size": (bytes(lie), Refusal.TOO_MANY_PIXELS),
        "jpeg of endless scans": (jpeg[:-2] + scan * 5_000 + b"\xff\xd9", Refusal.TOO_COMPLEX),
        "jpeg of arithmetic codes": (bytes(arithmetic), Refusal.UNSUPPORTED_FORMAT),
        "jpeg with giant metadata": (
            jpeg[:2] + (b"\xff\xe1\xff\xff" + bytes(65_533)) * 100 + jpeg[2:],
            DECODED,
        ),
        "gif of a giant size": (bytes(gif), Refusal.TOO_MANY_PIXELS),
        "gif of many frames": (
            encoded(flicker[0], "GIF", save_all=True, append_images=flicker[1:]),
            DECODED,
        ),
        "webp of endless codes": (grouped_webp(1024, 65_536), Refusal.TOO_COMPLEX),
        "webp of a giant size": (
            b"RIFF" + struct.pack("<I", 22) + b"WEBP" + canvas,
            Refusal.TOO_MANY_PIXELS,
        ),
    }


def _directory() -> bytes:
    return b"II" + struct.pack("<HIH", 42, 8, 0xFFFF) + bytes(12 * 1_000)
