"""From what a log holds to vectors: image files found and decoded, texts embedded, each once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import (
    DecodedImage,
    ImageLimits,
    content_hash,
    decode_image,
    read_below,
    thumbnail_jpeg,
)
from monitor.errors import ImageRejectedError
from monitor.records import ImageState, LoggedImage, StoredImage
from monitor.reference.artefact import Embedded
from monitor.reference.image_states import state_of

THUMBNAIL_SIDE = 256
HALF = 2  # bytes of a stored number


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Where image files are looked for and how large they may be."""

    root: Path | None
    limits: ImageLimits

    def find(self, images: Sequence[LoggedImage]) -> tuple[StoredImage, ...]:
        """State and file of each image; what cannot be had is a state, never an error."""
        return tuple(self._find(image) for image in images)

    def _find(self, image: LoggedImage) -> StoredImage:
        data = image.data
        if image.path is not None and self.root is not None:
            try:
                data = read_below(self.root, image.path, self.limits)
            except ImageRejectedError as exc:
                is_absent = exc.reason == ImageState.ABSENT.value
                return StoredImage(ImageState.ABSENT if is_absent else ImageState.REJECTED)
        if data is None:
            return StoredImage(image.state)
        return StoredImage(image.state, content_hash(data), data)


@dataclass(frozen=True, slots=True)
class ImageVector:
    """One image file after the encoder: a vector, or the reason why there is none."""

    content_hash: str
    z: bytes | None
    thumbnail: bytes | None
    reject_reason: str | None


@dataclass(frozen=True, slots=True)
class Embedder:
    """The encoders with what they are allowed to decode; every distinct input is embedded once.

    ``dropped`` names content that is not kept once it is embedded.
    """

    encoders: EncoderPair
    limits: ImageLimits
    with_thumbnails: bool
    thumbnail_side: int = THUMBNAIL_SIDE
    dropped: frozenset[str] = frozenset()

    def images(self, files: Mapping[str, bytes]) -> list[ImageVector]:
        """Embed files by content hash; one that cannot be decoded has a reason, no vector.

        Files are decoded as the encoder asks for them, so that it need not wait for all of them.
        """
        refused: list[ImageVector] = []
        thumbnails: dict[str, bytes | None] = {}

        def decoded() -> Iterator[DecodedImage]:
            for key, data in files.items():
                try:
                    image = decode_image(data, self.limits)
                except ImageRejectedError as exc:
                    refused.append(ImageVector(key, None, None, exc.reason))
                    continue
                thumbnails[key] = (
                    thumbnail_jpeg(image, self.thumbnail_side) if self.with_thumbnails else None
                )
                yield image

        encoded = self.encoders.visual.encode(decoded()).numpy()
        return refused + [
            ImageVector(key, _as_bytes(z), thumbnail, None)
            for (key, thumbnail), z in zip(thumbnails.items(), encoded, strict=True)
        ]

    def texts(self, texts: Iterable[str | None]) -> dict[str, bytes]:
        """Vector of every distinct text."""
        unique = list(dict.fromkeys(text for text in texts if text is not None))
        encoded = self.encoders.textual.encode(unique).numpy()
        return {text: _as_bytes(z) for text, z in zip(unique, encoded, strict=True)}


def average_images(vectors: Iterable[bytes | None]) -> bytes | None:
    """Several images of one query are averaged and re-normalised; None where none is known."""
    known = [np.frombuffer(z, dtype="<f2").astype(np.float64) for z in vectors if z is not None]
    if not known:
        return None
    mean = np.mean(known, axis=0)
    length = np.linalg.norm(mean)
    return _as_bytes(mean / length if length > 0 else known[0])  # opposite ones leave no direction


class Vectors(Protocol):
    """The stored vectors of one exchange."""

    @property
    def exchange_id(self) -> str: ...
    @property
    def image_states(self) -> Sequence[ImageState]: ...
    @property
    def z_v(self) -> bytes | None: ...
    @property
    def z_t(self) -> bytes | None: ...
    @property
    def z_y(self) -> bytes | None: ...
    @property
    def z_target(self) -> bytes | None: ...


def columns(
    rows: Sequence[Vectors],
    dim: int,
    *,
    novelty_v: npt.NDArray[np.float64] | None = None,
    novelty_t: npt.NDArray[np.float64] | None = None,
) -> Embedded:
    """The vectors of exchanges as matrices; each row must have its text and its response.

    ``dim`` is that of the texts; images may have another one.
    """
    return Embedded(
        ids=tuple(row.exchange_id for row in rows),
        z_t=stacked([row.z_t for row in rows], dim),
        z_y=stacked([row.z_y for row in rows], dim),
        z_v=stacked([row.z_v for row in rows], dim),
        has_image=np.array([row.z_v is not None for row in rows], dtype=np.bool_),
        z_target=stacked([row.z_target for row in rows], dim),
        has_target=np.array([row.z_target is not None for row in rows], dtype=np.bool_),
        novelty_v=novelty_v,
        novelty_t=novelty_t,
        image_state=np.array([state_of(row.image_states) for row in rows], dtype=np.int8),
    )


def stacked(vectors: Sequence[bytes | None], dim: int) -> npt.NDArray[np.float32]:
    """Unit rows of those that are there; float16's rounding is normalised away.

    As long as they are; of ``dim`` numbers where there is none.
    """
    known = [z for z in vectors if z is not None]
    width = len(known[0]) // HALF if known else dim
    rows = np.frombuffer(b"".join(known), dtype="<f2").reshape(-1, width).astype(np.float32)
    unit: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _as_bytes(z: npt.NDArray[np.floating]) -> bytes:
    half: npt.NDArray[np.float16] = z.astype("<f2")
    return half.tobytes()
