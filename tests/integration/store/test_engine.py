from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, connect
from threading import Timer
from traceback import format_exception

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from monitor.errors import StoreError
from monitor.store import engine
from monitor.store.counters import add_counts, all_counts
from monitor.store.engine import Database, open_database
from monitor.store.tables import CounterRow, SampleImageRow, StreamRow
from tests.integration.store.builders import NOW


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret@host/name",
        "postgresql+asyncpg://user:secret@host/name",
        "user:secret@host",
        "",
    ],
)
def test_another_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(StoreError, match=r"sqlite:///monitor\.db or postgresql://") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_the_url_for_people_hides_passwords_wherever_they_stand() -> None:
    with open_database("postgresql://user:secret@host/name?password=secret") as database:
        assert database.url_for_people == "postgresql+psycopg://user:***@host/name"


def test_a_server_that_cannot_be_reached_is_one_line_without_the_password() -> None:
    url = "postgresql://user:secret@127.0.0.1:1/name"
    with (
        open_database(url) as database,
        pytest.raises(StoreError, match=r"cannot open the database postgresql.*\*\*\*") as caught,
        database.begin(),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.postgres
def test_the_short_postgres_scheme_is_understood(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql://", "postgres://")
    with open_database(url) as database, database.read() as session:
        assert session.scalar(text("SELECT current_database()")) == "postgres"


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "monitor.db"
    with open_database(f"sqlite:///{path}") as database, database.begin() as session:
        session.execute(text("CREATE TABLE t (x INTEGER)"))
    assert path.is_file()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot make the folder of the database .*monitor\.db"):
        open_database(f"sqlite:///{tmp_path}/file/monitor.db")


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    path.write_bytes(b"something else entirely, and long enough to be looked at" * 20)
    with (
        open_database(f"sqlite:///{path}") as database,
        pytest.raises(StoreError, match=r"cannot open the database .* file is not a database"),
        database.read() as session,
    ):
        session.execute(text("SELECT 1"))


def test_a_database_in_memory_is_the_same_one_in_every_thread() -> None:
    def write() -> None:
        with database.begin() as session:
            session.execute(text("CREATE TABLE t (x INTEGER)"))

    def read() -> int:
        with database.read() as session:
            return int(session.scalar(text("SELECT count(*) FROM t")) or 0)

    with open_database("sqlite://") as database, ThreadPoolExecutor(1) as other:
        other.submit(write).result()
        assert read() == 0


def test_an_embedded_file_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    with (
        open_database(f"sqlite:///{tmp_path}/monitor.db") as database,
        database.read() as session,
    ):
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"


@pytest.fixture
def busy_file(tmp_path: Path) -> Iterator[tuple[Path, Connection]]:
    """A file that has no write-ahead log yet, while another start is writing to it."""
    path = tmp_path / "monitor.db"
    with closing(connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.executescript("CREATE TABLE t (a); BEGIN IMMEDIATE;")
        yield path, other


def test_two_that_open_a_new_file_at_once_wait_for_each_other(
    busy_file: tuple[Path, Connection],
) -> None:
    path, other = busy_file
    with open_database(f"sqlite:///{path}") as database:
        Timer(0.2, other.execute, ["COMMIT"]).start()
        with database.read() as session:
            assert session.scalar(text("PRAGMA journal_mode")) == "wal"
            assert not other.in_transaction


def test_a_new_file_that_stays_busy_is_one_clear_line(
    busy_file: tuple[Path, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.05)
    path, _ = busy_file
    with (
        open_database(f"sqlite:///{path}") as database,
        pytest.raises(StoreError, match=r"^cannot open .*monitor\.db: database is locked$"),
        database.read() as session,
    ):
        session.scalar(text("SELECT 1"))


def test_an_error_takes_back_the_whole_transaction(database: Database) -> None:
    def fail_half_way() -> None:
        with database.begin() as session:
            add_counts(session, "file", "native", {"sampled": 1})
            raise LookupError

    with pytest.raises(LookupError):
        fail_half_way()
    with database.read() as session:
        assert all_counts(session) == []


def test_writing_in_a_read_transaction_is_an_error(database: Database) -> None:
    with pytest.raises(DBAPIError, match=r"read.?only"), database.read() as session:
        add_counts(session, "file", "native", {"sampled": 1})


def test_a_read_transaction_sees_one_state_while_others_commit(database: Database) -> None:
    with database.read() as session:
        before = all_counts(session)
        with database.begin() as writer:
            add_counts(writer, "file", "native", {"sampled": 1})
        assert all_counts(session) == before == []
    with database.read() as session:
        assert all_counts(session) == [("file", "native", "sampled", 1)]


def test_no_update_is_lost_between_two_writers_that_read_first(database: Database) -> None:
    def add_one(_: int) -> None:
        with database.begin() as session:
            count = session.scalar(select(CounterRow.count))
            session.execute(update(CounterRow).values(count=(count or 0) + 1))

    with database.begin() as session:
        add_counts(session, "file", "native", {"sampled": 1})
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(add_one, range(100)))
    with database.read() as session:
        assert session.scalar(select(CounterRow.count)) == 101


def test_a_writer_that_waits_too_long_gets_an_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.05)
    url = database._engine.url.render_as_string(hide_password=False)
    with (
        open_database(url) as impatient,
        impatient.begin(),
        pytest.raises(OperationalError, match=r"locked|lock timeout"),
        impatient.begin(),
    ):
        pass


@pytest.mark.parametrize(
    "database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
def test_a_writer_that_falls_silent_holds_up_the_others_no_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_GONE_SECONDS", 0.05)

    def fall_silent() -> None:
        with database.begin() as silent:
            add_counts(silent, "file", "native", {"lost": 1})
            with database.begin() as session:
                add_counts(session, "file", "native", {"sampled": 1})

    with pytest.raises(DBAPIError):
        fall_silent()
    with database.read() as session:
        assert all_counts(session) == [("file", "native", "sampled", 1)]


@pytest.mark.postgres
def test_a_server_that_is_lost_is_noticed_unless_the_url_says_when(postgres_url: str) -> None:
    with (
        open_database(f"{postgres_url}&keepalives_idle=77") as database,
        database.read() as session,
    ):
        driver = session.connection().connection.driver_connection
        assert driver is not None
        found = driver.info.get_parameters()
    assert (found["keepalives_idle"], found["keepalives_count"]) == ("77", "3")


def test_a_row_without_its_parent_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.begin() as session:
        session.execute(insert(SampleImageRow).values(sample_id=1, position=0, state="inline"))


def test_an_error_does_not_show_what_was_being_stored(database: Database) -> None:
    row = {"name": "private words", "first_seen": NOW}
    with pytest.raises(IntegrityError) as caught, database.begin() as session:
        session.execute(insert(StreamRow), [row, {**row, "first_seen": None}])
    assert "private words" not in "".join(format_exception(caught.value))


def test_a_closed_database_opens_again_on_use(database: Database) -> None:
    database.close()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(CounterRow)) == 0
