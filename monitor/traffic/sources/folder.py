"""Files that are dropped into folders whole: each is read once."""

import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Self

from monitor.errors import SourceError
from monitor.records import Cursor
from monitor.traffic.sources.heads import State, state_of, unzipped
from monitor.traffic.sources.jsonl import MAX_LINE_BYTES
from monitor.traffic.sources.lines import Batch, LineReader
from monitor.traffic.sources.parquet import MAGIC, ParquetReader
from monitor.traffic.sources.rotation import matching


@dataclass(frozen=True, slots=True)
class Drop:
    """A dropped file, known by its path."""

    id: str
    path: Path
    state: State


@dataclass(frozen=True, slots=True)
class _Open:
    id: str
    reader: LineReader | ParquetReader
    file: BinaryIO | ParquetReader  # what is to be closed


class FolderSource:
    """The files that a pattern matches and nobody has written to for ``settle_seconds``.

    Parquet is told from lines (plain or gzip) by its first bytes. Hidden files and those whose
    names begin with an underscore are what writers have not finished. Not for several threads.
    """

    has_files = True

    def __init__(
        self,
        name: str,
        pattern: str,
        *,
        json_column: str = "",
        settle_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._pattern = pattern
        self._json_column = json_column
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._open: _Open | None = None
        self._bad: dict[str, State] = {}  # not tried again until they have changed
        self._told: set[str] = set()
        self._news: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def problems(self) -> list[str]:
        """What could not be read and why; each is told once."""
        news, self._news = self._news, []
        return news

    def partitions(self) -> set[str]:
        """Every file that is there, read or not."""
        return {drop.id for drop in self._drops()}

    def probe(self) -> str:
        """What is there now, for people.

        Raises:
            SourceError: if the folder is missing or closed to this user.
        """
        drops = self._drops()
        if self._news:
            raise SourceError(self._news[0])
        return f"{len(drops)} files now"

    def ready(self, cursors: Mapping[str, Cursor]) -> list[Drop]:
        """The files with something unread, the one written to longest ago first."""
        latest = self._clock() - self._settle_seconds
        return [
            drop
            for drop in sorted(self._drops(), key=lambda drop: drop.state[3])
            if not (drop.id in cursors and cursors[drop.id].at_end)
            and drop.state[3] <= latest * 1e9
            and self._bad.get(drop.id) != drop.state
        ]

    def read(self, partition: Drop, offset: int, max_lines: int, max_bytes: int) -> Batch:
        """The next lines or rows from ``offset``; none if the file cannot be read."""
        try:
            if self._open is None or (self._open.id, self._open.reader.offset) != (
                partition.id,
                offset,
            ):
                self._close()
                self._open = self._opened(partition, offset)
            batch = self._open.reader.take(max_lines, max_bytes)
        except (OSError, SourceError) as exc:
            self._close()
            self._bad[partition.id] = partition.state
            self._tell(partition.path, exc)
            return Batch([], offset, at_end=False, rejections=[])
        if batch.at_end:
            self._close()
        return batch

    def _drops(self) -> list[Drop]:
        drops = []
        try:
            for path in matching(self._pattern):
                with suppress(FileNotFoundError):  # taken away since it was listed
                    status = path.stat()
                    if stat.S_ISREG(status.st_mode) and not path.name.startswith("_"):
                        id_ = blake2b(str(path).encode(), digest_size=16).hexdigest()
                        drops.append(Drop(id_, path, state_of(status)))
        except OSError as exc:
            self._tell(Path(self._pattern), exc)
        return drops

    def _opened(self, drop: Drop, offset: int) -> _Open:
        file = drop.path.open("rb", buffering=0)
        if file.read(len(MAGIC)) == MAGIC:
            file.close()
            rows = ParquetReader(drop.path, offset, name=drop.id, json_column=self._json_column)
            return _Open(drop.id, rows, rows)
        file.seek(0)
        reader = LineReader(unzipped(file), 0, is_whole=True, max_line_bytes=MAX_LINE_BYTES)
        reader.skip_to(offset)
        return _Open(drop.id, reader, file)

    def _tell(self, path: Path, exc: OSError | SourceError) -> None:
        said = str(exc)
        if isinstance(exc, OSError):
            said = f"{path}: {exc.strerror or type(exc).__name__}"
        if said not in self._told:
            self._told.add(said)
            self._news.append(said)

    def _close(self) -> None:
        if self._open is not None:
            self._open.file.close()
            self._open = None
