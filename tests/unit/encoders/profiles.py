"""Colour profiles that do something one can predict."""

import struct

from PIL import ImageCms

_HEADER_BYTES = 128


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_is_blue() -> bytes:
    """sRGB with the primaries red and blue exchanged."""
    profile = bytearray(srgb())
    (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
    entries = range(_HEADER_BYTES + 4, _HEADER_BYTES + 4 + 12 * count, 12)
    at = {bytes(profile[entry : entry + 4]): entry for entry in entries}
    profile[at[b"rXYZ"] : at[b"rXYZ"] + 4], profile[at[b"bXYZ"] : at[b"bXYZ"] + 4] = (
        b"bXYZ",
        b"rXYZ",
    )
    return bytes(profile)


def linear_grey() -> bytes:
    """Grey values that are proportional to light."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, 256) + bytes(2)
    white = b"XYZ " + struct.pack(">I", 0) + _D50
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": white})


def only_black_ink() -> bytes:
    """Inks of which only the fourth can be seen."""
    tables = bytes(range(256))
    lightness = b"".join(bytes([0 if ink & 1 else 255, 128, 128]) for ink in range(16))
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1" + struct.pack(">IBBBB", 0, 4, 3, 2, 0) + matrix
    return _profile(
        b"prtr", b"CMYK", b"Lab ", {b"A2B0": table + tables * 4 + lightness + tables * 3}
    )


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    at = _HEADER_BYTES + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">IIBBH", at + len(body), 0, 2, 0x40, 0) + kind + space + connection
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _D50
    return header.ljust(_HEADER_BYTES, b"\0") + table + body


_D50 = struct.pack(">iii", *(round(part * 65536) for part in (0.9642, 1.0, 0.8249)))
