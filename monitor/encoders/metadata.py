"""What is read beside the pixels of an image file: how it is turned, and what its colours mean."""

import struct
import zlib
from collections.abc import Mapping

EXIF_ENTRIES_MAX = 1024
PROFILE_BYTES_MAX = 4 * 2**20  # those of printing presses have up to three


def exif_orientation(exif: bytes) -> int:
    """The orientation in the first directory of an EXIF block; 1 where it cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * min(entries, EXIF_ENTRIES_MAX), 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if (tag, kind) == _ORIENTATION_SHORT:
                return value if 1 <= value <= 8 else 1  # noqa: PLR2004 - the values EXIF defines
    except struct.error:
        pass
    return 1


def png_profile(chunk: bytes) -> bytes:
    """The colour profile in the data of an iCCP chunk; empty if broken or too large."""
    _, _, method_and_stream = chunk.partition(b"\0")
    try:
        inflating = zlib.decompressobj()
        return _of_sane_size(inflating.decompress(method_and_stream[1:], PROFILE_BYTES_MAX + 1))
    except zlib.error:
        return b""


def jpeg_profile(parts: Mapping[int, bytes], count: int) -> bytes:
    """The colour profile in numbered APP2 segments; empty if one is missing."""
    if sorted(parts) != list(range(1, count + 1)):
        return b""
    return _of_sane_size(b"".join(parts[number] for number in sorted(parts)))


def webp_profile(chunk: bytes) -> bytes:
    """The colour profile in the data of an ICCP chunk; empty if too large."""
    return _of_sane_size(chunk)


def _of_sane_size(profile: bytes) -> bytes:
    return profile if len(profile) <= PROFILE_BYTES_MAX else b""


_ORIENTATION_SHORT = (0x0112, 3)
