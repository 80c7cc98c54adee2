"""Tables that an application writes while a job reads them."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from sqlalchemy import create_engine, text

from monitor.errors import SourceError
from monitor.service import ingest_job as ingest_module
from monitor.service import intake as intake_module
from monitor.service.ingest_job import Feed, IngestJob
from monitor.store.cursors import cursors_of, save_cursor
from monitor.store.engine import Database
from monitor.store.samples import sample_times
from monitor.traffic.sources.table import RETRY_SECONDS, TableSource, read_url
from tests.integration.service.parts import STREAM, Clock, at, exchange, ingest_job, outcomes

SETTLE = 10.0
embedded = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@dataclass
class Seconds:
    """A clock of seconds that stands still until it is set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Application:
    """Writes whole records into a table of its own."""

    path: Path
    seconds: Seconds = field(default_factory=Seconds)

    def __post_init__(self) -> None:
        self.execute("CREATE TABLE calls (key INTEGER PRIMARY KEY, record TEXT)")

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def execute(self, statement: str, *rows: tuple[object, ...]) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(statement, rows or [()])

    def insert(self, *keys: int) -> None:
        rows = [(key, exchange(f"e{key}", key / 10).decode()) for key in keys]
        self.execute("INSERT INTO calls VALUES (?, ?)", *rows)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path / "application.db")


def table(application: Application, **options: str) -> TableSource:
    wanted = {"url": application.url, "rows": ("calls", "key"), "json_column": "record", **options}
    return TableSource("calls", **wanted, settle_seconds=SETTLE, clock=application.seconds)


@pytest.fixture
def process(database: Database) -> Iterator[Callable[[TableSource], IngestJob]]:
    """Each call is a new process on the same database."""
    with ExitStack() as stack:

        def new(source: TableSource) -> IngestJob:
            stack.enter_context(source)
            clock = Clock(at(60))
            return ingest_job(database, [Feed(source, "auto")], clock, follows_clock=True)

        yield new


Process = Callable[[TableSource], IngestJob]


def never() -> bool:
    return False


def settle(job: IngestJob, application: Application) -> None:
    """Let it see what is there, and read that once it has settled."""
    job.run(never)
    application.seconds.now += SETTLE
    job.run(never)


def offset(database: Database) -> int:
    with database.read() as session:
        cursor = cursors_of(session, "calls").get("calls")
        return cursor.offset if cursor else 0


# --- exactly once


def test_every_row_is_counted_once_over_restarts(
    database: Database, process: Process, application: Application
) -> None:
    for first in (1, 41):
        application.insert(*range(first, first + 40))
        settle(process(table(application)), application)
    assert outcomes(database) == {"admitted": 80, "sampled": 80}
    assert offset(database) == 81


@embedded
def test_a_row_that_is_committed_after_later_ones_is_read_in_its_turn(
    database: Database, process: Process, application: Application
) -> None:
    job = process(table(application))
    application.insert(1, 3)
    job.run(never)
    application.seconds.now += SETTLE - 1
    application.insert(2, 4)
    job.run(never)
    assert offset(database) == 0
    application.seconds.now += 1
    job.run(never)
    assert (offset(database), outcomes(database)["admitted"]) == (4, 3)
    settle(job, application)
    assert (offset(database), outcomes(database)["admitted"]) == (5, 4)


class KilledError(Exception):
    """What a test stops a process with."""


def test_killed_before_the_commit_it_ends_as_if_it_had_not_been(
    database: Database, process: Process, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 7)
    application.insert(*range(1, 51))
    kills = iter([False, True, False, True])

    def save_or_die(*args: object) -> None:
        save_cursor(*args)  # type: ignore[arg-type]  # passed on
        if next(kills, False):
            raise KilledError

    monkeypatch.setattr(intake_module, "save_cursor", save_or_die)
    job = process(table(application))
    job.run(never)
    application.seconds.now += SETTLE
    for _ in range(2):
        with pytest.raises(KilledError):
            job.run(never)
    settle(process(table(application)), application)
    assert outcomes(database) == {"admitted": 50, "sampled": 50}


@pytest.mark.parametrize("size", [1, 300, 900])
def test_a_batch_ends_after_so_many_rows_or_bytes_and_says_whether_that_was_all(
    application: Application, size: int
) -> None:
    application.insert(*range(1, 5))
    with table(application) as source:
        source.ready({})
        application.seconds.now += SETTLE
        (rows,) = source.ready({})
        by_rows = source.read(rows, 0, 3, 2**20)
        assert (len(by_rows.lines), by_rows.next_offset, by_rows.at_end) == (3, 4, False)
        by_bytes = source.read(rows, 2, 100, size)
        assert sum(map(len, by_bytes.lines[:-1])) < size
        assert by_bytes.at_end == (by_bytes.next_offset == 5)
        rest = source.read(rows, 4, 1, 2**20)
        assert (len(rest.lines), rest.next_offset, rest.at_end) == (1, 5, True)


# --- what rows hold


@embedded
def test_repeats_gaps_disorder_and_empty_cells_are_taken_as_they_come(
    database: Database, process: Process, application: Application
) -> None:
    records = {
        2: exchange("a", 30),
        5: exchange("b", 29),
        6: exchange("a", 30),
        7: exchange("late", 1),
        9: b"",
        10: b"{",
    }
    rows = [(key, record.decode()) for key, record in records.items()]
    application.execute("INSERT INTO calls VALUES (?, ?)", *rows, (11, None))
    settle(process(table(application)), application)
    assert outcomes(database) == {
        "admitted": 2,
        "sampled": 2,
        "duplicate": 1,
        "late": 1,
        "broken_json": 1,
    }
    assert offset(database) == 12


NATIVE = {
    "time": at(3).replace(tzinfo=None).isoformat(" "),
    "stream": STREAM,
    "query": "What is it?",
    "response": "A taxi.",
    "target": None,
    "labels": json.dumps({"tenant": "a"}),
}


@embedded
def test_columns_make_native_records_whose_id_is_the_key_and_whose_times_are_utc(
    database: Database, process: Process, application: Application
) -> None:
    names = ", ".join(NATIVE)
    application.execute(f"CREATE TABLE spoken (key INTEGER PRIMARY KEY, more INTEGER, {names})")
    application.execute(
        f"INSERT INTO spoken (key, {names}) VALUES (17, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        tuple(NATIVE.values()),
    )
    application.execute("CREATE VIEW seen AS SELECT * FROM spoken")
    settle(process(table(application, rows=("seen", "key"), json_column="")), application)
    with database.read() as session:
        assert sample_times(session, [(STREAM, "17")]) == {(STREAM, "17"): at(0)}


@pytest.mark.postgres
def test_a_server_that_is_lost_is_noticed(application: Application, postgres_url: str) -> None:
    url = f"{postgres_url}&keepalives_idle=77"  # what the address says goes before
    with table(application, url=url) as source, source._connected() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        found = driver.info.get_parameters()
    assert (found["keepalives_idle"], found["tcp_user_timeout"]) == ("77", "40000")


@pytest.mark.postgres
@embedded
def test_a_schema_of_postgresql_is_read_with_its_own_types(
    database: Database, process: Process, application: Application, postgres_url: str
) -> None:
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA app"))
        connection.execute(
            text(
                "CREATE TABLE app.calls (key bigserial, id uuid DEFAULT gen_random_uuid(), "
                'time timestamptz, stream text, query text, response text, labels jsonb, "Odd" xml)'
            )
        )
        connection.execute(
            text(
                "INSERT INTO app.calls (time, stream, query, response, labels) SELECT "
                "'2026-03-01 13:00:00+01', 'llava', 'q' || n, 'a', '{\"tenant\": 1}' "
                "FROM generate_series(1, 30) n"
            )
        )
    settle(
        process(table(application, url=postgres_url, rows=("app.calls", "key"), json_column="")),
        application,
    )
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA app CASCADE"))
    engine.dispose()
    assert outcomes(database) == {"admitted": 30, "sampled": 30}


# --- what goes wrong


@embedded
def test_a_table_that_can_be_looked_at_and_not_read_is_one_line(
    database: Database, process: Process, application: Application
) -> None:
    application.insert(1)
    application.execute("ALTER TABLE calls ADD COLUMN more TEXT")
    job = process(table(application, json_column="more"))
    job.run(never)
    application.execute("ALTER TABLE calls DROP COLUMN more")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            application.seconds.now += SETTLE
            job.run(never)
    told = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told == ["no such column: calls.more"]


@embedded
def test_a_database_that_is_away_is_one_line_until_it_is_back(
    database: Database, process: Process, application: Application
) -> None:
    application.insert(1)
    away = application.path.rename(application.path.with_name("away.db"))
    job = process(table(application))
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            job.run(never)
            application.seconds.now += RETRY_SECONDS
        away.rename(application.path)
        settle(job, application)
    told = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told == [f"{application.path}: no such file"]
    assert outcomes(database)["admitted"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": ("nowhere", "key")}, "no such table: nowhere"),
        ({"rows": ("calls", "nothing")}, "table calls has no column nothing"),
        ({"json_column": ""}, "table calls has no column time, stream, query, response"),
        ({"rows": ("calls", "record")}, "table calls: record must hold whole numbers"),
    ],
)
def test_what_is_not_as_it_is_set_is_said_in_one_line(
    application: Application, options: dict[str, str], said: str
) -> None:
    application.insert(1)
    with pytest.raises(SourceError, match=f"^{said}$"):
        table(application, **options).probe()


def test_a_probe_says_how_far_the_keys_go(application: Application) -> None:
    assert table(application).probe() == "table calls, empty"
    application.insert(1, 8)
    assert table(application).probe() == "table calls, key to 8"


@pytest.mark.parametrize("url", ["", "s3cret", "nosuch://me:s3cret@host/name"])
def test_an_address_that_is_none_is_not_repeated(application: Application, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        table(application, url=url)
    assert "s3cret" not in str(caught.value)


def test_an_address_with_a_password_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://me:s3cret@host/name\n")
    assert read_url(path) == "postgresql://me:s3cret@host/name"
    with pytest.raises(SourceError, match="cannot read url_file"):
        read_url(tmp_path / "missing")
