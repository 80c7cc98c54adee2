import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from monitor.errors import SourceError
from monitor.traffic.sources.lines import GZIP_MAGIC
from tests.integration.traffic.reading import Reader, names, write


def test_what_is_appended_is_read_once(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    assert reader.all() == names(1, 2)
    assert reader.all() == []
    write(log, 3)
    assert reader.all() == names(3)


def test_an_unfinished_line_is_read_when_it_is_finished(log: Path) -> None:
    reader = Reader(log)
    log.write_text("line 1\nlin")
    assert reader.all() == names(1)
    with log.open("a") as file:
        file.write("e 2\n")
    assert reader.all() == names(2)


def test_a_log_is_read_once_its_first_line_is_finished(log: Path) -> None:
    reader = Reader(log)
    log.write_text("line")
    assert reader.source.ready({}) == []
    with log.open("a") as file:
        file.write(" 1\n")
    assert reader.all() == names(1)


def test_a_first_line_longer_than_the_head_is_read_like_any_other(log: Path) -> None:
    reader = Reader(log, max_line_bytes=10_000)
    log.write_text("x" * 5000)
    assert reader.all() == []
    with log.open("a") as file:
        file.write("x\nline 1\n")
    assert reader.all() == ["x" * 5001, "line 1"]


def test_line_ends_of_windows_and_blank_lines_make_no_difference(log: Path) -> None:
    log.write_bytes(b"\xef\xbb\xbf\r\n\r\nline 1\r\n \r\n\nline 2\r\n")
    assert Reader(log).all(max_lines=1) == names(1, 2)


def test_the_oldest_file_is_read_first(tmp_path: Path) -> None:
    for name, number, at in [("b", 1, 100), ("a", 3, 300), ("c", 2, 200)]:
        write(tmp_path / f"{name}.jsonl", number, at=at)
    assert Reader(tmp_path / "*.jsonl").all() == names(1, 2, 3)


def test_a_finished_log_of_one_line_needs_no_line_end(tmp_path: Path) -> None:
    log = tmp_path / "x.jsonl"
    log.write_text("line 1")
    assert Reader(log, follow=False).all() == names(1)


def test_a_log_that_was_read_to_its_end_is_no_problem_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", 1)
    reader = Reader(tmp_path / "x.jsonl")
    reader.all()
    reader.restart()
    assert (reader.all(), reader.source.problems()) == ([], [])


def test_a_pipe_among_followed_logs_is_told_and_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", 1)
    os.mkfifo(tmp_path / "y.jsonl")
    reader = Reader(tmp_path / "*.jsonl")
    assert reader.all() == names(1)
    assert reader.source.problems() == [f"{tmp_path / 'y.jsonl'}: is not a regular file"]


@pytest.mark.parametrize(
    ("content", "follow", "problems"),
    [
        (GZIP_MAGIC + b"no more than that", False, ["no gzip that can be read"]),
        (GZIP_MAGIC + b"no more than that", True, []),  # it is still being written
        (b"", False, []),
    ],
)
def test_a_file_that_is_no_gzip_after_all_is_told_once_it_is_finished(
    tmp_path: Path, content: bytes, problems: list[str], *, follow: bool
) -> None:
    log = tmp_path / "x.jsonl"
    log.write_bytes(content)
    reader = Reader(log, follow=follow)
    assert reader.all() == []
    assert reader.source.problems() == [f"{log}: {problem}" for problem in problems]


def test_of_logs_that_were_taken_away_nothing_is_remembered(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.jsonl")
    for number in range(4):
        log = tmp_path / f"{number}.jsonl"
        write(log, number)
        assert reader.all() == names(number)
        log.unlink()
    reader.step()
    held = (reader.source._ends, reader.source._open, reader.source._heads._known)
    assert [len(each) for each in held] == [0, 0, 0]


def test_a_path_that_exists_is_no_pattern(tmp_path: Path) -> None:
    write(tmp_path / "x[1].jsonl", 1)
    write(tmp_path / "x1.jsonl", 2)
    assert Reader(tmp_path / "x[1].jsonl").all() == names(1)


def test_hidden_files_are_unfinished_copies(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", 1)
    write(tmp_path / ".x.jsonl.Ab3dE", 2)
    assert Reader(tmp_path / "*.jsonl*", follow=False).all() == names(1)


def test_a_file_cut_while_it_is_read_gives_nothing_of_the_new_content(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    (partition,) = reader.source.ready({})
    log.write_text("other 1\nother 2\n")
    batch = reader.source.read(partition, 7, 9, 999)
    assert (batch.lines, batch.next_offset) == ([], 7)
    assert reader.all() == ["other 1", "other 2"]


def test_a_file_replaced_while_it_is_read_gives_nothing_of_the_new_content(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    (partition,) = reader.source.ready({})
    log.rename(log.with_name("x.jsonl.1"))
    log.write_bytes(gzip.compress(b"other 1\nother 2\n"))
    assert reader.source.read(partition, 7, 9, 999).lines == []


def test_a_batch_that_was_not_committed_is_given_again(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    first = reader.step(1, commit=False)
    second = reader.step(1, commit=False)
    assert first == second
    assert reader.all() == names(1, 2)


def test_a_batch_that_was_not_committed_is_given_again_at_the_end(log: Path) -> None:
    reader = Reader(log)
    write(log, 1)
    reader.step(commit=False)
    assert reader.all() == names(1)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_finished_files_are_read_whole_with_their_last_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.jsonl{suffix}"
    content = b"line 1\nline 2"
    path.write_bytes(gzip.compress(content) if suffix else content)
    reader = Reader(path, follow=False)
    assert reader.all(1) == names(1, 2)
    reader.restart()
    assert reader.all() == []


def test_finished_files_that_begin_alike_are_read_apart(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 1, 2)
    write(tmp_path / "b.jsonl", 1, 3)
    reader = Reader(tmp_path / "a.jsonl", tmp_path / "b.jsonl", follow=False)
    reader.step()
    reader.restart()
    assert sorted(reader.all() + names(1, 2)) == sorted(names(1, 2, 1, 3))


def test_a_file_that_two_patterns_match_is_read_once(log: Path) -> None:
    write(log, 1)
    assert Reader(log, log.parent / "*.jsonl", follow=False).all() == names(1)


def test_a_damaged_gzip_ends_where_it_is_damaged_and_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    content = b"".join(b"line %d\n" % n for n in range(1, 2000))
    path.write_bytes(gzip.compress(content)[:-500])
    write(tmp_path / "y.jsonl", 5000)
    reader = Reader(path, tmp_path / "y.jsonl", follow=False)
    lines = reader.all(10)
    assert lines[:3] == names(1, 2, 3)
    assert "line 5000" in lines
    assert len(lines) == len(set(lines)) > 1000
    assert reader.reasons == ["bad_gzip"]
    reader.restart()
    assert (reader.all(), reader.reasons) == ([], ["bad_gzip"])


def test_a_line_that_is_too_long_costs_only_itself(log: Path) -> None:
    log.write_text("line 1\n" + "x" * 5000 + "\nline 2\n")
    reader = Reader(log, max_line_bytes=100)
    assert reader.all(1) == names(1, 2)
    assert reader.reasons == ["line_too_long"]


def test_what_cannot_be_read_is_told_once_and_stops_nobody(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", 1)
    (tmp_path / "dir.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    reader = Reader(tmp_path / "*.jsonl", tmp_path / "missing.jsonl")
    assert reader.all() == names(1)
    told = sorted(reader.source.problems())
    assert [p.rpartition("/")[2] for p in told] == [
        "dir.jsonl: is not a regular file",
        "loop.jsonl: Too many levels of symbolic links",
        "missing.jsonl: no such file",
    ]
    reader.all()
    assert reader.source.problems() == []
    (tmp_path / "dir.jsonl").rmdir()
    reader.all()
    (tmp_path / "dir.jsonl").mkdir()
    reader.all()
    assert len(reader.source.problems()) == 1


def test_a_file_shorter_than_what_was_read_is_a_problem(log: Path) -> None:
    reader = Reader(log)
    write(log, 1, 2)
    reader.all()
    os.truncate(log, 7)
    assert reader.all() == []
    assert [p.partition(": ")[2] for p in reader.source.problems()] == [
        "shorter than what was read of it before"
    ]


def test_a_file_that_vanishes_before_it_is_opened_is_a_problem(log: Path) -> None:
    reader = Reader(log)
    write(log, 1)
    (partition,) = reader.source.ready({})
    log.unlink()
    assert reader.source.read(partition, 0, 9, 999).lines == []
    assert reader.source.problems() == [f"{log}: No such file or directory"]


def test_looking_at_unchanged_files_opens_none(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(log)
    write(log, 1)
    write(log.with_name("x.jsonl.1"), 2)
    reader.all()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Path, "open", refuse)
    assert reader.source.ready(reader.cursors) == []


def test_gzip_is_not_read_from_the_start_for_each_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % n for n in range(50))))
    reader = Reader(path)
    opened: list[Path] = []
    plain_open = Path.open

    def count(self: Path, *args: object, **kwargs: object) -> object:
        opened.append(self)
        return plain_open(self, *args, **kwargs)  # type: ignore[call-overload] # passed on as is

    monkeypatch.setattr(Path, "open", count)
    assert len(reader.all(1)) == 50
    assert len(opened) == 2  # to look at its head, and to read


def pipe(path: Path, content: bytes) -> threading.Thread:
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    return writer


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pipe_goes_on_after_a_restart_with_the_same_content(
    tmp_path: Path, *, zipped: bool
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = b"line 1\nline 2\nline 3"
    content = gzip.compress(content) if zipped else content
    reader = Reader(path, follow=False)
    writer = pipe(path, content)
    reader.step(1)
    writer.join()
    reader.restart()
    writer = pipe(path, content)
    assert reader.all(1) == names(2, 3)
    writer.join()
    reader.source.__exit__()


def test_a_pipe_cannot_go_back(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = Reader(path, follow=False)
    writer = pipe(path, b"line 1\nline 2\n")
    reader.step(1, commit=False)
    with pytest.raises(SourceError, match="cannot go to 0"):
        reader.step(1)
    writer.join()
    reader.source.__exit__()


def test_standard_input_is_read_where_a_dash_is_given() -> None:
    program = (
        "from monitor.traffic.sources.jsonl import FileSource\n"
        "source = FileSource('s', ['-'], follow=False)\n"
        "(partition,) = source.ready({})\n"
        "batch = source.read(partition, 7, 9, 99)\n"
        "print(batch.lines, batch.next_offset, batch.at_end, source.ready({}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"line 1\nline 2\n", capture_output=True, check=True
    )
    assert done.stdout == b"[b'line 2\\n'] 14 True []\n"


def test_empty_standard_input_holds_nothing() -> None:
    program = (
        "from monitor.traffic.sources.jsonl import FileSource\n"
        "print(FileSource('s', ['-'], follow=False).ready({}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"", capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"
