"""Topics of the mock cluster that the Kafka client brings along, through the ingest job."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from uuid import uuid4

import confluent_kafka
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from monitor.errors import SourceError
from monitor.records import Cursor
from monitor.service import ingest_job as ingest_module
from monitor.service import intake as intake_module
from monitor.service.ingest_job import Feed, IngestJob
from monitor.store.cursors import cursors_of, save_cursor
from monitor.store.engine import Database
from monitor.store.samples import sample_times
from monitor.traffic.sources import kafka as kafka_module
from monitor.traffic.sources.kafka import KafkaSource, read_properties
from tests.integration.service.parts import (
    NOW,
    STREAM,
    Clock,
    at,
    exchange,
    file_feed,
    ingest_job,
    outcomes,
)
from tests.unit.traffic.captured import payload

QUICK = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200"}
embedded = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

Start = Callable[..., IngestJob]
Produce = Callable[..., None]


@pytest.fixture
def topic() -> str:
    return f"logs-{uuid4().hex[:8]}"


@pytest.fixture
def produce(brokers: str, topic: str) -> Produce:
    """Put messages on partitions in turn, or all on one; done when the broker has them."""
    producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "log_level": 0})

    def put(values: Sequence[bytes | None], partition: int | None = None) -> None:
        for number, value in enumerate(values):
            to = number % 4 if partition is None else partition
            producer.produce(topic, value, partition=to)
        assert producer.flush(20) == 0

    return put


@pytest.fixture
def start(database: Database, brokers: str, topic: str) -> Iterator[Start]:
    """A job over the topic; each call is a new member of the group on the same database."""
    with ExitStack() as stack:

        def new(
            *more: Feed,
            at_brokers: str = brokers,
            group: str = "monitors",
            registry: CollectorRegistry | None = None,
            form: str = "auto",
        ) -> IngestJob:
            source = KafkaSource(
                "kafka",
                brokers=at_brokers,
                topic=topic,
                group=f"{group}-{topic}",
                properties={**QUICK, "reconnect.backoff.max.ms": "100"},
            )
            feeds = [Feed(source, form), *more]
            for feed in feeds:
                stack.enter_context(feed.source)
            clock = Clock(at(60))
            return ingest_job(database, feeds, clock, registry, follows_clock=True)

        yield new


def never() -> bool:
    return False


def source_of(job: IngestJob) -> KafkaSource:
    source = job._feeds["kafka"].source
    assert isinstance(source, KafkaSource)
    return source


def work_until(jobs: Sequence[IngestJob], is_done: Callable[[], bool]) -> None:
    """Let the jobs take turns; fails if they come to nothing."""
    for _ in range(600):
        for job in jobs:
            job.step()
            source_of(job)._poll(0.05)
        if is_done():
            return
    pytest.fail("this never happened")


def offsets(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {id_: cursor.offset for id_, cursor in cursors_of(session, "kafka").items()}


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [exchange(f"e{i}", i / 10) for i in range(first, first + count)]


# --- exactly once


def test_every_message_of_every_partition_is_counted_once_over_restarts(
    database: Database, start: Start, produce: Produce
) -> None:
    produce(numbered(40))
    start().run(never)
    produce(numbered(40, 40))
    start(group="others").run(never)
    assert outcomes(database) == {"admitted": 80, "sampled": 80}
    assert offsets(database) == dict.fromkeys("0123", 20)


def spans(count: int) -> Iterator[bytes]:
    """As the Collector's Kafka exporter writes them unless it is told otherwise."""
    export = ExportTraceServiceRequest.FromString(payload("otlp_genai_openai_span_only_traces.pb"))
    (span,) = export.resource_spans[0].scope_spans[0].spans
    for number in range(1, count + 1):
        span.span_id = number.to_bytes(8, "big")
        span.end_time_unix_nano = int(at(number).timestamp()) * 10**9
        span.start_time_unix_nano = span.end_time_unix_nano - 10**9  # else it is within another
        yield export.SerializeToString()


@embedded
def test_exports_in_protobuf_are_read_where_the_format_says_so(
    database: Database, start: Start, produce: Produce
) -> None:
    produce([*spans(5), b"\n\xff", exchange("e1", 1)])
    start(form="otlp_spans").run(never)
    assert outcomes(database) == {"admitted": 5, "sampled": 5, "broken_protobuf": 2}


@embedded
def test_exports_in_protobuf_are_refused_one_by_one_where_it_does_not(
    database: Database, start: Start, produce: Produce
) -> None:
    produce([*spans(5), exchange("e1", 1)])
    start().run(never)
    assert outcomes(database) == {"admitted": 1, "sampled": 1, "broken_json": 5}


class KilledError(Exception):
    """What a test stops a process with."""


@pytest.mark.parametrize("goes_on", ["the same process", "a new process"])
def test_killed_between_the_poll_and_the_commit_it_ends_as_if_it_had_not_been(
    database: Database,
    start: Start,
    produce: Produce,
    monkeypatch: pytest.MonkeyPatch,
    goes_on: str,
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 7)
    produce(numbered(60))
    job = start()
    kills = iter([False, True, False, True, True])

    def save_or_die(*args: object) -> None:
        save_cursor(*args)  # type: ignore[arg-type]  # passed on
        if next(kills, False):
            raise KilledError

    monkeypatch.setattr(intake_module, "save_cursor", save_or_die)
    killed = 0
    while sum(offsets(database).values()) < 60:
        try:
            job.step()
        except KilledError:
            killed += 1
            if goes_on == "a new process" and killed == 1:
                source_of(job).__exit__()
                job = start()
    assert killed == 3
    assert outcomes(database) == {"admitted": 60, "sampled": 60}


@embedded
def test_a_member_that_was_overtaken_counts_nothing_twice(
    database: Database, start: Start, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 5)
    produce(numbered(60))
    # Two groups, so that each believes to own every partition all the time.
    jobs = start(group="one"), start(group="two")
    work_until(jobs, lambda: sum(offsets(database).values()) == 60)
    for job in jobs:
        job.run(never)
    assert outcomes(database) == {"admitted": 60, "sampled": 60}


@embedded
def test_partitions_that_change_hands_lose_and_double_nothing(
    database: Database, start: Start, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 2)
    produce(numbered(80))
    one = start()
    one.step()
    jobs = [one, start()]
    work_until(jobs, lambda: all(source_of(job).partitions() for job in jobs))
    mine, others = (source_of(job).partitions() for job in jobs)
    produce(numbered(80, 80))
    work_until(jobs, lambda: sum(offsets(database).values()) == 160)
    assert (mine | others, mine & others) == ({*"0123"}, set())
    assert outcomes(database) == {"admitted": 160, "sampled": 160}


# --- what topics hold


@embedded
def test_tombstones_repeats_and_disorder_are_taken_as_they_come(
    database: Database, start: Start, produce: Produce
) -> None:
    late = exchange("late", 1)
    pretty = exchange("pretty", 30).replace(b", ", b",\n  ")
    produce([exchange("a", 30), None, exchange("b", 29), b"", pretty, b"{", late], partition=0)
    produce([exchange("early", 1), exchange("a", 30)], partition=1)
    start().run(never)
    assert outcomes(database) == {
        "admitted": 4,
        "sampled": 4,
        "duplicate": 1,
        "late": 1,
        "broken_json": 1,
    }
    assert offsets(database) == {"0": 7, "1": 2}
    with database.read() as session:
        ids = [(STREAM, name) for name in ("a", "b", "pretty", "early", "late")]
        assert {name for _, name in sample_times(session, ids)} == {"a", "b", "pretty", "early"}


@embedded
def test_more_than_is_held_in_memory_is_read_in_order(
    database: Database, start: Start, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_module, "HELD_MESSAGES", 10)
    produce([exchange(f"e{i}", i / 10) for i in range(200)], partition=2)
    start().run(never)
    assert outcomes(database)["admitted"] == 200


@embedded
def test_a_topic_that_was_made_anew_is_read_from_its_beginning_and_that_is_told(
    database: Database, start: Start, produce: Produce
) -> None:
    with database.begin() as session:
        save_cursor(session, Cursor("kafka", "1", 1_000, at_end=True), NOW)
    produce(numbered(5), partition=1)
    with structlog.testing.capture_logs() as logs:
        work_until([start()], lambda: offsets(database)["1"] == 5)
    (told,) = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told.endswith("partition 1: begins anew at 0, after 1000 was read")
    assert outcomes(database)["admitted"] == 5


@embedded
@pytest.mark.usefixtures("database")
def test_the_lag_is_the_age_of_what_was_read_while_something_is_unread(
    start: Start, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "BATCH_LINES", 10)
    produce([exchange(f"e{i}", i) for i in range(30)], partition=0)
    registry = CollectorRegistry()
    job = start(registry=registry)

    def lag() -> float | None:
        return registry.get_sample_value("mllm_monitor_source_lag_seconds", {"source": "kafka"})

    work_until([job], lambda: bool(lag()))
    assert lag() == (60 - 9) * 60
    job.run(never)
    assert lag() == 0


# --- what goes wrong


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def forward(port: int, to: str) -> None:
    """Connections to a port, passed on for as long as the process lives."""
    host, _, number = to.rpartition(":")

    def pump(source: socket.socket, sink: socket.socket) -> None:
        # The other direction closes both as soon as one end is gone.
        with closing(source), closing(sink), suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)

    def accept() -> None:
        while True:
            near, _ = server.accept()
            far = socket.create_connection((host, int(number)))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    server = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=accept, daemon=True).start()


@embedded
def test_brokers_that_are_away_are_one_line_until_they_are_back(
    database: Database, start: Start, produce: Produce, brokers: str, tmp_path: Path
) -> None:
    produce(numbered(8))
    other = tmp_path / "a.jsonl"
    other.write_bytes(exchange("in a file", 1))
    address = f"127.0.0.1:{free_port()}"
    job = start(file_feed(other), at_brokers=address)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            job.run(never)
        assert outcomes(database)["admitted"] == 1
        forward(int(address.rpartition(":")[2]), brokers)
        work_until([job], lambda: outcomes(database)["admitted"] == 9)
    told = [entry["problem"] for entry in logs if entry["event"] == "source_unreadable"]
    assert told == [f"{address}: cannot be reached; trying again"]


def test_a_probe_counts_the_partitions_or_says_that_nobody_answers(
    brokers: str, topic: str, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce([b"x"])
    assert source(brokers, topic).probe() == f"topic {topic}, 4 partitions"
    monkeypatch.setattr(kafka_module, "JOIN_SECONDS", 0.5)
    with pytest.raises(SourceError, match=r"^127\.0\.0\.1:\d+: cannot be reached$"):
        source(f"127.0.0.1:{free_port()}", topic).probe()


def source(brokers: str, topic: str, **properties: str) -> KafkaSource:
    return KafkaSource("k", brokers=brokers, topic=topic, group="g", properties=properties)


@pytest.mark.usefixtures("brokers")
def test_what_the_cursors_rest_on_is_not_to_be_set() -> None:
    with pytest.raises(SourceError, match=r"enable\.auto\.commit is not to be set"):
        source("localhost:9", "t", **{"enable.auto.commit": "true"})


@pytest.mark.usefixtures("brokers")
def test_a_property_that_the_client_does_not_know_is_named() -> None:
    with pytest.raises(SourceError, match=r"No such configuration property"):
        source("localhost:9", "t", **{"sasl.pasword": "s3cret"}).__enter__()


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "confluent_kafka", None)
    with pytest.raises(SourceError, match=r"pip install 'mllm-drift-monitor\[kafka\]'"):
        source("localhost:9", "t")


def test_properties_are_lines_of_key_and_value(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("# of the cluster\n\nsasl.username = me\nsasl.password=a=b\n")
    assert read_properties(path) == {"sasl.username": "me", "sasl.password": "a=b"}


def test_a_line_that_is_no_property_is_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("a=b\ns3cret\n")
    with pytest.raises(SourceError, match="line 2: expected key=value") as caught:
        read_properties(path)
    assert "s3cret" not in str(caught.value)
