"""Which files belong to a followed pattern: what it matches, and what that was rotated to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from monitor.records import Cursor
from monitor.traffic.sources.heads import LogFile


def matching(pattern: str) -> list[Path]:
    """The paths that a pattern matches; a path that exists is taken as it is."""
    path = Path(pattern)
    if path.exists():
        return [path]
    found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    # Hidden files are what copying programs have not finished.
    return sorted(p for p in found if path.name.startswith(".") or not p.name.startswith("."))


def rotated(pattern: str) -> Mapping[Path, list[Path]]:
    """The files beside those of a pattern that were rotated away from them, by these.

    They are named ``PATTERN.*`` (a number, a compression) or ``PATTERN-*`` (a date).
    """
    families: defaultdict[Path, list[Path]] = defaultdict(list)
    name = Path(pattern).name
    for path in sorted({*matching(pattern + ".*"), *matching(pattern + "-*")}):
        ends = (i for i, c in enumerate(path.name) if c in ".-")
        stem = next((path.name[:i] for i in ends if fnmatchcase(path.name[:i], name)), name)
        families[path.with_name(stem)].append(path)
    return families


class Rotation:
    """Which of the rotated files of a pattern are read.

    On the very first start none: only what the pattern itself matches is wanted. After that all
    whose reading has begun, and those written since the last one that was read; so any number of
    rotations while nobody looked loses nothing.
    """

    def __init__(self) -> None:
        self._passed_over: set[str | None] | None = None

    def due(
        self,
        current: Iterable[LogFile],
        families: Mapping[Path, list[LogFile]],
        cursors: Mapping[str, Cursor],
    ) -> list[LogFile]:
        if self._passed_over is None:
            by_path = {file.path: file for file in current}
            self._passed_over = {
                file.head
                for base, files in families.items()
                for file in _older(files, by_path.get(base), cursors)
            }
        return [
            file
            for files in families.values()
            for file in files
            if file.head in cursors or file.head not in self._passed_over
        ]


def _older(
    files: list[LogFile], current: LogFile | None, cursors: Mapping[str, Cursor]
) -> list[LogFile]:
    if not cursors:
        return files
    family = files if current is None else [*files, current]
    begun = [file.modified_ns for file in family if file.head in cursors]
    return [file for file in files if file.modified_ns < max(begun, default=0)]
