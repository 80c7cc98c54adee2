"""Files of one record a line: plain or gzip, finished or followed while they rotate.

A file is known by its head, a digest of its first line. So a renamed file keeps its cursor, the
gzip of a rotated file goes on where the file stopped (offsets count decompressed bytes), and a
file truncated in place is a new one, while the copy made of it is the old one.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Self

from monitor.records import Cursor
from monitor.traffic.sources.heads import (
    HEAD_BYTES,
    Heads,
    LogFile,
    State,
    head_of,
    state_of,
    unzipped,
)
from monitor.traffic.sources.lines import Batch, Gunzip, LineReader
from monitor.traffic.sources.pipe import Pipe
from monitor.traffic.sources.rotation import Rotation, matching, rotated

MAX_LINE_BYTES = 32 * 2**20
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Partition:
    """A log with something unread. ``id`` stays when the file is renamed or compressed."""

    id: str
    path: Path
    head: str
    inode: tuple[int, int]


@dataclass(slots=True)
class _OpenLog:
    file: BinaryIO
    is_zipped: bool
    reader: LineReader


class FileSource:
    """The logs that patterns match; ``-`` is standard input.

    ``follow``: the files grow and rotate. An unfinished last line stays unread, and files that
    were rotated away are read to their end. Without it they are finished: each is read once, and
    a last line counts without its line end.

    Every offset that ``read`` gives out may be committed and read on from at any later time, by
    any process. Not for several threads at once.
    """

    has_files = True

    def __init__(
        self,
        name: str,
        patterns: Sequence[str],
        *,
        follow: bool,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self.name = name
        self._patterns = {pattern: Rotation() for pattern in patterns}
        self._follow = follow
        self._max_line_bytes = max_line_bytes
        self._heads = Heads(is_whole=not follow)
        self._open: dict[str, _OpenLog] = {}
        self._ends: dict[str, tuple[State, int]] = {}  # where reading ended, and on which file
        self._pipes: dict[Path, Pipe] = {}
        self._problems: dict[str, bool] = {}  # with whether it has been told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for partition in list(self._open):
            self._close(partition)
        for pipe in self._pipes.values():
            pipe.close()

    def problems(self) -> list[str]:
        """What could not be read and why; each is told once for as long as it lasts."""
        new = [text for text, told in self._problems.items() if not told]
        self._problems = dict.fromkeys(self._problems, True)
        return new

    def ready(self, cursors: Mapping[str, Cursor]) -> list[Partition]:
        """The partitions with something unread, the one written to longest ago first.

        ``cursors`` are all that were committed for this source, by partition.
        """
        told, self._problems = self._problems, {}
        logs = self._by_partition(self._look(cursors))
        self._heads.end_look()
        self._ends = {id_: end for id_, end in self._ends.items() if id_ in logs}
        unread = [
            Partition(id_, file.path, file.head or "", file.inode)
            for id_, file in sorted(logs.items(), key=lambda item: item[1].modified_ns)
            if self._has_unread(id_, file, cursors.get(id_))
        ]
        for id_ in self._open.keys() - {partition.id for partition in unread}:
            self._close(id_)
        self._problems = {text: told.get(text, False) for text in self._problems}
        return unread + [
            Partition(pipe.id, path, pipe.id, (0, 0))
            for path, pipe in self._pipes.items()
            if pipe.id is not None and not pipe.is_at_end
        ]

    def partitions(self) -> set[str]:
        """Every log that the patterns match now, read or not."""
        logs = self._by_partition(self._look({}))
        return {*logs, *(pipe.id for pipe in self._pipes.values() if pipe.id is not None)}

    def read(self, partition: Partition, offset: int, max_lines: int, max_bytes: int) -> Batch:
        """The next lines from ``offset``; none if the file has been moved or cut since ``ready``.

        Raises:
            SourceError: if a pipe would have to go back.
        """
        if pipe := self._pipes.get(partition.path):
            return pipe.read(offset, max_lines, max_bytes)
        try:
            log = self._opened(partition, offset)
            state = state_of(os.fstat(log.file.fileno()))
            batch = log.reader.take(max_lines, max_bytes)
            is_same = state[:2] == partition.inode and self._has_head(log, partition.head)
        except OSError as exc:
            self._note(partition.path, exc)
            is_same = False
        if not is_same:
            self._close(partition.id)
            return Batch([], offset, at_end=True, rejections=[])
        if batch.at_end:
            self._ends[partition.id] = state, batch.next_offset
            self._close(partition.id)
        return batch

    def _look(self, cursors: Mapping[str, Cursor]) -> Iterator[LogFile]:
        for pattern, rotation in self._patterns.items():
            if pattern == STDIN:
                self._open_pipe(Path(STDIN))
                continue
            paths = self._matching(pattern)
            if not paths:
                self._problems.setdefault(f"{pattern}: no such file", False)
            current = list(self._look_at(paths))
            yield from current
            if self._follow:
                families = {
                    base: list(self._look_at(paths)) for base, paths in rotated(pattern).items()
                }
                yield from rotation.due(current, families, cursors)

    def _matching(self, pattern: str) -> list[Path]:
        try:
            return matching(pattern)
        except OSError as exc:
            self._note(Path(pattern), exc)
            return []

    def _look_at(self, paths: Iterable[Path]) -> Iterator[LogFile]:
        for path in paths:
            try:
                if not self._follow and path.is_fifo():
                    self._open_pipe(path)
                else:
                    yield self._heads.look_at(path)
            except FileNotFoundError:
                continue  # renamed since it was listed
            except OSError as exc:
                self._note(path, exc)

    def _by_partition(self, files: Iterable[LogFile]) -> dict[str, LogFile]:
        logs: dict[str, LogFile] = {}
        for file in files:
            if file.head is None:
                if file.is_zipped and file.content_bytes and not self._follow:
                    self._problems.setdefault(f"{file.path}: no gzip that can be read", False)
                continue
            id_, other = file.head, logs.get(file.head)
            if other is not None and other.inode != file.inode:
                if not self._follow:
                    # Finished files do not rotate: these are two logs that begin alike.
                    id_ = blake2b(f"{id_} {file.path}".encode(), digest_size=16).hexdigest()
                elif _completeness(file) <= _completeness(other):
                    continue
            logs[id_] = file
        return logs

    def _has_unread(self, id_: str, file: LogFile, cursor: Cursor | None) -> bool:
        offset = cursor.offset if cursor else 0
        if self._ends.get(id_) == (file.state, offset):
            return False
        if file.is_zipped:
            return cursor is None or not file.unzips_to(offset)
        if file.content_bytes < offset:
            self._problems[f"{file.path}: shorter than what was read of it before"] = False
        return file.content_bytes > offset

    def _opened(self, partition: Partition, offset: int) -> _OpenLog:
        log = self._open.get(partition.id)
        if log is None or log.reader.offset != offset:
            self._close(partition.id)
            log = self._open[partition.id] = self._at(partition.path, offset)
        return log

    def _at(self, path: Path, offset: int) -> _OpenLog:
        file = path.open("rb", buffering=0)
        content = unzipped(file)
        is_zipped = isinstance(content, Gunzip)
        if not is_zipped:
            file.seek(offset)
        reader = LineReader(
            content,
            0 if is_zipped else offset,
            is_whole=is_zipped or not self._follow,
            max_line_bytes=self._max_line_bytes,
        )
        if is_zipped:
            reader.skip_to(offset)
        return _OpenLog(file, is_zipped, reader)

    def _has_head(self, log: _OpenLog, head: str) -> bool:
        # Asked after reading: a file cut in place meanwhile would have given bytes of the new one.
        if log.is_zipped:
            return True
        start = os.pread(log.file.fileno(), HEAD_BYTES, 0)
        return head_of(start, is_whole=not self._follow) == head

    def _open_pipe(self, path: Path) -> None:
        if path not in self._pipes:
            file = os.fdopen(0, "rb", closefd=False) if str(path) == STDIN else path.open("rb")
            self._pipes[path] = Pipe(file, self._max_line_bytes)

    def _note(self, path: Path, exc: OSError) -> None:
        self._problems.setdefault(f"{path}: {exc.strerror or type(exc).__name__}", False)

    def _close(self, id_: str) -> None:
        if log := self._open.pop(id_, None):
            log.file.close()


def _completeness(file: LogFile) -> tuple[bool, int]:
    # A gzip beside its original is still being written.
    return not file.is_zipped, file.content_bytes
