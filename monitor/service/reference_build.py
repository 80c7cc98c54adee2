"""Building a reference from logs: a uniform sample of them, embedded, split, calibrated, stored."""

import heapq
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from monitor.encoders.encoder import EncoderPair
from monitor.errors import SourceError
from monitor.records import (
    Exchange,
    ImageState,
    LateTarget,
    ReferenceSample,
    Rejection,
    StoredImage,
)
from monitor.reference.build import BuiltReference, build
from monitor.reference.conditional import QNetwork
from monitor.service.derived import with_derived
from monitor.service.embedding import Embedder, ImageFiles, average_images, columns
from monitor.service.ingest_job import BATCH_LINES, READ_BYTES, Feed
from monitor.service.intake import MAX_AHEAD
from monitor.service.privacy import Privacy
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Caps, Wire
from monitor.traffic.sampling import priority

Report = Callable[[str, int, int], None]
Key = tuple[str, str]  # stream, id of an exchange
CHUNK = 64


@dataclass(frozen=True, slots=True)
class Selection:
    """Which exchanges of the logs are taken, and what became of the rest."""

    chosen: frozenset[Key]
    targets: dict[Key, str]
    read: int
    rejected: Counter[str]


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One exchange of a reference with its vectors and what people are shown of it."""

    exchange: Exchange
    z_v: bytes | None
    z_t: bytes
    z_y: bytes
    z_target: bytes | None
    thumbnail: bytes | None
    image_states: tuple[ImageState, ...]

    @property
    def exchange_id(self) -> str:
        """Id that the client gave."""
        return self.exchange.id


@dataclass(frozen=True, slots=True)
class LogReader:
    """Reads finished logs, as often as asked."""

    make_feed: Callable[[], Feed]
    stream: str | None
    clock: Callable[[], datetime]

    def records(self) -> Iterator[Wire | LateTarget | Rejection]:
        """Every record of every file, of the wanted stream."""
        feed = self.make_feed()
        latest = self.clock() + MAX_AHEAD
        with feed.source as source:
            partitions = source.ready({})
            if problems := source.problems():
                raise SourceError("\n".join(problems))
            for partition in partitions:
                form = format_named(feed.format_name, feed.reading)
                offset, at_end = 0, False
                while not at_end:
                    batch = source.read(partition, offset, BATCH_LINES, READ_BYTES)
                    offset, at_end = batch.next_offset, batch.at_end
                    yield from batch.rejections
                    for line in batch.lines:
                        yield from filter(self._is_wanted, form.parse(line, latest))
                yield from filter(self._is_wanted, form.finish())

    def _is_wanted(self, record: Wire | LateTarget | Rejection) -> bool:
        if isinstance(record, Rejection) or self.stream is None:
            return True
        # A target need not say of which stream its exchange is.
        return record.stream in {self.stream, ""}


@dataclass(slots=True)
class _Smallest:
    """The keys of smallest priority, however often each is offered."""

    size: int
    keys: set[Key] = field(default_factory=set)
    heap: list[tuple[int, Key]] = field(default_factory=list)  # negated: the worst on top

    @property
    def bound(self) -> float:
        """Nothing above it can still be among them."""
        return -self.heap[0][0] if len(self.heap) == self.size else math.inf

    def offer(self, value: int, key: Key) -> None:
        if value > self.bound or key in self.keys:
            return
        self.keys.add(key)
        if len(self.heap) < self.size:
            heapq.heappush(self.heap, (-value, key))
        else:
            _, displaced = heapq.heapreplace(self.heap, (-value, key))
            self.keys.discard(displaced)


def select(reader: LogReader, *, seed: int, at_most: int, report: Report) -> Selection:
    """Choose a uniform sample: the exchanges of smallest priority, each once."""
    rejected: Counter[str] = Counter()
    targets: dict[Key, str] = {}
    smallest = _Smallest(at_most)
    read = 0
    for record in reader.records():
        if isinstance(record, Rejection):
            rejected[record.reason] += 1
            continue
        key = record.stream, record.id
        value = priority(seed, *key)
        if isinstance(record, LateTarget):
            if not record.stream or value <= smallest.bound:
                targets[key] = record.target
            continue
        read += 1
        if read % BATCH_LINES == 0:
            report("reading", read, 0)
        smallest.offer(value, key)
    report("reading", read, read)
    chosen = frozenset(smallest.keys)
    # A target without a stream is that of the only exchange of its id.
    bearers = Counter(identifier for _, identifier in chosen)
    by_id = {key: ("", key[1]) for key in chosen if bearers[key[1]] == 1}
    named = ((key, name) for key in chosen for name in (by_id.get(key), key))
    wanted = {key: targets[name] for key, name in named if name in targets}
    return Selection(chosen, wanted, read, rejected)


@dataclass(slots=True)
class Embedding:
    """Reads the chosen exchanges a second time and embeds them; an image file once."""

    embedder: Embedder
    files: ImageFiles
    privacy: Privacy = field(default_factory=Privacy)
    vectors: dict[str, tuple[bytes | None, bytes | None]] = field(default_factory=dict)

    def rows(self, reader: LogReader, selection: Selection, report: Report) -> list[ReferenceRow]:
        """One row for each chosen exchange, in order of time."""
        rows: list[ReferenceRow] = []
        for chunk in self.chunks(reader, selection):
            rows += self.embed(chunk)
            report("embedding", len(rows), len(selection.chosen))
        return sorted(rows, key=lambda row: row.exchange.time)

    def chunks(self, reader: LogReader, selection: Selection) -> Iterator[list[Exchange]]:
        """The chosen exchanges in the order of the files, a few at a time."""
        exchanges = self._exchanges(reader, selection)
        while chunk := list(islice(exchanges, CHUNK)):
            yield chunk

    def _exchanges(self, reader: LogReader, selection: Selection) -> Iterator[Exchange]:
        caps = Caps(images=self.files.limits)
        left = set(selection.chosen)
        for record in reader.records():
            if isinstance(record, Wire) and (record.stream, record.id) in left:
                key = record.stream, record.id
                left.discard(key)
                exchange = record.exchange(caps)
                late = selection.targets.get(key)
                if late is not None:
                    exchange = replace(exchange, target=late)
                images = self.files.find(exchange.images)
                exchange = with_derived(exchange, images, self.privacy.keeps)
                # Redacted before it is embedded, as what it will be compared with is.
                yield self.privacy.exchange(exchange)

    def embed(self, exchanges: Sequence[Exchange]) -> list[ReferenceRow]:
        """One row for each exchange."""
        texts = self.embedder.texts(
            text for e in exchanges for text in (e.text, e.response, e.target)
        )
        images = [self.files.find(e.images) for e in exchanges]
        files = {
            image.content_hash: image.payload
            for found in images
            for image in found
            if image.content_hash and image.payload and image.content_hash not in self.vectors
        }
        for vector in self.embedder.images(files):
            self.vectors[vector.content_hash] = vector.z, vector.thumbnail
        rows = []
        for exchange, found in zip(exchanges, images, strict=True):
            known = [self.vectors[i.content_hash] for i in found if i.content_hash]
            rows.append(
                ReferenceRow(
                    exchange=replace(exchange, images=()),  # thousands of files at once
                    z_v=average_images(z for z, _ in known),
                    z_t=texts[exchange.text],
                    z_y=texts[exchange.response],
                    z_target=None if exchange.target is None else texts[exchange.target],
                    thumbnail=next((t for _, t in known if t is not None), None),
                    image_states=tuple(map(self._state, found)),
                )
            )
        return rows

    def _state(self, image: StoredImage) -> ImageState:
        key = image.content_hash
        is_refused = key is not None and self.vectors[key][0] is None
        return ImageState.REJECTED if is_refused else image.state


@dataclass(frozen=True, slots=True)
class BuildRules:
    """How a reference is split, drawn from and used."""

    seed: int
    calibration_share: float
    null_draws: int
    smallest_window: int
    usual_window: int


def build_from_rows(
    rows: Sequence[ReferenceRow],
    *,
    name: str,
    encoders: EncoderPair,
    rules: BuildRules,
    report: Report,
    conditional: QNetwork | None = None,
) -> BuiltReference:
    """Split, train, calibrate and freeze; in as many threads as there are cores."""
    return build(
        columns(rows, encoders.textual.dim),
        name=name,
        encoder_digest=encoders.digest,
        seed=rules.seed,
        calibration_share=rules.calibration_share,
        smallest_window=rules.smallest_window,
        usual_window=rules.usual_window,
        null_draws=rules.null_draws,
        conditional=conditional,
        workers=os.cpu_count() or 1,
        progress=report,
    )


def samples_of(
    rows: Sequence[ReferenceRow], built: BuiltReference, *, content: Collection[str]
) -> list[ReferenceSample]:
    """Which exchanges a reference was made from, and what people are shown of them.

    ``content`` names what of text, response and target is kept.
    """
    known = [
        ReferenceSample(position, row.exchange.id, part)
        for position, (row, part) in enumerate(zip(rows, built.parts, strict=True))
    ]
    return [
        replace(
            sample,
            text=row.exchange.text if "text" in content else None,
            response=row.exchange.response if "response" in content else None,
            target=row.exchange.target if "target" in content else None,
            thumbnail=row.thumbnail,
        )
        for sample, row in zip(known, rows, strict=True)
    ]
