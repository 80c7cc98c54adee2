"""A topic of Kafka, one record a message, read as a member of a consumer group.

The group only shares out the partitions. How far they were read is committed with the samples and
nowhere else, so whoever is given a partition goes on exactly where its last reader committed.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from monitor.errors import SourceError
from monitor.records import Cursor, Rejection
from monitor.traffic.formats.wire import Reason, excerpt
from monitor.traffic.sources.lines import Batch

MAX_MESSAGE_BYTES = 32 * 2**20
JOIN_SECONDS = 10.0  # a group may take its time to let somebody in
WAIT_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
HELD_MESSAGES = 5_000  # of one partition, in memory
HELD_BYTES = 16 * 2**20
_POLLED_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class KafkaPartition:
    """A partition of the topic that this process is given."""

    id: str


@dataclass(slots=True)
class _Held:
    """A partition's messages that were fetched and not handed out yet."""

    number: int
    given: int  # the offset after what was handed out
    since: float
    expected: int | None = None  # the offset after the last message; None at the very beginning
    messages: deque[tuple[int, bytes]] = field(default_factory=deque)
    n_bytes: int = 0
    at_end: bool = False
    is_paused: bool = False

    def forget(self, offset: int) -> None:
        self.given = self.expected = offset
        self.messages.clear()
        self.n_bytes = 0
        self.at_end = False


class KafkaSource:
    """The messages of one topic that fall to this member of the group.

    A partition counts as unread until the broker has said that it ends here, but only for half a
    minute if nothing comes: what cannot be reached must not hold back all other traffic.
    Not for several threads at once.
    """

    has_files = False

    def __init__(
        self,
        name: str,
        *,
        brokers: str,
        topic: str,
        group: str,
        properties: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._brokers = brokers
        self._topic = topic
        self._clock = clock
        # The client's own, which are not to be had where the extra is not installed.
        self._kafka = _client()
        own = {
            "bootstrap.servers": brokers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        if taken := sorted(own.keys() & (properties or {}).keys()):
            raise SourceError(f"source {name}: {taken[0]} is not to be set in properties_file")
        self._config = {"log_level": 0, "client.id": "mllm-monitor", **(properties or {}), **own}
        self._consumer: Any = None
        self._cursors: Mapping[str, Cursor] = {}
        self._held: dict[str, _Held] = {}
        self._has_waited = False
        self._told: set[str] = set()
        self._news: list[str] = []

    def __enter__(self) -> Self:
        self._consumer = self._connect()
        self._consumer.subscribe([self._topic], on_assign=self._assign, on_revoke=self._revoke)
        return self

    def __exit__(self, *_: object) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def problems(self) -> list[str]:
        """What could not be read and why; each is told once for as long as it lasts."""
        news, self._news = self._news, []
        return news

    def partitions(self) -> set[str]:
        """Those that this process is given now."""
        return set(self._held)

    def probe(self) -> str:
        """What is there now, for people.

        Raises:
            SourceError: if the topic cannot be reached.
        """
        consumer = self._connect()
        try:
            topic = consumer.list_topics(self._topic, timeout=JOIN_SECONDS).topics[self._topic]
        except self._kafka.KafkaException as exc:
            raise SourceError(f"{self._brokers}: {_kind(exc.args[0])}") from exc
        finally:
            consumer.close()
        if topic.error is not None:
            raise SourceError(f"topic {self._topic}: {_kind(topic.error)}")
        return f"topic {self._topic}, {len(topic.partitions)} partitions"

    def ready(self, cursors: Mapping[str, Cursor]) -> list[KafkaPartition]:
        """The partitions with something unread; ``cursors`` are all committed for this source."""
        self._cursors = cursors
        self._poll(0)
        if not self._has_waited:
            # Else the time now would close panes of a backlog that is only seconds away.
            until = self._clock() + JOIN_SECONDS
            while not self._held and not self._news and self._clock() < until:
                self._poll(WAIT_SECONDS)
            self._has_waited = True
        now = self._clock()
        return [
            KafkaPartition(id_)
            for id_, held in self._held.items()
            if held.messages or (not held.at_end and now - held.since < PATIENCE_SECONDS)
        ]

    def read(self, partition: KafkaPartition, offset: int, max_lines: int, max_bytes: int) -> Batch:
        """The next messages from ``offset``; none if the partition has gone to somebody else."""
        held = self._held.get(partition.id)
        if held is not None and held.given != offset:
            self._go_to(held, offset)
        if held is not None and not held.messages and not held.at_end:
            self._poll(WAIT_SECONDS)
            held = self._held.get(partition.id)  # which may be another's since
        if held is None or held.given != offset:
            return Batch([], offset, at_end=True, rejections=[])
        return self._take(held, max_lines, max_bytes)

    def _take(self, held: _Held, max_lines: int, max_bytes: int) -> Batch:
        lines: list[bytes] = []
        rejections: list[Rejection] = []
        begin, size = held.given, 0
        while held.messages and len(lines) < max_lines and size < max_bytes:
            at, content = held.messages.popleft()
            held.given = at + 1
            held.n_bytes -= len(content)
            size += len(content)
            if len(content) > MAX_MESSAGE_BYTES:
                rejections.append(_too_long(content))
            elif content and not content.isspace():
                lines.append(content)
        if held.is_paused and not held.messages:
            held.is_paused = False
            self._consumer.resume([self._partition(held)])
        is_over = not held.messages and (held.at_end or held.given == begin)
        return Batch(lines, held.given, at_end=is_over, rejections=rejections)

    def _poll(self, wait: float) -> None:
        """Take in what has arrived; waits only for the first of it."""
        for _ in range(_POLLED_AT_ONCE):
            message = self._consumer.poll(wait)
            if message is None:
                return
            wait = 0
            if (error := message.error()) is not None:
                self._note(error, message)
            elif held := self._held.get(str(message.partition())):
                self._hold(held, message)

    def _hold(self, held: _Held, message: Any) -> None:
        at, content = message.offset(), message.value() or b""
        if held.expected is not None and at != held.expected:
            self._tell_of_gap(held, at)
        self._told.clear()
        held.messages.append((at, content))
        held.n_bytes += len(content)
        held.expected = at + 1
        held.at_end = False
        held.since = self._clock()
        if len(held.messages) >= HELD_MESSAGES or held.n_bytes >= HELD_BYTES:
            held.is_paused = True
            self._consumer.pause([self._partition(held)])

    def _tell_of_gap(self, held: _Held, at: int) -> None:
        # Within a log offsets may be left out. A step back, or a log that begins later than what
        # was read of it, is one whose messages have gone.
        if at > (held.expected or 0) and held.messages:
            return
        where = f"topic {self._topic}, partition {held.number}"
        if at < (held.expected or 0):
            self._tell(f"{where}: begins anew at {at}, after {held.expected} was read")
            return
        try:
            begins, _ = self._consumer.get_watermark_offsets(
                self._partition(held), timeout=JOIN_SECONDS
            )
        except self._kafka.KafkaException:
            return
        if begins > (held.expected or 0):
            self._tell(f"{where}: {held.expected} to {begins} were deleted before they were read")

    def _note(self, error: Any, message: Any) -> None:
        if error.code() != self._kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            self._tell(f"topic {self._topic}: {_kind(error)}")
        elif held := self._held.get(str(message.partition())):
            held.at_end = True
            self._told.clear()

    def _note_trouble(self, error: Any) -> None:
        quiet = self._kafka.KafkaError
        # Said of each broker and connection; all that matters is when none is left.
        if error.code() not in {quiet._TRANSPORT, quiet._RESOLVE}:  # noqa: SLF001 - public names
            self._tell(f"{self._brokers}: {_kind(error)}; trying again")

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._news.append(problem)

    def _assign(self, consumer: Any, partitions: Sequence[Any]) -> None:
        for partition in partitions:
            cursor = self._cursors.get(str(partition.partition))
            held = _Held(partition.partition, cursor.offset if cursor else 0, self._clock())
            held.expected = cursor.offset if cursor else None
            partition.offset = cursor.offset if cursor else self._kafka.OFFSET_BEGINNING
            self._held[str(partition.partition)] = held
        consumer.assign(list(partitions))

    def _revoke(self, _: Any, partitions: Sequence[Any]) -> None:
        for partition in partitions:
            self._held.pop(str(partition.partition), None)

    def _go_to(self, held: _Held, offset: int) -> None:
        """Not committed after all, or read on by another process meanwhile."""
        try:
            self._consumer.seek(self._partition(held, offset))
        except self._kafka.KafkaException:
            return  # it is not being fetched yet; the next read tries again
        held.forget(offset)

    def _partition(self, held: _Held, *offset: int) -> Any:
        return self._kafka.TopicPartition(self._topic, held.number, *offset)

    def _connect(self) -> Any:
        try:
            return self._kafka.Consumer({**self._config, "error_cb": self._note_trouble})
        except self._kafka.KafkaException as exc:
            raise SourceError(f"source {self.name}: {exc.args[0].str()}") from exc


def read_properties(path: Path | None) -> dict[str, str]:
    """Lines ``key=value`` of a file for the client; what a password is in belongs there.

    Raises:
        SourceError: if it cannot be read or a line is something else; the line is not shown.
    """
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"cannot read properties_file {path}: {type(exc).__name__}") from exc
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        key, sign, value = line.strip().partition("=")
        if key and not key.startswith("#"):
            if not sign:
                raise SourceError(f"{path}, line {number}: expected key=value")
            found[key.strip()] = value.strip()
    return found


def _client() -> Any:
    try:
        import confluent_kafka  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise SourceError(
            "a source of type kafka needs an extra: pip install 'mllm-drift-monitor[kafka]'"
        ) from exc
    return confluent_kafka


def _kind(error: Any) -> str:
    """The kind of an error; the client's sentences name connections and change all the time."""
    name = str(error.name()).strip("_").replace("_", " ").lower()
    return "cannot be reached" if name in {"transport", "all brokers down"} else name


def _too_long(content: bytes) -> Rejection:
    return Rejection(
        Reason.LINE_TOO_LONG,
        f"expected at most {MAX_MESSAGE_BYTES} bytes, got {len(content)}",
        excerpt(content),
    )
