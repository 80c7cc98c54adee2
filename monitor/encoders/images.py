"""Images from strangers: read, checked, decoded and scaled down without trusting a byte."""

import base64
import binascii
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from monitor.encoders.colours import shrunk, to_srgb
from monitor.encoders.containers import Container, ImageFormat, Refusal, open_container
from monitor.errors import ImageRejectedError

DECODING = 2  # part of every digest: raised where the same file gives other pixels than before
SIDE_MAX = 65_535  # what jpeg and gif can say; each row costs memory beside its pixels
_PIXELS_MAX = 80_000_000  # Pillow warns of a bomb a little above


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What one image may cost. ``longest_side`` is what is left of it for embedding."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 2**24
    longest_side: int = 512

    def __post_init__(self) -> None:
        if self.max_pixels > _PIXELS_MAX:
            raise ValueError(f"max_pixels is {self.max_pixels}, at most {_PIXELS_MAX} is possible")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """The first frame, upright, in sRGB, on a white ground.

    ``pixels`` is ``(h, w, 3)`` uint8 RGB, read-only, and at most ``longest_side`` long; ``width``
    and ``height`` are those of the file as it is shown. Two images are the same if their
    ``content_hash``, that of the encoded file, is.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    format: ImageFormat
    content_hash: str


def content_hash(data: bytes) -> str:
    """Identity of an encoded image: it is stored and embedded once."""
    return hashlib.sha256(data).hexdigest()


def decode_image(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decode the first frame of a png, jpeg, gif or webp file.

    Transparent pixels are white, EXIF orientation and colour profile are applied. May be called
    from several threads.

    Raises:
        ImageRejectedError: with a `Refusal` as its reason, whatever is wrong with the bytes.
    """
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(limits)
    with _refusing():
        return _decode(data, limits)


def pixels_said(data: bytes) -> int:
    """How many pixels a file says that it has; decodes none of them.

    Raises:
        ImageRejectedError: as ``decode_image``.
    """
    with _refusing():
        container = open_container(data)
        return container.width * container.height


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ImageRejectedError:
        raise
    except Exception as exc:  # on damaged files Pillow raises whatever comes up
        reason = Refusal.TRUNCATED if "truncated" in str(exc) else Refusal.BROKEN
        raise ImageRejectedError(reason, f"{type(exc).__name__} while decoding") from exc


def thumbnail_jpeg(image: DecodedImage, longest_side: int) -> bytes:
    """The image re-encoded for a page; carries nothing of the original file but its pixels."""
    small = Image.fromarray(image.pixels)
    small.thumbnail((longest_side, longest_side), reducing_gap=1.0)  # twice as fast as the default
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return out.getvalue()


def decode_base64_image(text: str | bytes, limits: ImageLimits) -> bytes:
    """The encoded file within plain or URL-safe base64 or a ``data:`` URI.

    Raises:
        ImageRejectedError: `Refusal.NOT_BASE64` or `Refusal.TOO_MANY_BYTES`.
    """
    # Line breaks, padding and the header of a URI fit into the tenth part that is added.
    if len(text) > limits.max_bytes * 4 / 3 * 1.1 + 256:
        raise _too_many_bytes(limits)
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
        # At the front alone: tried everywhere, a run of spaces costs the square of its length.
        uri = _DATA_URI.match(raw)
        body = raw[uri.end() :] if uri else raw
        payload = body.translate(_TO_STANDARD, b" \t\r\n").rstrip(b"=")
        data = base64.b64decode(payload + b"=" * (-len(payload) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        # The cause holds the content, so it is not chained.
        raise ImageRejectedError(Refusal.NOT_BASE64, type(exc).__name__) from None
    if not data:
        raise ImageRejectedError(Refusal.NOT_BASE64, "nothing in it")
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(limits)
    return data


def read_below(root: Path, relative: str, limits: ImageLimits) -> bytes:
    """Read a regular file that lies below ``root`` once all symbolic links are followed.

    Raises:
        ImageRejectedError: `Refusal.ABSENT`, `OUTSIDE_ROOT`, `NOT_A_FILE`, `UNREADABLE` or
            `TOO_MANY_BYTES`.
    """
    parts = Path(relative).parts
    if not parts or ".." in parts or Path(relative).is_absolute():
        raise ImageRejectedError(Refusal.OUTSIDE_ROOT, "a path below the image root is expected")
    try:
        base = root.resolve()
        path = base.joinpath(*parts).resolve(strict=True)
        if not path.is_relative_to(base):
            raise ImageRejectedError(Refusal.OUTSIDE_ROOT, "a link leads out of the image root")
        return _read_regular(path, limits)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageRejectedError(Refusal.ABSENT, "no such file below the image root") from None
    # RuntimeError: links in a circle. ValueError: a name that no file can have.
    except (OSError, RuntimeError, ValueError) as exc:
        raise ImageRejectedError(Refusal.UNREADABLE, type(exc).__name__) from None


def _read_regular(path: Path, limits: ImageLimits) -> bytes:
    # Not blocking, or opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImageRejectedError(Refusal.NOT_A_FILE, "a regular file is expected")
        if status.st_size > limits.max_bytes:
            raise _too_many_bytes(limits)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(handle)


def _decode(data: bytes, limits: ImageLimits) -> DecodedImage:
    container = open_container(data)
    size = container.width, container.height
    if 0 in size:
        raise ImageRejectedError(Refusal.BROKEN, "a side of no pixels")
    # libwebp holds four canvases at once, twice what the other decoders need.
    max_pixels = limits.max_pixels // (2 if container.format is ImageFormat.WEBP else 1)
    if container.width * container.height > max_pixels or max(size) > SIDE_MAX:
        raise ImageRejectedError(
            Refusal.TOO_MANY_PIXELS,
            f"{container.width} x {container.height} is more than {max_pixels} pixels "
            f"or longer than {SIDE_MAX}",
        )
    pixels = np.asarray(_upright(_decoded(container, limits.longest_side), container.orientation))
    pixels.setflags(write=False)
    width, height = size[::-1] if container.orientation >= _FIRST_SIDEWAYS else size
    return DecodedImage(pixels, width, height, container.format, content_hash(data))


def _decoded(container: Container, longest_side: int) -> Image.Image:
    with Image.open(io.BytesIO(container.essence), formats=[container.format]) as image:
        if image.size != (container.width, container.height):
            raise ImageRejectedError(Refusal.BROKEN, "two different sizes in one file")
        # A JPEG is decoded at half, a quarter or an eighth where that is still twice the target.
        keep = 2 * longest_side / max(image.size)
        image.draft(None, (ceil(keep * image.width), ceil(keep * image.height)))
        image.load()
        small = shrunk(image, longest_side, container.shown or (0, 0, *image.size))
    return to_srgb(small, container.profile)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _too_many_bytes(limits: ImageLimits) -> ImageRejectedError:
    return ImageRejectedError(Refusal.TOO_MANY_BYTES, f"more than {limits.max_bytes} bytes")


_DATA_URI = re.compile(rb"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_FIRST_SIDEWAYS = 5  # EXIF orientations from here on swap width and height
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
