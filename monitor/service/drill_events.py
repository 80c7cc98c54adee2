"""Known shifts put on logged traffic: which there are, and the traffic with each of them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.encoders.images import DecodedImage, decode_image
from monitor.errors import ImageRejectedError
from monitor.records import Exchange, LateTarget, Modality, Rejection
from monitor.reference.artefact import Embedded, Ints, Neighbourhood
from monitor.reference.signals import limit_thread, single_threaded
from monitor.service.embedding import average_images, columns, stacked
from monitor.service.reference_build import Embedding, LogReader, ReferenceRow, Report, Selection
from monitor.simulate.corruptions import (
    ImageCorruption,
    TextCorruption,
    corrupt_image,
    corrupt_text,
)
from monitor.simulate.traffic import DriftKind
from monitor.store.tables import storable
from monitor.traffic.formats.wire import Wire
from monitor.traffic.sampling import priority

ON_IMAGES = {DriftKind(c.value): c for c in ImageCorruption}
ON_TEXTS = {DriftKind(c.value): c for c in TextCorruption}
KINDS = (
    *ON_IMAGES,
    *ON_TEXTS,
    DriftKind.WORSE_RESPONDER,
    DriftKind.SHUFFLED_ANSWERS,
    DriftKind.WRONG_IMAGE,
)
WITH_DEGREES = ON_IMAGES.keys() | ON_TEXTS.keys() | {DriftKind.WORSE_RESPONDER}
FARTHER = 4  # times as many queries are nearer, from one strength of worse answers to the next


@dataclass(frozen=True, slots=True)
class Shift:
    """What is done to an exchange; strength 1 to 5, 0 where there are no degrees."""

    kind: DriftKind
    strength: int = 0

    @property
    def modality(self) -> Modality:
        """The one modality whose vectors it changes."""
        if self.kind in ON_IMAGES or self.kind is DriftKind.WRONG_IMAGE:
            return Modality.VISUAL
        return Modality.TEXTUAL if self.kind in ON_TEXTS else Modality.RESPONSE

    def __str__(self) -> str:
        return f"{self.kind.value} {self.strength}" if self.strength else self.kind.value


def shifts_of(kinds: Collection[DriftKind], strengths: Collection[int]) -> list[Shift]:
    """Each kind at each strength, in one order whatever was asked for first."""
    return [
        Shift(kind, strength)
        for kind in KINDS
        if kind in kinds
        for strength in (sorted(set(strengths)) if kind in WITH_DEGREES else (0,))
    ]


@dataclass(frozen=True)
class UnseenLogs(LogReader):
    """Finished logs without the exchanges that a reference was made from, either part of it."""

    left_out: frozenset[str]
    met: set[str] = field(default_factory=set)  # of those left out, the ones in the files

    def records(self) -> Iterator[Wire | LateTarget | Rejection]:
        """Every other record of the wanted stream."""
        for record in super().records():
            if not isinstance(record, Rejection) and storable(record.id) in self.left_out:
                self.met.add(record.id)
            else:
                yield record


@dataclass(frozen=True, slots=True)
class Pool:
    """Embedded events that windows are drawn from, as they are and with each shift.

    Vectors of a shift stay packed until they are asked for: all of them at once would take
    gigabytes.
    """

    clean: Embedded
    packed: Mapping[Shift, Sequence[bytes | None]]
    neighbourhood: Neighbourhood
    seed: int

    def shifted(self, shift: Shift) -> Embedded:
        """The same events in the same order, every one of them with the shift."""
        clean = self.clean
        if shift.kind is DriftKind.WORSE_RESPONDER:
            reach = FARTHER ** (shift.strength - 1)
            return replace(clean, z_y=clean.z_y[swapped(clean, reach, self.seed)])
        if shift.kind is DriftKind.SHUFFLED_ANSWERS:
            return replace(clean, z_y=clean.z_y[self._others(len(clean))])
        if shift.kind is DriftKind.WRONG_IMAGE:
            others = self._others(len(clean.z_v))
            novelty = None if clean.novelty_v is None else clean.novelty_v[others]
            return replace(clean, z_v=clean.z_v[others], novelty_v=novelty)
        z = stacked(self.packed[shift], clean.z_t.shape[1])
        distances = self.neighbourhood.distances(shift.modality, z)
        if shift.modality is Modality.VISUAL:
            return replace(clean, z_v=z, novelty_v=distances)
        return replace(clean, z_t=z, novelty_t=distances)

    def _others(self, n: int) -> Ints:
        """For each of n another one, each once: a circle through a random order."""
        order = np.random.default_rng(self.seed).permutation(n)
        others = np.empty(n, dtype=np.int64)
        others[order] = np.roll(order, 1)
        return others


def swapped(events: Embedded, reach: int, seed: int) -> Ints:
    """Who gives each event its response if pairs of like queries swap theirs.

    Each takes the ``reach``-th nearest query that is still free and was answered otherwise: its
    answer is of the right kind and wrong. The responses as a whole stay the same.
    """
    x = events.fused()
    products, lengths = x @ x.T, np.square(x).sum(1)
    _, answer = np.unique(events.z_y, axis=0, return_inverse=True)
    giver, is_free = np.arange(len(x)), np.ones(len(x), dtype=np.bool_)
    for i in np.random.default_rng(seed).permutation(len(x)):
        others = np.flatnonzero(is_free & (answer != answer[i]))
        if is_free[i] and len(others):
            k = min(reach, len(others)) - 1
            distances = lengths[others] - 2 * products[i, others]
            j = others[np.argpartition(distances, k)[k]]
            giver[[i, j]] = j, i
            is_free[[i, j]] = False
    return giver


@dataclass(slots=True)
class Spoiling:
    """Embeds the chosen exchanges once as they are and once with each shift, in one reading.

    An image file is spoilt once, however many exchanges show it, as it is embedded once.
    """

    embedding: Embedding
    shifts: Sequence[Shift]
    seed: int
    workers: int
    images: dict[Shift, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))

    def pool(
        self,
        reader: LogReader,
        selection: Selection,
        neighbourhood: Neighbourhood,
        report: Report,
    ) -> Pool:
        """The chosen exchanges as events."""
        rows: list[ReferenceRow] = []
        packed: dict[Shift, list[bytes | None]] = {
            s: [] for s in self.shifts if s.kind in ON_IMAGES | ON_TEXTS
        }
        with (
            ThreadPoolExecutor(self.workers, initializer=limit_thread) as threads,
            single_threaded(),
        ):
            for chunk in self.embedding.chunks(reader, selection):
                decoded = self._decoded(chunk)
                # Without what was said and shown: only the vectors are needed from here on.
                rows += (
                    replace(row, exchange=replace(row.exchange, text="", response="", images=()))
                    for row in self.embedding.embed(chunk)
                )
                made = threads.map(lambda s: self._vectors(s, chunk, decoded), packed)  # noqa: B023 - used up in this turn
                for vectors, of_chunk in zip(packed.values(), made, strict=True):
                    vectors.extend(of_chunk)
                report("embedding", len(rows), len(selection.chosen))
            clean = columns(rows, self.embedding.embedder.encoders.textual.dim)
            clean = replace(
                clean,
                novelty_v=neighbourhood.distances(Modality.VISUAL, clean.z_v),
                novelty_t=neighbourhood.distances(Modality.TEXTUAL, clean.z_t),
            )
        return Pool(clean, packed, neighbourhood, self.seed)

    def _decoded(self, chunk: Sequence[Exchange]) -> dict[str, DecodedImage]:
        """Images that no chunk before had, by content hash; called before they are embedded."""
        if not any(shift.kind in ON_IMAGES for shift in self.shifts):
            return {}
        files = {
            image.content_hash: image.payload
            for exchange in chunk
            for image in self.embedding.files.find(exchange.images)
            if image.content_hash and image.payload
        }
        decoded: dict[str, DecodedImage] = {}
        for key in files.keys() - self.embedding.vectors.keys():
            with suppress(ImageRejectedError):  # then it has no vector to spoil either
                decoded[key] = decode_image(files[key], self.embedding.files.limits)
        return decoded

    def _vectors(
        self, shift: Shift, chunk: Sequence[Exchange], decoded: Mapping[str, DecodedImage]
    ) -> list[bytes | None]:
        if shift.kind in ON_TEXTS:
            return self._of_texts(shift, chunk)
        self._spoil_images(shift, decoded)
        known = self.images[shift]
        return [
            average_images(
                known.get(image.content_hash or "")
                for image in self.embedding.files.find(exchange.images)
            )
            for exchange in chunk
        ]

    def _of_texts(self, shift: Shift, chunk: Sequence[Exchange]) -> list[bytes | None]:
        texts = [
            corrupt_text(e.text, ON_TEXTS[shift.kind], shift.strength, self._chance_of(e))
            for e in chunk
        ]
        vectors = self.embedding.embedder.texts(texts)
        return [vectors[text] for text in texts]

    def _spoil_images(self, shift: Shift, decoded: Mapping[str, DecodedImage]) -> None:
        corruption, strength = ON_IMAGES[shift.kind], shift.strength
        spoilt = []
        for key, image in decoded.items():
            chance = np.random.default_rng([self.seed, int(key[:16], 16)])
            pixels = corrupt_image(image.pixels, corruption, strength, chance)
            spoilt.append(replace(image, pixels=pixels))
        encoded = self.embedding.embedder.encoders.visual.encode(spoilt).numpy()
        for key, z in zip(decoded, encoded, strict=True):
            self.images[shift][key] = z.astype("<f2").tobytes()

    def _chance_of(self, exchange: Exchange) -> np.random.Generator:
        key = priority(self.seed, exchange.stream, exchange.id)
        return np.random.default_rng([self.seed, key % 2**64])
