import struct
import zlib

import pytest

from monitor.encoders import metadata
from monitor.encoders.metadata import exif_orientation, jpeg_profile, png_profile, webp_profile


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_either_byte_order(order: str) -> None:
    magic = {"<": b"II", ">": b"MM"}[order]
    other, turned = (0x0100, 3, 1, 9), (0x0112, 3, 1, 6)
    entries = b"".join(struct.pack(order + "HHIHxx", *entry) for entry in (other, turned))
    block = magic + struct.pack(order + "HIH", 42, 8, 2) + entries
    assert exif_orientation(block) == 6


def test_an_endless_directory_is_read_in_part() -> None:
    block = b"II" + struct.pack("<HIH", 42, 8, 0xFFFF) + bytes(12 * metadata.EXIF_ENTRIES_MAX)
    assert exif_orientation(block + struct.pack("<HHIHxx", 0x0112, 3, 1, 6)) == 1


def test_a_png_profile_is_inflated() -> None:
    assert png_profile(b"name\0\0" + zlib.compress(b"profile")) == b"profile"


@pytest.mark.parametrize("chunk", [b"", b"name", b"name\0", b"name\0\0broken"])
def test_a_broken_png_profile_is_none(chunk: bytes) -> None:
    assert png_profile(chunk) == b""


def test_a_profile_that_inflates_without_end_is_none() -> None:
    bomb = zlib.compress(bytes(metadata.PROFILE_BYTES_MAX + 1))
    assert (len(bomb) < 10_000, png_profile(b"name\0\0" + bomb)) == (True, b"")


def test_a_profile_in_any_container_may_be_of_the_largest_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "PROFILE_BYTES_MAX", 9)
    for size, expected in ((9, bytes(9)), (10, b"")):
        profile = bytes(size)
        assert png_profile(b"name\0\0" + zlib.compress(profile)) == expected
        assert jpeg_profile({1: profile[:4], 2: profile[4:]}, 2) == expected
        assert webp_profile(profile) == expected


def test_parts_of_a_jpeg_profile_are_joined_by_number() -> None:
    assert jpeg_profile({2: b"file", 1: b"pro"}, 2) == b"profile"


@pytest.mark.parametrize("parts", [{}, {1: b"pro"}, {1: b"pro", 3: b"file"}, {0: b"x", 1: b"y"}])
def test_a_jpeg_profile_with_a_part_missing_is_none(parts: dict[int, bytes]) -> None:
    assert jpeg_profile(parts, 2) == b""
