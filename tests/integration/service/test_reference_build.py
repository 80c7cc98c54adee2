from collections.abc import Sequence
from pathlib import Path

import pytest

from monitor.encoders.images import ImageLimits
from monitor.errors import SourceError
from monitor.records import Exchange
from monitor.service.embedding import Embedder, ImageFiles
from monitor.service.reference_build import Embedding, LogReader, Selection, select
from monitor.traffic.sampling import priority
from tests.integration.service.parts import (
    STREAM,
    Clock,
    exchange,
    file_feed,
    hash_encoders,
    inline,
    late_target,
    png,
)


def quiet(stage: str, done: int, total: int) -> None:
    del stage, done, total


def reader(path: Path, stream: str | None = None) -> LogReader:
    return LogReader(lambda: file_feed(path, follow=False), stream, Clock())


def write(folder: Path, lines: Sequence[bytes], name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"".join(lines))
    return path


def chosen(path: Path, at_most: int = 100, stream: str | None = None) -> Selection:
    return select(reader(path, stream), seed=0, at_most=at_most, report=quiet)


def ids(selection: Selection) -> set[str]:
    return {name for _, name in selection.chosen}


def rows(path: Path, at_most: int = 100, keeps: bool = False) -> list[Exchange]:  # noqa: FBT001, FBT002 - a test's switch
    embedder = Embedder(hash_encoders(), ImageLimits(), with_thumbnails=keeps)
    embedding = Embedding(embedder, ImageFiles(None, ImageLimits()))
    return [row.exchange for row in embedding.rows(reader(path), chosen(path, at_most), quiet)]


def test_the_exchanges_of_smallest_priority_are_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, [exchange(f"e{i}", i / 100) for i in range(500)])
    expected = sorted(range(500), key=lambda i: priority(0, STREAM, f"e{i}"))[:20]
    assert ids(chosen(path, 20)) == {f"e{i}" for i in expected}


def test_where_there_are_fewer_all_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path, [exchange(f"e{i}", i) for i in range(9)])
    assert ids(chosen(path)) == {f"e{i}" for i in range(9)}


def test_what_is_logged_twice_is_taken_once_and_takes_no_place(tmp_path: Path) -> None:
    once = [exchange(f"e{i}", i / 100) for i in range(50)]
    assert ids(chosen(write(tmp_path, once * 3), 20)) == ids(
        chosen(write(tmp_path, once, "once.jsonl"), 20)
    )
    assert len(ids(chosen(write(tmp_path, once * 3), 20))) == 20
    assert len(rows(write(tmp_path, once * 3), 20)) == 20


def test_rows_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, [exchange(f"e{i}", i) for i in range(9)])
    assert [row.id for row in rows(path)] == [f"e{i}" for i in range(9)]


@pytest.mark.parametrize("first", [True, False])
def test_a_target_on_a_line_of_its_own_is_joined_before_or_after(
    tmp_path: Path,
    first: bool,  # noqa: FBT001 - parametrized
) -> None:
    lines = [exchange(f"e{i}", i) for i in range(9)]
    lines.insert(0 if first else 9, late_target("e3", "late"))
    found = {row.id: row.target for row in rows(write(tmp_path, lines))}
    assert found == {f"e{i}": "late" if i == 3 else None for i in range(9)}


def test_a_later_target_replaces_the_one_in_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, [exchange("a", target="first"), late_target("a", "second")])
    assert [row.target for row in rows(path)] == ["second"]


def test_targets_of_what_is_not_chosen_are_not_kept(tmp_path: Path) -> None:
    lines = [exchange(f"e{i}", i / 100) for i in range(300)]
    selection = chosen(write(tmp_path, [*lines, *(late_target(f"e{i}") for i in range(300))]), 10)
    assert set(selection.targets) == selection.chosen


def test_only_the_wanted_stream_is_read(tmp_path: Path) -> None:
    lines = [exchange(f"{s}{i}", i, stream=s) for i in range(5) for s in ("llava", "gpt")]
    selection = chosen(write(tmp_path, [*lines, late_target("gpt1", stream="gpt")]), stream="gpt")
    assert {stream for stream, _ in selection.chosen} == {"gpt"}
    assert (selection.read, set(selection.targets)) == (5, {("gpt", "gpt1")})


def test_what_was_read_and_refused_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path, [exchange("a"), b"{broken\n", b"[]\n", b"{broken\n"])
    selection = chosen(path)
    assert (selection.read, dict(selection.rejected)) == (
        1,
        {"broken_json": 2, "not_an_object": 1},
    )


def test_the_same_image_is_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [inline(png(1))]
    path = write(tmp_path, [exchange(f"e{i}", i / 10, images=shown) for i in range(150)])
    asked: list[int] = []
    images = Embedder.images
    monkeypatch.setattr(
        Embedder, "images", lambda self, files: (asked.append(len(files)), images(self, files))[1]
    )
    rows(path, 150)
    assert sum(asked) == 1


def test_a_missing_file_among_others_is_refused(tmp_path: Path) -> None:
    from monitor.service.ingest_job import Feed  # noqa: PLC0415 - only here
    from monitor.traffic.sources.jsonl import FileSource  # noqa: PLC0415 - only here

    paths = [str(write(tmp_path, [exchange("a")])), str(tmp_path / "missing.jsonl")]
    two = LogReader(
        lambda: Feed(FileSource("reference", paths, follow=False), "auto"), None, Clock()
    )
    with pytest.raises(SourceError, match=r"missing\.jsonl: no such file"):
        select(two, seed=0, at_most=9, report=quiet)
