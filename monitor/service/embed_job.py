"""Embeds the samples of closed panes: images decoded safely, every image file once."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import structlog

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import DecodedImage, ImageLimits, decode_image, thumbnail_jpeg
from monitor.errors import ImageRejectedError
from monitor.records import PendingImage, PendingSample
from monitor.service.telemetry import Telemetry
from monitor.store.engine import Database
from monitor.store.samples import (
    claim_pending,
    record_embeddings,
    record_image_vectors,
)
from monitor.store.streams import watermarks

log = structlog.get_logger()
BATCH = 64
LEASE = timedelta(minutes=5)
THUMBNAIL_SIDE = 256

ImageVector = tuple[str, bytes | None, bytes | None, str | None]


class EmbedJob:
    """Embeds what is pending, batch by batch; a batch that was cut short is claimed again."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Callable[[], datetime],
        encoders: EncoderPair,
        limits: ImageLimits,
        keeps_content: bool,
        telemetry: Telemetry,
        should_stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._encoders = encoders
        self._limits = limits
        self._keeps_content = keeps_content
        self._telemetry = telemetry
        self._should_stop = should_stop

    def __call__(self) -> None:
        """Embed until nothing is pending in a closed pane, or until told to stop."""
        while not self._should_stop() and self._embed_batch():
            pass

    def _embed_batch(self) -> bool:
        with self._database.begin() as session:
            pending = claim_pending(
                session,
                limit=BATCH,
                now=self._clock(),
                lease=LEASE,
                closed_only=watermarks(session),
            )
        if not pending:
            return False
        with self._telemetry.embed_seconds.time():
            images = self._embed_images(pending)
            texts = self._embed_texts(pending)
        known = {image.content_hash: image.z for sample in pending for image in sample.images}
        known |= {content_hash: z for content_hash, z, _, _ in images}
        rows = [
            (sample.id, _fuse([known[i.content_hash] for i in sample.images]), *vectors)
            for sample, vectors in zip(pending, texts, strict=True)
        ]
        with self._database.begin() as session:
            record_image_vectors(session, self._encoders.digest, images)
            record_embeddings(session, self._encoders.digest, rows)
        log.debug("samples_embedded", n=len(rows), images=len(images))
        return True

    def _embed_images(self, pending: Sequence[PendingSample]) -> list[ImageVector]:
        todo = {
            image.content_hash: image
            for sample in pending
            for image in sample.images
            if image.z is None and image.payload is not None
        }
        decoded: dict[str, DecodedImage] = {}
        vectors: list[ImageVector] = []
        for content_hash, image in todo.items():
            try:
                decoded[content_hash] = self._decode(image)
            except ImageRejectedError as exc:
                vectors.append((content_hash, None, None, exc.reason))
        if decoded:
            encoded = self._encoders.visual.encode(list(decoded.values())).numpy()
            for (content_hash, image_pixels), z in zip(decoded.items(), encoded, strict=True):
                thumbnail = (
                    thumbnail_jpeg(image_pixels, THUMBNAIL_SIDE) if self._keeps_content else None
                )
                vectors.append((content_hash, _as_bytes(z), thumbnail, None))
        return vectors

    def _decode(self, image: PendingImage) -> DecodedImage:
        assert image.payload is not None  # noqa: S101 - filtered by the caller
        return decode_image(image.payload, self._limits)

    def _embed_texts(
        self, pending: Sequence[PendingSample]
    ) -> list[tuple[bytes, bytes, bytes | None]]:
        texts = [
            text
            for sample in pending
            for text in (sample.text, sample.response, sample.target)
            if text is not None
        ]
        unique = list(dict.fromkeys(texts))
        encoded = self._encoders.textual.encode(unique).numpy()
        vectors = {text: _as_bytes(z) for text, z in zip(unique, encoded, strict=True)}
        return [
            (
                vectors[sample.text],
                vectors[sample.response],
                vectors[sample.target] if sample.target is not None else None,
            )
            for sample in pending
        ]


def _as_bytes(z: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    return z.astype("<f2").tobytes()


def _fuse(images: Sequence[bytes | None]) -> bytes | None:
    """Several images of one query are averaged and re-normalised into one vector."""
    known = [np.frombuffer(z, dtype="<f2").astype(np.float64) for z in images if z is not None]
    if not known:
        return None
    mean = np.mean(known, axis=0)
    return (mean / np.linalg.norm(mean)).astype("<f2").tobytes()
