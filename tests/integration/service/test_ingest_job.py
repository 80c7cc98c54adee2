import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from monitor.service import ingest_job as ingest_module
from monitor.service.ingest_job import GONE, QUIET, Feed, IngestJob
from monitor.store.cursors import cursors_of
from monitor.store.engine import Database
from monitor.store.streams import watermarks
from monitor.traffic.sources import lines as lines_module
from tests.integration.service.parts import (
    MINUTE,
    NOW,
    STREAM,
    Clock,
    at,
    exchange,
    file_feed,
    ingest_job,
    late_target,
    outcomes,
)

Start = Callable[..., IngestJob]


@pytest.fixture
def start(database: Database) -> Iterator[Start]:
    """A job over some files; each call is a new process on the same database."""
    with ExitStack() as stack:

        def new(
            *feeds: Feed,
            follows_clock: bool = False,
            clock: Clock | None = None,
            registry: CollectorRegistry | None = None,
        ) -> IngestJob:
            clock = clock or Clock()
            for feed in feeds:
                stack.enter_context(feed.source)
            return ingest_job(database, feeds, clock, registry, follows_clock=follows_clock)

        yield new


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 10)


def never() -> bool:
    return False


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def mark(database: Database, stream: str = STREAM) -> datetime | None:
    with database.read() as session:
        return watermarks(session).get(stream)


def test_all_that_was_written_is_read_once_whatever_is_appended_between(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    log.write_bytes(b"")
    job = start(file_feed(log))
    lines = [exchange(f"e{i}", i) for i in range(30)]
    content = b"".join(lines)
    for begin in range(0, len(content), 777):
        with log.open("ab") as file:
            file.write(content[begin : begin + 777])
        job.run(never)
    assert outcomes(database) == {"admitted": 30, "sampled": 30}


def test_a_restart_goes_on_where_the_last_process_stopped(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange(f"e{i}", i) for i in range(5)])
    start(file_feed(log)).run(never)
    with log.open("ab") as file:
        file.write(exchange("new", 6))
    start(file_feed(log)).run(never)
    assert outcomes(database) == {"admitted": 6, "sampled": 6}


def test_a_log_that_rotates_while_it_is_read_loses_and_doubles_nothing(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("e0", 0)])
    job = start(file_feed(log))
    job.run(never)
    with log.open("ab") as file:
        file.write(exchange("e1", 1))
    log.rename(tmp_path / "a.jsonl.1")
    write(log, [exchange("e2", 2)])
    job.run(never)
    rotated = tmp_path / "a.jsonl.1"
    (tmp_path / "a.jsonl.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    start(file_feed(log)).run(never)
    assert outcomes(database) == {"admitted": 3, "sampled": 3}


# --- the order in which files are read


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "minutes",
    [
        pytest.param([[*range(0, 300, 2)], [*range(1, 300, 2)]], id="interleaved"),
        pytest.param([[*range(150)], [*range(150, 300)]], id="one after the other"),
        pytest.param([[*range(150, 300)], [*range(150)]], id="the other after the one"),
        pytest.param([[*range(300)], [299]], id="one short"),
    ],
)
def test_no_exchange_of_any_file_is_late_whatever_the_files_times(
    database: Database, start: Start, tmp_path: Path, minutes: list[list[int]]
) -> None:
    for number, its_minutes in enumerate(minutes):
        lines = [exchange(f"{number}-{m}", m) for m in its_minutes]
        write(tmp_path / f"{number}.jsonl", lines)
    start(file_feed(tmp_path / "*.jsonl")).run(never)
    assert outcomes(database)["admitted"] == sum(map(len, minutes))
    assert "late" not in outcomes(database)


@pytest.mark.usefixtures("small_batches")
def test_the_watermark_never_passes_an_event_that_is_still_to_be_read(
    database: Database, start: Start, tmp_path: Path
) -> None:
    minutes = {"0": [*range(0, 200, 2)], "1": [*range(1, 100, 1)], "2": [*range(150, 200)]}
    for name, its in minutes.items():
        write(tmp_path / f"{name}.jsonl", [exchange(f"{name}-{m}", m) for m in its])
    feeds = [file_feed(tmp_path / f"{name}.jsonl", name=name) for name in minutes]
    job = start(*feeds)
    passed = []
    while job.step():
        with database.read() as session:
            read = {name: len_read(session, name, tmp_path) for name in minutes}
        unread = [its[read[name]] for name, its in minutes.items() if read[name] < len(its)]
        reached = mark(database)
        passed += [reached is not None and at(m) < reached for m in unread]
    assert passed
    assert not any(passed)


def len_read(session: object, name: str, folder: Path) -> int:
    """Lines of a file up to its cursor."""
    cursors = cursors_of(session, name)  # type: ignore[arg-type]  # a session
    offset = max((c.offset for c in cursors.values()), default=0)
    return (folder / f"{name}.jsonl").read_bytes()[:offset].count(b"\n")


@pytest.mark.usefixtures("small_batches")
def test_there_is_no_watermark_before_every_file_was_looked_into(
    database: Database, start: Start, tmp_path: Path
) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.jsonl", [exchange(f"{name}{i}", i) for i in range(20)])
    job = start(file_feed(tmp_path / "*.jsonl"))
    job.step()
    assert mark(database) is None


def test_when_all_is_read_the_watermark_is_the_newest_event(
    database: Database, start: Start, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", [exchange("a", 3), exchange("b", 1)])
    write(tmp_path / "b.jsonl", [exchange("c", 2), exchange("d", 7, stream="gpt")])
    start(file_feed(tmp_path / "*.jsonl")).run(never)
    assert (mark(database), mark(database, "gpt")) == (at(3), at(7))


def test_where_it_follows_the_clock_the_watermark_is_now_once_all_is_read(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a", 3)])
    clock = Clock()
    job = start(file_feed(log), follows_clock=True, clock=clock)
    job.run(never)
    assert mark(database) == NOW
    clock.now = NOW + timedelta(hours=1)
    job.run(never)
    assert mark(database) == NOW + timedelta(hours=1)


@pytest.mark.usefixtures("small_batches")
def test_the_clock_closes_nothing_while_something_is_unread(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange(f"e{i}", i) for i in range(30)])
    start(file_feed(log), follows_clock=True).step()
    assert mark(database) == at(9)


def test_a_clock_that_is_behind_the_events_does_not_hold_the_watermark_back(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a", 3)])
    start(file_feed(log), follows_clock=True, clock=Clock(at(1))).run(never)
    assert mark(database) == at(3)


def test_a_line_that_is_still_being_written_does_not_stop_the_clock(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a", 3), exchange("b", 4)[:-9]])
    start(file_feed(log), follows_clock=True).run(never)
    assert mark(database) == NOW


def test_a_file_that_holds_only_targets_does_not_stop_the_watermark(
    database: Database, start: Start, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", [exchange("a", 3)])
    write(tmp_path / "b.jsonl", [late_target("a")])
    start(file_feed(tmp_path / "*.jsonl")).run(never)
    assert (mark(database), outcomes(database)["target"]) == (at(3), 1)


# --- logs that are done with


def half(name: str, kind: str, data: object) -> bytes:
    """Half a call, as KServe's logger tells it."""
    event = {
        "specversion": "1.0",
        "id": name,
        "type": f"org.kubeflow.serving.inference.{kind}",
        "source": "logger",
        "time": at(0).isoformat(),
        "inferenceservicename": STREAM,
        "data": data,
    }
    return json.dumps(event).encode() + b"\n"


def asked(name: str) -> bytes:
    return half(name, "request", {"messages": [{"role": "user", "content": "Why?"}]})


def answered(name: str) -> bytes:
    return half(name, "response", {"id": "r", "choices": [{"message": {"content": "So."}}]})


def test_the_halves_of_a_call_find_each_other_whenever_they_are_read(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [asked("a")])
    job = start(file_feed(log), follows_clock=True)
    job.run(never)
    with log.open("ab") as file:
        file.write(answered("a"))
    job.run(never)
    assert outcomes(database) == {"admitted": 1, "sampled": 1}


def test_half_a_call_in_a_log_that_was_rotated_away_is_counted_once_the_log_is_quiet(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [asked("a")])
    clock = Clock()
    job = start(file_feed(log), follows_clock=True, clock=clock)
    job.run(never)
    log.rename(tmp_path / "a.jsonl.1")
    for turn in range(2):
        clock.now = NOW + QUIET + turn * MINUTE
        with log.open("ab") as file:
            file.write(exchange(f"e{turn}", turn))
        job.run(never)
        assert outcomes(database).get("lost_response", 0) == turn


def test_of_logs_that_were_rotated_away_nothing_stays_in_memory(
    database: Database, start: Start, tmp_path: Path
) -> None:
    clock = Clock()
    job = start(file_feed(tmp_path / "*.jsonl"), follows_clock=True, clock=clock)
    for hour in range(5):
        clock.now = NOW + hour * 2 * QUIET
        write(tmp_path / f"{hour}.jsonl", [exchange(f"e{hour}", 60 * hour)])
        job.run(never)
    assert len(job._formats) == len(job._intake._times) == 1
    assert outcomes(database)["admitted"] == 5


@pytest.mark.usefixtures("small_batches")
def test_at_the_end_of_a_finished_log_and_no_sooner_half_a_call_is_given_up(
    database: Database, start: Start, tmp_path: Path
) -> None:
    others = [exchange(f"e{i}", 0) for i in range(20)]
    log = write(tmp_path / "a.jsonl", [asked("a"), *others, answered("a"), asked("b")])
    start(file_feed(log, follow=False)).run(never)
    assert outcomes(database) == {"admitted": 21, "sampled": 21, "lost_response": 1}


def known(database: Database, source: str) -> int:
    with database.read() as session:
        return len(cursors_of(session, source))


def test_logs_that_were_taken_away_are_forgotten_and_those_that_are_there_are_not_read_again(
    database: Database, start: Start, tmp_path: Path
) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.jsonl", [exchange(f"e{number}", number)])
    clock, pattern = Clock(), tmp_path / "*.jsonl"
    start(file_feed(pattern), follows_clock=True, clock=clock).run(never)
    for number in range(2):
        (tmp_path / f"{number}.jsonl").unlink()
    numbers = []
    for age in (GONE, GONE + QUIET):
        clock.now = NOW + age
        start(file_feed(pattern), follows_clock=True, clock=clock).run(never)
        numbers.append(known(database, str(pattern)))
    assert numbers == [3, 1]
    assert outcomes(database)["admitted"] == 3


def test_a_folder_that_is_not_mounted_is_not_forgotten(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a", 1)])
    clock = Clock()
    job = start(file_feed(log), follows_clock=True, clock=clock)
    job.run(never)
    log.rename(tmp_path / "elsewhere")
    clock.now = NOW + 2 * GONE
    job.run(never)
    (tmp_path / "elsewhere").rename(log)
    job.run(never)
    assert outcomes(database)["admitted"] == 1


# --- what goes wrong


def test_a_file_that_is_not_there_is_told_once_and_the_others_are_read(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a")])
    job = start(file_feed(tmp_path / "missing.jsonl"), file_feed(log))
    with structlog.testing.capture_logs() as logs:
        job.run(never)
        job.run(never)
    told = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told == [f"{tmp_path / 'missing.jsonl'}: no such file"]
    assert outcomes(database)["admitted"] == 1


def test_a_file_that_cannot_be_read_on_keeps_no_other_from_being_read(
    database: Database,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck = write(tmp_path / "stuck.jsonl", [exchange("a", 0)])
    fine = write(tmp_path / "fine.jsonl", [exchange("b", 5), exchange("c", 6)])
    feeds = [file_feed(stuck, name="stuck"), file_feed(fine, name="fine")]
    opened = feeds[0].source._at

    def fails(path: Path, offset: int) -> object:
        del path, offset
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(feeds[0].source, "_at", fails)
    job = start(*feeds)
    job.run(never)
    assert outcomes(database) == {"admitted": 2, "sampled": 2}
    monkeypatch.setattr(feeds[0].source, "_at", opened)
    job.run(never)
    assert outcomes(database)["admitted"] == 3


def test_a_batch_of_long_lines_ends_after_its_bytes(
    database: Database, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "CHUNK_BYTES", 500)
    monkeypatch.setattr(ingest_module, "READ_BYTES", 500)
    monkeypatch.setattr(ingest_module, "BATCH_BYTES", 2000)
    lines = [exchange(f"e{i}", i) for i in range(100)]
    job = start(file_feed(write(tmp_path / "a.jsonl", lines)))
    job.step()
    read = sum(map(len, lines[: outcomes(database)["admitted"]]))
    assert 2000 <= read < 2000 + 500 + 500  # a piece, and what was fetched with it


def test_told_to_stop_it_stops_between_two_batches(
    database: Database, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 10)
    log = write(tmp_path / "a.jsonl", [exchange(f"e{i}", i) for i in range(100)])
    answers = iter([False, False, True])
    start(file_feed(log)).run(lambda: next(answers))
    assert outcomes(database)["admitted"] == 20


@pytest.mark.usefixtures("small_batches")
def test_the_lag_is_of_the_own_source_and_nothing_once_all_is_read(
    database: Database, start: Start, tmp_path: Path
) -> None:
    registry = CollectorRegistry()
    behind = write(tmp_path / "behind.jsonl", [exchange(f"e{i}", i) for i in range(40)])
    done = write(tmp_path / "done.jsonl", [exchange("x", 5)])
    feeds = file_feed(behind, name="behind"), file_feed(done, name="done")
    job = start(*feeds, clock=Clock(at(60)), registry=registry)

    def lag(source: str) -> float | None:
        return registry.get_sample_value("mllm_monitor_source_lag_seconds", {"source": source})

    for _ in range(3):
        job.step()
    assert (lag("behind"), lag("done")) == ((60 - 19) * 60, 0)
    job.run(never)
    assert (lag("behind"), lag("done")) == (0, 0)


@pytest.mark.usefixtures("small_batches")
def test_the_lag_of_a_source_is_that_of_its_file_furthest_behind(
    database: Database, start: Start, tmp_path: Path
) -> None:
    registry = CollectorRegistry()
    for name, begin in (("a", 0), ("b", 20)):
        lines = [exchange(f"{name}{i}", begin + i) for i in range(30)]
        write(tmp_path / f"{name}.jsonl", lines)
    feed = file_feed(tmp_path / "*.jsonl", name="logs")
    job = start(feed, clock=Clock(at(60)), registry=registry)
    for _ in range(2):
        job.step()
    lag = registry.get_sample_value("mllm_monitor_source_lag_seconds", {"source": "logs"})
    assert lag == (60 - 9) * 60


def test_two_processes_that_read_the_same_file_count_it_once(
    database: Database, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 7)
    log = write(tmp_path / "a.jsonl", [exchange(f"e{i}", i) for i in range(100)])
    one, other = start(file_feed(log)), start(file_feed(log))
    # The other one has looked at the cursors and is then overtaken.
    unread = other._unread()
    one.step()
    other._read(*unread[0])
    while one.step() | other.step():
        pass
    assert outcomes(database) == {"admitted": 100, "sampled": 100}


def test_a_rotated_log_does_not_make_the_stream_late(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a", 100)])
    job = start(file_feed(log))
    job.run(never)
    log.rename(tmp_path / "a.jsonl.1")
    write(log, [exchange("b", 1)])
    job.run(never)
    assert outcomes(database)["admitted"] == 2


def test_logs_hold_no_content(database: Database, start: Start, tmp_path: Path) -> None:
    del database
    said = "patient-zero"
    lines = [
        json.dumps({"id": "a", "query": {"text": said}}).encode() + b"\n",
        exchange("a", 1, response=said),
        said.encode() + b"\n",
    ]
    with structlog.testing.capture_logs() as logs:
        start(file_feed(write(tmp_path / "a.jsonl", lines))).run(never)
    assert logs
    assert said not in repr(logs)


def test_a_compressed_copy_beside_its_original_is_not_read_again(
    database: Database, start: Start, tmp_path: Path
) -> None:
    log = write(tmp_path / "a.jsonl", [exchange("a", 1)])
    job = start(file_feed(log))
    job.run(never)
    with log.open("rb") as plain, gzip.open(tmp_path / "a.jsonl.1.gz", "wb") as zipped:
        shutil.copyfileobj(plain, zipped)
    job.run(never)
    assert outcomes(database)["admitted"] == 1
