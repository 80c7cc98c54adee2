"""Files known by their heads, so that neither a new name nor gzip makes them other files."""

import errno
import os
import stat
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from monitor.traffic.sources.lines import BOM, GZIP_MAGIC, ByteStream, DamagedError, Gunzip

HEAD_BYTES = 4_096
_SIZE_MODULUS = 2**32  # gzip keeps the length of its content in 32 bits

State = tuple[int, int, int, int]  # device, inode, size, time of the last write


@dataclass(frozen=True, slots=True)
class LogFile:
    """A regular file as it was at the last look; ``head`` is None until its first line is whole."""

    path: Path
    state: State
    is_zipped: bool
    head: str | None
    content_bytes: int  # of gzip what the file says of itself, modulo 2**32

    @property
    def inode(self) -> tuple[int, int]:
        return self.state[:2]

    @property
    def modified_ns(self) -> int:
        return self.state[3]

    def unzips_to(self, size: int) -> bool:
        return self.content_bytes == size % _SIZE_MODULUS


def head_of(content: bytes, *, is_whole: bool) -> str | None:
    """Identity of a log by its first line that is not blank, of its first ``HEAD_BYTES``.

    None if that line is not finished yet; ``is_whole`` says that nothing will be appended.
    """
    start = content[:HEAD_BYTES]
    line, line_end, _ = start.removeprefix(BOM).lstrip().partition(b"\n")
    is_final = bool(line_end) or is_whole or len(start) == HEAD_BYTES
    return blake2b(line.rstrip(), digest_size=16).hexdigest() if line and is_final else None


def read_head(stream: ByteStream) -> tuple[bytes, bool]:
    """The beginning of a stream, long enough for ``head_of``, and whether the stream ended."""
    start = b""
    try:
        while len(start) < HEAD_BYTES and b"\n" not in start.lstrip():
            piece = stream.read(HEAD_BYTES)
            if not piece:
                return start, True
            start += piece
    except DamagedError:
        return start, True
    return start, False


def state_of(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def unzipped(file: BinaryIO) -> ByteStream:
    """The content of a file that stands at its beginning."""
    is_zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    return Gunzip(file) if is_zipped else file


class Heads:
    """Looks at files. A file that has not changed since the last look is not opened again."""

    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._known: dict[tuple[Path, State], LogFile] = {}
        self._seen: dict[tuple[Path, State], LogFile] = {}

    def look_at(self, path: Path) -> LogFile:
        """What is there.

        Raises:
            OSError: if it is not a regular file that can be read.
        """
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is not a regular file")
        key = path, state_of(status)
        file = self._seen[key] = self._known.get(key) or self._open(*key)
        return file

    def end_look(self) -> None:
        """Forget the files that were not looked at since the last call."""
        self._known, self._seen = self._seen, {}

    def _open(self, path: Path, state: State) -> LogFile:
        with path.open("rb", buffering=0) as file:
            content = unzipped(file)
            is_zipped = isinstance(content, Gunzip)
            start, is_ended = read_head(content)
            length = state[2]
            if is_zipped:
                file.seek(max(0, length - 4))
                length = int.from_bytes(file.read(4), "little")
        head = head_of(start, is_whole=is_ended if is_zipped else self._is_whole)
        return LogFile(path, state, is_zipped, head, length)
