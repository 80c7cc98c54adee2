"""Whole lines out of a stream of bytes, with flat memory whatever the stream holds."""

import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

from monitor.errors import MonitorError
from monitor.records import Rejection
from monitor.traffic.formats.wire import EXCERPT_CHARS, Reason, excerpt

CHUNK_BYTES = 2**18  # stays in a core's cache between reading and splitting
BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
_GZIP = zlib.MAX_WBITS | 16
_LOOK_BYTES = 4 * EXCERPT_CHARS


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines in file order, with their line ends.

    Committing ``next_offset`` with what was made of them gives each line exactly once.
    ``at_end``: there was no further whole line when this was read.
    """

    lines: list[bytes]
    next_offset: int
    at_end: bool
    rejections: list[Rejection]


class DamagedError(MonitorError):
    """Compressed bytes cannot be read any further."""


class ByteStream(Protocol):
    """What lines are read from: a file, a pipe or what is compressed in one."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


class LineReader:
    """Hands out the lines of a stream that stands at ``offset``.

    ``is_whole``: nothing will be appended, so a last line without a line end counts.
    ``begun``: bytes that were taken from the stream before, to look at them.
    """

    def __init__(
        self,
        stream: ByteStream,
        offset: int,
        *,
        is_whole: bool,
        max_line_bytes: int,
        begun: bytes = b"",
    ) -> None:
        self.offset = offset
        self._stream = stream
        self._is_whole = is_whole
        self._max_line_bytes = max_line_bytes
        self._begun = begun
        self._opened_at = offset
        self._damaged = False
        self._lines: list[bytes] = []
        self._handed_out = 0
        self._partial: list[bytes] = []
        self._partial_bytes = 0

    def skip_to(self, offset: int) -> None:
        """Pass over what comes before ``offset``; only before anything was taken."""
        count = offset - self.offset - len(self._begun)
        self._begun = self._begun[offset - self.offset :]
        self.offset = self._opened_at = offset
        with suppress(DamagedError):
            while count > 0 and (chunk := self._stream.read(min(count, CHUNK_BYTES))):
                count -= len(chunk)

    def take(self, max_lines: int, max_bytes: int) -> Batch:
        """The next lines. Stops within a chunk of ``max_bytes``; skips blank lines."""
        lines: list[bytes] = []
        rejections: list[Rejection] = []
        stop = self.offset + max_bytes
        at_end = False
        while len(lines) < max_lines and self.offset < stop and not at_end:
            if self._handed_out == len(self._lines):
                at_end = not self._fill(rejections)
                continue
            first = self._handed_out
            raw = self._lines[first : first + max_lines - len(lines)]
            self._handed_out += len(raw)
            self.offset += sum(map(len, raw))
            lines += [line for line in raw if not line.isspace()]
        if at_end and self._is_whole and not self._damaged:
            lines.extend(self._last_line(rejections))
        return Batch(lines, self.offset, at_end, rejections)

    def _fill(self, rejections: list[Rejection]) -> bool:
        chunk = self._next_chunk(rejections)
        if not chunk:
            return False
        # bytes.split() looks at each byte by itself; this is four times faster on long lines.
        pieces = BytesIO(chunk).readlines()
        self._partial.append(pieces[0])
        self._partial_bytes += len(pieces[0])
        is_long = self._partial_bytes > self._max_line_bytes
        if is_long:
            self._partial = [b"".join(self._partial)[:_LOOK_BYTES]]
        if not pieces[0].endswith(b"\n"):
            return True
        if is_long:
            self.offset += self._partial_bytes
            rejections.append(self._too_long())
            del pieces[0]
        else:
            pieces[0] = b"".join(self._partial)
        is_cut = bool(pieces) and not pieces[-1].endswith(b"\n")
        self._partial = [pieces.pop()] if is_cut else []
        self._partial_bytes = sum(map(len, self._partial))
        self._lines, self._handed_out = pieces, 0
        return True

    def _next_chunk(self, rejections: list[Rejection]) -> bytes:
        chunk, self._begun = self._begun, b""
        try:
            chunk = chunk or self._stream.read(min(CHUNK_BYTES, self._max_line_bytes))
        except DamagedError as exc:
            # Said once, not again after each restart that finds nothing new in front of it.
            if not self._damaged and (self._opened_at == 0 or self.offset > self._opened_at):
                rejections.append(Rejection(Reason.BAD_GZIP, str(exc)))
            self._damaged = True
        if self.offset == 0 and not self._partial and chunk.startswith(BOM):
            self.offset = len(BOM)
            chunk = chunk[len(BOM) :]
        return chunk

    def _last_line(self, rejections: list[Rejection]) -> list[bytes]:
        if not self._partial_bytes:
            return []
        self.offset += self._partial_bytes
        line = b"".join(self._partial)
        if self._partial_bytes > self._max_line_bytes:
            rejections.append(self._too_long())
            line = b""
        self._partial, self._partial_bytes = [], 0
        return [line] if line.strip() else []

    def _too_long(self) -> Rejection:
        return Rejection(
            Reason.LINE_TOO_LONG,
            f"expected at most {self._max_line_bytes} bytes, got {self._partial_bytes}",
            excerpt(self._partial[0]),
        )


class Gunzip:
    """The content of gzip members one after the other, up to the first damaged byte."""

    def __init__(self, file: ByteStream) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_GZIP)
        self._input = b""
        self._between_members = False

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises:
            DamagedError: where nothing more can be read, and ever after.
        """
        while True:
            compressed = self._input or self._file.read(CHUNK_BYTES)
            if self._between_members:
                if not compressed:
                    return b""
                self._input = compressed.lstrip(b"\0")  # padding
                if self._input:
                    self._inflate = zlib.decompressobj(_GZIP)
                    self._between_members = False
                continue
            if not compressed:
                raise DamagedError("the gzip file ends early")
            if content := self._decompress(compressed, size):
                return content

    def _decompress(self, compressed: bytes, size: int) -> bytes:
        # On an error zlib drops what that call had decoded, so less and less is given to it.
        before, given = self._inflate.copy(), len(compressed)
        while True:
            try:
                content = self._inflate.decompress(compressed[:given], size)
            except zlib.error:
                self._inflate = before.copy()
                if given == 1:
                    self._input = compressed
                    raise DamagedError("the gzip file is damaged") from None
                given //= 2
                continue
            self._between_members = self._inflate.eof
            left = self._inflate.unused_data or self._inflate.unconsumed_tail
            self._input = left + compressed[given:]
            return content
