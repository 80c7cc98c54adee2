"""A reader of logs for tests, and what happens to logs meanwhile."""

import gzip
import os
from pathlib import Path

from monitor.records import Cursor
from monitor.traffic.sources.jsonl import FileSource
from monitor.traffic.sources.lines import Batch


class Reader:
    """Reads as a job does, with committed cursors; a restart forgets what is not committed."""

    def __init__(self, *patterns: Path | str, follow: bool = True, max_line_bytes: int = 999):
        self.patterns = [str(p) for p in patterns]
        self.follow = follow
        self.max_line_bytes = max_line_bytes
        self.cursors: dict[str, Cursor] = {}
        self.reasons: list[str] = []
        self.source = self.fresh()

    def fresh(self) -> FileSource:
        return FileSource(
            "logs", self.patterns, follow=self.follow, max_line_bytes=self.max_line_bytes
        )

    def restart(self) -> None:
        self.source.__exit__()
        self.source = self.fresh()

    def step(self, max_lines: int = 100, *, commit: bool = True) -> Batch | None:
        ready = self.source.ready(self.cursors)
        if not ready:
            return None
        cursor = self.cursors.get(ready[0].id)
        batch = self.source.read(ready[0], cursor.offset if cursor else 0, max_lines, 2**20)
        if commit:
            self.cursors[ready[0].id] = Cursor("logs", ready[0].id, batch.next_offset, batch.at_end)
        return batch

    def all(self, max_lines: int = 100) -> list[str]:
        lines: list[str] = []
        while batch := self.step(max_lines):
            lines += [line.decode().rstrip() for line in batch.lines]
            self.reasons += [r.reason for r in batch.rejections]
        return lines


def names(*numbers: int) -> list[str]:
    return [f"line {n}" for n in numbers]


def write(path: Path, *numbers: int, at: int | None = None) -> None:
    """Append whole lines; ``at`` is the time of the write, in seconds."""
    with path.open("a") as file:
        file.writelines(f"{name}\n" for name in names(*numbers))
    touch(path, at)


def touch(path: Path, at: int | None) -> None:
    if at is not None:
        os.utime(path, (at, at))


def zip_away(path: Path) -> None:
    """As gzip does: the time of the last write stays."""
    status = path.stat()
    zipped = path.with_name(path.name + ".gz")
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(zipped, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
