"""Files that a writer drops into a folder while a job reads it."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import structlog
from pyarrow import parquet as pq

from monitor.errors import SourceError
from monitor.service import ingest_job as ingest_module
from monitor.service import intake as intake_module
from monitor.service.ingest_job import Feed, IngestJob
from monitor.store.cursors import save_cursor
from monitor.store.engine import Database
from monitor.store.samples import sample_times
from monitor.traffic.sources.folder import FolderSource
from tests.integration.service.parts import STREAM, Clock, at, exchange, ingest_job, outcomes

SETTLE = 10
NOW_SECONDS = 1_000_000
embedded = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Process = Callable[..., IngestJob]


@pytest.fixture
def process(database: Database, tmp_path: Path) -> Iterator[Process]:
    """Each call is a new process on the same database."""
    with ExitStack() as stack:

        def new(**options: str) -> IngestJob:
            source = FolderSource(
                "drops",
                str(tmp_path / "*" / "*"),
                settle_seconds=SETTLE,
                clock=lambda: NOW_SECONDS,
                **options,
            )
            stack.enter_context(source)
            clock = Clock(at(60))
            return ingest_job(database, [Feed(source, "auto")], clock, follows_clock=True)

        yield new


@pytest.fixture
def drops(tmp_path: Path) -> Path:
    folder = tmp_path / "2026-03-01"
    folder.mkdir()
    return folder


def settled(path: Path, content: bytes | None = None, age: int = SETTLE) -> Path:
    if content is not None:
        path.write_bytes(content)
    os.utime(path, (NOW_SECONDS - age, NOW_SECONDS - age))
    return path


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(exchange(f"e{i}", i / 10) for i in range(first, first + count))


def never() -> bool:
    return False


def parquet(path: Path, columns: dict[str, list[Any]], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return settled(path)


def native(count: int) -> dict[str, list[Any]]:
    return {
        "time": [at(i / 10) for i in range(count)],
        "stream": [STREAM] * count,
        "query": [f"What is {i}?" for i in range(count)],
        "response": ["A taxi."] * count,
        "labels": [{"tenant": "a", "none": None}] * count,
    }


@embedded
def test_each_finished_file_is_read_once_in_whatever_form(
    database: Database, process: Process, drops: Path
) -> None:
    settled(drops / "a.jsonl", lines(10))
    settled(drops / "b.jsonl.gz", gzip.compress(lines(10, 10)))
    process().run(never)
    settled(drops / "c", lines(10, 20).rstrip())
    for _ in range(2):
        process().run(never)
    assert outcomes(database) == {"admitted": 30, "sampled": 30}


@embedded
def test_what_is_being_written_is_left_until_it_is_finished(
    database: Database, process: Process, drops: Path
) -> None:
    young = settled(drops / "a.jsonl", lines(2), age=SETTLE - 1)
    settled(drops / ".a.jsonl", lines(2))
    settled(drops / "_a.jsonl", lines(2))
    job = process()
    job.run(never)
    assert outcomes(database) == {}
    settled(young)
    job.run(never)
    assert outcomes(database)["admitted"] == 2


@embedded
def test_files_that_begin_alike_are_read_each_and_repeats_are_known(
    database: Database, process: Process, drops: Path
) -> None:
    settled(drops / "a.jsonl", lines(3))
    settled(drops / "b.jsonl", lines(3) + exchange("late", -60) + exchange("new", 1))
    process().run(never)
    assert outcomes(database) == {"admitted": 4, "sampled": 4, "duplicate": 3, "late": 1}


class KilledError(Exception):
    """What a test stops a process with."""


@pytest.mark.parametrize("form", ["lines", "gzip", "parquet"])
def test_killed_before_the_commit_it_ends_as_if_it_had_not_been(
    database: Database,
    process: Process,
    drops: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 7)
    if form == "parquet":
        parquet(drops / "a", native(40), row_group_size=9)
    else:
        settled(drops / "a", lines(40) if form == "lines" else gzip.compress(lines(40)))
    kills = iter([False, True, False, True])

    def save_or_die(*args: object) -> None:
        save_cursor(*args)  # type: ignore[arg-type]  # passed on
        if next(kills, False):
            raise KilledError

    monkeypatch.setattr(intake_module, "save_cursor", save_or_die)
    job = process()
    for _ in range(2):
        with pytest.raises(KilledError):
            job.run(never)
    process().run(never)
    assert outcomes(database) == {"admitted": 40, "sampled": 40}


@embedded
def test_columns_of_parquet_make_native_records_called_by_file_and_row(
    database: Database, process: Process, drops: Path
) -> None:
    columns = native(2)
    nanoseconds = [datetime.timestamp(at(i)) * 10**9 + 1 for i in range(2)]
    columns["time"] = pa.array([int(n) for n in nanoseconds]).cast(pa.timestamp("ns"))
    path = parquet(drops / "a.parquet", columns)
    source = FolderSource("drops", str(path))
    (drop,) = source.partitions()
    process().run(never)
    with database.read() as session:
        names = [(STREAM, f"{drop}:{row}") for row in range(3)]
        assert sample_times(session, names).keys() == {*names[:2]}


@embedded
def test_a_column_of_parquet_may_hold_whole_records(
    database: Database, process: Process, drops: Path
) -> None:
    records = [exchange("a").decode(), None, exchange("b").decode(), "{"]
    parquet(drops / "a.parquet", {"more": [1, 2, 3, 4], "record": records})
    process(json_column="record").run(never)
    assert outcomes(database) == {"admitted": 2, "sampled": 2, "broken_json": 1}


@embedded
def test_a_damaged_file_is_told_once_holds_nothing_back_and_is_read_when_it_is_whole(
    database: Database, process: Process, drops: Path
) -> None:
    path = parquet(drops / "a.parquet", native(5))
    whole = path.read_bytes()
    settled(path, whole[:-9], age=SETTLE + 1)
    settled(drops / "b.jsonl", lines(2))
    job = process()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            job.run(never)
    told = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told == [f"{path}: is not a whole Parquet file"]
    assert outcomes(database)["admitted"] == 2
    settled(path, whole)
    job.run(never)
    assert outcomes(database)["admitted"] == 7


@embedded
def test_a_missing_column_is_named(database: Database, process: Process, drops: Path) -> None:
    path = parquet(drops / "a.parquet", {"time": [at(0)], "stream": [STREAM]})
    with structlog.testing.capture_logs() as logs:
        process().run(never)
    told = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told == [f"{path} has no column query, response"]


def test_without_the_extra_it_is_said_what_to_install(
    drops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(drops / "a.parquet", b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    source = FolderSource("drops", str(drops / "*"), clock=lambda: NOW_SECONDS + SETTLE)
    source.read(source.ready({})[0], 0, 10, 10)
    assert source.problems() == [
        "Parquet files need an extra: pip install 'mllm-drift-monitor[parquet]'"
    ]


def test_a_probe_counts_the_files(drops: Path) -> None:
    settled(drops / "a.jsonl", json.dumps({}).encode())
    assert FolderSource("drops", str(drops / "*")).probe() == "1 files now"


def test_a_folder_that_cannot_be_listed_is_said(
    drops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("monitor.traffic.sources.folder.matching", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        FolderSource("drops", str(drops / "*")).probe()
