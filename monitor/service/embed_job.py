"""Embeds the samples of closed panes, every image file once."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from monitor.records import PendingSample, floor_time
from monitor.service.embedding import Embedder, ImageVector, average_images
from monitor.service.telemetry import Telemetry
from monitor.store.engine import Database
from monitor.store.pending import claim_pending, record_embeddings, record_image_vectors
from monitor.store.streams import watermarks

log = structlog.get_logger()
BATCH = 64
LEASE = timedelta(minutes=5)


class EmbedJob:
    """Embeds what is pending, batch by batch; a batch that was cut short is claimed again."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        pane: timedelta,
        embedder: Embedder,
        telemetry: Telemetry,
        should_stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._pane = pane
        self._embedder = embedder
        self._telemetry = telemetry
        self._should_stop = should_stop

    def __call__(self, embedded: Callable[[int], None] = lambda _: None) -> None:
        """Embed until nothing is pending in a closed pane, or until told to stop.

        ``embedded`` is told how many samples each batch had.
        """
        while not self._should_stop() and (count := self._embed_batch()):
            embedded(count)

    def _embed_batch(self) -> int:
        with self._database.begin() as session:
            # A pane that is still open may drop what it holds now for a smaller priority.
            closed = {s: floor_time(mark, self._pane) for s, mark in watermarks(session).items()}
            pending = claim_pending(
                session, limit=BATCH, now=self._clock(), lease=LEASE, closed_only=closed
            )
        if not pending:
            return 0
        try:
            self._embed(pending)
        except Exception:
            log.exception("batch_failed", n=len(pending))
            # One sample that an encoder stumbles over must not take the others with it.
            for sample in pending:
                self._embed_alone(sample)
        return len(pending)

    def _embed_alone(self, sample: PendingSample) -> None:
        try:
            self._embed([sample])
        except Exception:
            self._telemetry.failed("embed")
            log.exception("sample_failed", sample=sample.id)

    def _embed(self, pending: Sequence[PendingSample]) -> None:
        with self._telemetry.embed_seconds.time():
            images = self._embed_images(pending)
            texts = self._embedder.texts(
                text for s in pending for text in (s.text, s.response, s.target)
            )
        known = {image.content_hash: image.z for s in pending for image in s.images}
        known |= {image.content_hash: image.z for image in images}
        rows = [
            (
                sample.id,
                average_images(known[image.content_hash] for image in sample.images),
                texts[sample.text],
                texts[sample.response],
                texts[sample.target] if sample.target is not None else None,
            )
            for sample in pending
        ]
        with self._database.begin() as session:
            record_image_vectors(
                session,
                self._embedder.encoders.digest,
                [(i.content_hash, i.z, i.thumbnail, i.reject_reason) for i in images],
            )
            record_embeddings(
                session, self._embedder.encoders.digest, rows, dropped=self._embedder.dropped
            )
        log.debug("samples_embedded", n=len(rows), images=len(images))

    def _embed_images(self, pending: Sequence[PendingSample]) -> list[ImageVector]:
        files = {
            image.content_hash: image.payload
            for sample in pending
            for image in sample.images
            if image.z is None and image.payload is not None
        }
        return self._embedder.images(files)
