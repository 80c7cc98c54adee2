import gzip
import io
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.traffic.sources.lines import BOM, CHUNK_BYTES, DamagedError, Gunzip, LineReader

LINES = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=30)


def reader(
    content: bytes, *, is_whole: bool = True, max_line_bytes: int = 2**20, offset: int = 0
) -> LineReader:
    stream = io.BytesIO(content)
    stream.seek(offset)
    return LineReader(stream, offset, is_whole=is_whole, max_line_bytes=max_line_bytes)


def wanted(content: bytes) -> list[bytes]:
    lines = io.BytesIO(content.removeprefix(BOM)).readlines()
    return [line for line in lines if line.strip()]


def read_all(content: bytes, max_lines: int = 1000) -> list[bytes]:
    """Each batch from a reader of its own that starts where the last one ended."""
    lines: list[bytes] = []
    offset, at_end = 0, False
    while not at_end:
        batch = reader(content, offset=offset).take(max_lines, 2**20)
        lines += batch.lines
        offset, at_end = batch.next_offset, batch.at_end
    return lines


@given(lines=LINES, max_lines=st.integers(1, 7), end=st.sampled_from([b"\n", b"\r\n"]))
def test_reading_on_from_every_offset_gives_each_line_once(
    lines: list[bytes], max_lines: int, end: bytes
) -> None:
    content = end.join(lines)
    assert read_all(content, max_lines) == wanted(content)


@given(lines=LINES, sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_batches_by_bytes_give_each_line_once(lines: list[bytes], sizes: list[int]) -> None:
    content = b"\n".join(lines)
    whole = reader(content)
    batches = [whole.take(1000, size) for size in [*sizes, 2**20]]
    assert [line for batch in batches for line in batch.lines] == wanted(content)
    assert batches[-1].next_offset == len(content)


def test_a_line_longer_than_a_chunk_arrives_whole() -> None:
    content = b"a" * (3 * CHUNK_BYTES) + b"\n" + b"b\n"
    assert reader(content, max_line_bytes=2**30).take(9, 2**30).lines == wanted(content)


def test_an_unfinished_line_waits_where_more_may_come() -> None:
    batch = reader(b"one\ntwo", is_whole=False).take(9, 99)
    assert (batch.lines, batch.next_offset, batch.at_end) == ([b"one\n"], 4, True)


def test_an_unfinished_line_counts_where_nothing_more_comes() -> None:
    batch = reader(b"one\ntwo").take(9, 99)
    assert (batch.lines, batch.next_offset, batch.at_end) == ([b"one\n", b"two"], 7, True)


def test_a_reader_at_the_end_goes_on_with_what_was_appended() -> None:
    stream = io.BytesIO(b"one\ntw")
    follower = LineReader(stream, 0, is_whole=False, max_line_bytes=99)
    assert follower.take(9, 99).lines == [b"one\n"]
    stream.write(b"o\nthree\n")
    stream.seek(6)
    assert follower.take(9, 99).lines == [b"two\n", b"three\n"]


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    content = b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n"
    batch = reader(content).take(9, 99)
    assert batch.lines == [b"one\n", b"\xef\xbb\xbftwo\n"]
    assert batch.next_offset == len(content)


@pytest.mark.parametrize("max_line_bytes", [10, 64, 1000])
def test_a_line_that_is_too_long_is_passed_over_and_said(max_line_bytes: int) -> None:
    long = b"x" * 1001 + b"\n"
    content = b"one\n" + long + b"two\n" + long + b"three"
    batch = reader(content, max_line_bytes=max_line_bytes).take(99, 9999)
    assert batch.lines == [b"one\n", b"two\n", b"three"]
    assert [(r.reason, r.excerpt) for r in batch.rejections] == [("line_too_long", "x" * 120)] * 2
    assert batch.next_offset == len(content)


def test_a_last_line_that_is_too_long_is_said_too() -> None:
    batch = reader(b"one\n" + b"x" * 99, max_line_bytes=10).take(9, 999)
    assert (batch.lines, batch.at_end) == ([b"one\n"], True)
    assert [r.reason for r in batch.rejections] == ["line_too_long"]


class Endless:
    """As many bytes as are wanted, made when they are read."""

    def __init__(self, length: int) -> None:
        self._left = length

    def read(self, size: int, /) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return b"x" * size


def test_memory_does_not_grow_with_a_line_that_is_too_long() -> None:
    long = LineReader(Endless(2**28), 0, is_whole=True, max_line_bytes=2**20)
    tracemalloc.start()
    batch = long.take(9, 2**30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.next_offset == 2**28
    assert peak < 2**22


@given(lines=LINES, cut=st.integers(0, 10), size=st.integers(1, 99))
def test_gzip_members_in_a_row_are_one_log(lines: list[bytes], cut: int, size: int) -> None:
    parts = [b"\n".join(lines[:cut]) + b"\n", b"\n".join(lines[cut:])]
    zipped = Gunzip(io.BytesIO(b"\0".join([gzip.compress(p) for p in parts])))
    content = b""
    while piece := zipped.read(size):
        content += piece
    assert content == b"".join(parts)


def damaged(kind: str) -> bytes:
    content = b"".join(b"%d\n" % i for i in range(1000))
    zipped = gzip.compress(content)
    return {
        "cut": zipped[:-400],
        "without trailer": zipped[:-8],
        "wrong checksum": zipped[:-8] + bytes(8),
        "garbage behind": zipped + b"garbage",
        "zeros inside": zipped[: len(zipped) // 2] + bytes(99) + zipped[len(zipped) // 2 :],
    }[kind]


KINDS = ["cut", "without trailer", "wrong checksum", "garbage behind", "zeros inside"]


def byte_by_byte(zipped: bytes) -> bytes:
    inflate, content = zlib.decompressobj(zlib.MAX_WBITS | 16), b""
    with suppress(zlib.error):
        for at in range(len(zipped)):
            content += inflate.decompress(zipped[at : at + 1])
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_everything_before_the_damage_arrives_and_the_damage_is_said_once(kind: str) -> None:
    zipped = damaged(kind)
    log = LineReader(Gunzip(io.BytesIO(zipped)), 0, is_whole=True, max_line_bytes=99)
    first, second = log.take(10_000, 2**20), log.take(10_000, 2**20)
    whole_lines, line_end, _ = byte_by_byte(zipped).rpartition(b"\n")
    assert first.lines == wanted(whole_lines + line_end)
    assert [r.reason for r in first.rejections] == ["bad_gzip"]
    assert first.at_end
    assert (second.lines, second.rejections, second.at_end) == ([], [], True)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_not_said_again_to_who_has_read_up_to_it(kind: str) -> None:
    zipped = damaged(kind)
    log = LineReader(Gunzip(io.BytesIO(zipped)), 0, is_whole=True, max_line_bytes=99)
    end = log.take(10_000, 2**20).next_offset
    again = LineReader(Gunzip(io.BytesIO(zipped)), 0, is_whole=True, max_line_bytes=99)
    again.skip_to(end)
    batch = again.take(10_000, 2**20)
    assert (batch.lines, batch.rejections, batch.next_offset) == ([], [], end)


def test_damage_is_said_at_every_read() -> None:
    zipped = Gunzip(io.BytesIO(b"\x1f\x8bgarbage"))
    for _ in range(2):
        with pytest.raises(DamagedError, match="damaged"):
            zipped.read(10)


def test_a_bomb_is_inflated_piece_by_piece() -> None:
    bomb = gzip.compress(bytes(2**26))
    log = LineReader(Gunzip(io.BytesIO(bomb)), 0, is_whole=True, max_line_bytes=2**20)
    tracemalloc.start()
    batch = log.take(9, 2**30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [r.reason for r in batch.rejections] == ["line_too_long"]
    assert peak < 2**22
