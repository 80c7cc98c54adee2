import gzip
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.records import Cursor
from tests.integration.traffic.reading import Reader, names, touch, write, zip_away


@pytest.mark.parametrize("restart", [False, True])
def test_a_renamed_file_is_read_to_its_end(log: Path, *, restart: bool) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    reader.step(1)
    write(log, 3)
    log.rename(log.with_name("x.jsonl.1"))
    write(log, 4)
    if restart:
        reader.restart()
    assert sorted(reader.all()) == names(2, 3, 4)


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_copied_and_cut_is_read_to_its_end_from_the_copy(
    log: Path, *, restart: bool
) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    reader.step(1)
    write(log, 3)
    shutil.copy(log, log.with_name("x.jsonl-20260301"))
    os.truncate(log, 0)
    write(log, 4)
    if restart:
        reader.restart()
    assert sorted(reader.all()) == names(2, 3, 4)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("before", [1, 3])
def test_the_gzip_of_a_rotated_file_goes_on_where_the_file_stopped(
    log: Path, before: int, *, restart: bool
) -> None:
    reader = Reader(log)
    write(log, 1, 2, 3)
    reader.step(before)
    rotated = log.rename(log.with_name("x.jsonl.1"))
    zip_away(rotated)
    write(log, 4)
    if restart:
        reader.restart()
    assert sorted(reader.all()) == names(1, 2, 3, 4)[before:]


def test_a_gzip_that_is_still_written_beside_its_original_is_left_alone(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    reader.step(1)
    rotated = log.rename(log.with_name("x.jsonl.1"))
    zipped = log.with_name("x.jsonl.1.gz")
    zipped.write_bytes(gzip.compress(rotated.read_bytes())[:-6])
    assert reader.all() == names(2)
    zipped.write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    assert (reader.all(), reader.reasons) == ([], [])


def test_the_gzip_of_a_log_ends_with_its_last_line_finished_or_not(log: Path) -> None:
    reader = Reader(log)
    log.write_text("line 1\nline 2")
    assert reader.all() == names(1)
    zip_away(log.rename(log.with_name("x.jsonl.1")))
    assert reader.all() == names(2)


def test_a_gzip_that_was_read_is_not_opened_after_a_restart(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    reader.all()
    zip_away(log.rename(log.with_name("x.jsonl.1")))
    reader.restart()
    assert reader.source.ready(reader.cursors) == []


def test_the_rest_of_a_rotated_file_is_read_though_a_newer_one_was_begun(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2, at=100)
    reader.step(1)
    log.rename(log.with_name("x.jsonl.1"))
    write(log, 3, at=200)
    newer = reader.source.ready(reader.cursors)[1]
    reader.cursors[newer.id] = Cursor("logs", newer.id, 7, at_end=True)
    reader.restart()
    assert reader.all() == names(2)


@pytest.mark.parametrize("zipped", [False, True])
def test_rotations_while_nobody_looked_lose_nothing(log: Path, *, zipped: bool) -> None:
    reader = Reader(log)
    write(log, 1, 2, at=100)
    reader.step(1)
    reader.source.__exit__()
    log.rename(log.with_name("x.jsonl.3"))
    for number in (3, 4):
        write(log, number, at=100 * number)
        log.rename(log.with_name(f"x.jsonl.{5 - number}"))
    if zipped:
        for path in sorted(log.parent.iterdir()):
            zip_away(path)
    write(log, 5, at=900)
    reader.restart()
    assert reader.all() == names(2, 3, 4, 5)


def test_what_is_old_is_asked_of_each_log_of_a_pattern_by_itself(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    reader = Reader(tmp_path / "*.jsonl")
    write(one, 1, at=100)
    write(other, 2, at=900)
    reader.all()
    one.rename(tmp_path / "one.jsonl.2")
    write(one, 3, at=300)
    one.rename(tmp_path / "one.jsonl.1")
    write(one, 4, at=400)
    reader.restart()
    assert reader.all() == names(3, 4)


def test_a_log_that_is_new_is_read_with_all_that_was_rotated_from_it(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.jsonl")
    write(tmp_path / "one.jsonl", 1, at=900)
    reader.all()
    write(tmp_path / "other.jsonl-20260301", 2, at=100)
    write(tmp_path / "other.jsonl", 3, at=200)
    reader.restart()
    assert reader.all() == names(2, 3)


def test_a_kill_after_each_batch_does_not_lose_a_rotated_file(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, at=100)
    reader.all()
    for number in (2, 3):
        log.rename(log.with_name(f"x.jsonl.{number}"))
        write(log, number, at=100 * number)
    reader.restart()
    second = reader.step()
    reader.restart()
    third = reader.step()
    assert [batch.lines for batch in (second, third) if batch] == [[b"line 2\n"], [b"line 3\n"]]


def test_a_file_written_in_the_same_instant_as_the_last_one_read_is_read(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, at=100)
    reader.all()
    log.rename(log.with_name("x.jsonl.2"))
    write(log.with_name("x.jsonl.1"), 2, at=100)
    reader.restart()
    assert reader.all() == names(2)


def test_rotations_between_two_looks_lose_nothing(log: Path) -> None:
    reader = Reader(log)
    write(log, 1)
    assert reader.all() == names(1)
    for number in (2, 3):
        log.rename(log.with_name(f"x.jsonl.{number}"))
        write(log, number)
    assert sorted(reader.all()) == names(2, 3)


def test_rotations_before_the_first_line_was_read_lose_nothing(log: Path) -> None:
    reader = Reader(log)
    assert reader.all() == []
    for number in (1, 2):
        write(log, number)
        log.rename(log.with_name(f"x.jsonl.{number}"))
    write(log, 3)
    assert sorted(reader.all()) == names(1, 2, 3)


def test_on_the_first_start_what_was_rotated_before_is_left_alone(log: Path) -> None:
    write(log.with_name("x.jsonl.1"), 1, at=100)
    write(log, 2, at=200)
    reader = Reader(log)
    assert reader.all() == names(2)
    assert reader.all() == []
    reader.restart()
    assert reader.all() == []


def test_what_was_rotated_before_the_first_start_stays_alone_after_a_rotation(log: Path) -> None:
    write(log.with_name("x.jsonl.1"), 1, at=100)
    write(log, 2, at=200)
    reader = Reader(log)
    assert reader.all() == names(2)
    reader.restart()
    log.with_name("x.jsonl.1").rename(log.with_name("x.jsonl.2"))
    log.rename(log.with_name("x.jsonl.1"))
    write(log, 3, at=300)
    assert reader.all() == names(3)


def test_each_file_of_a_pattern_rotates_by_itself(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    reader = Reader(tmp_path / "*.jsonl")
    write(a, 1, at=100)
    write(b, 2, at=900)
    assert reader.all() == names(1, 2)
    a.rename(tmp_path / "a.jsonl.2")
    write(tmp_path / "a.jsonl.1", 3, at=200)  # older than all of b
    write(a, 4, at=300)
    reader.restart()
    assert reader.all() == names(3, 4)


class Life:
    """A log that is written, rotated and read, in steps; no two of them at one time."""

    def __init__(self, log: Path, max_lines: int) -> None:
        self.log = log
        self.max_lines = max_lines
        self.clock = 1_000
        self.written = 0
        self.write()
        self.reader = Reader(log)
        self.found = self.reader.all()

    def write(self) -> None:
        self.written += 2
        self._append(f"line {self.written - 1}\nline {self.written}\n")

    def write_half_a_line(self) -> None:
        self._append("half of ")

    def read(self) -> None:
        batch = self.reader.step(self.max_lines)
        self.found += [line.decode().rstrip() for line in batch.lines] if batch else []

    def read_without_commit(self) -> None:
        self.reader.step(self.max_lines, commit=False)

    def restart(self) -> None:
        self.reader.restart()

    def rename(self) -> None:
        self.write()
        self.log.rename(self._rotated())

    def copy_and_cut(self) -> None:
        self.write()
        shutil.copy2(self.log, self._rotated())
        os.truncate(self.log, 0)

    def zip_rotated(self) -> None:
        for path in self.log.parent.glob("x.jsonl.????"):
            zip_away(path)

    def _rotated(self) -> Path:
        return self.log.with_name(f"x.jsonl.{self.clock}")

    def _append(self, text: str) -> None:
        self.clock += 1
        with self.log.open("a") as file:
            file.write(text)
        touch(self.log, self.clock)


STEPS = [
    Life.write,
    Life.write_half_a_line,
    Life.read,
    Life.read_without_commit,
    Life.restart,
    Life.rename,
    Life.copy_and_cut,
    Life.zip_rotated,
]


@given(steps=st.lists(st.sampled_from(STEPS), max_size=25), max_lines=st.integers(1, 4))
@settings(deadline=None)
def test_each_line_arrives_exactly_once_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory,
    steps: Sequence[Callable[[Life], None]],
    max_lines: int,
) -> None:
    life = Life(tmp_path_factory.mktemp("logs") / "x.jsonl", max_lines)
    for step in steps:
        step(life)
    life.restart()
    found = life.found + life.reader.all(max_lines)
    life.reader.source.__exit__()
    assert sorted(line.replace("half of ", "") for line in found) == sorted(
        names(*range(1, life.written + 1))
    )
