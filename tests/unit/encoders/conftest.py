"""Encoded images of every kind that the traffic carries."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    """Every pixel differs from its mirror images, so that a wrong turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(gradient(), "PNG"),
    "png palette": lambda: encoded(gradient().quantize(16), "PNG", transparency=3),
    "png alpha": lambda: encoded(gradient().convert("RGBA"), "PNG"),
    "png grey alpha": lambda: encoded(gradient().convert("LA"), "PNG"),
    "png one bit": lambda: encoded(gradient().convert("1"), "PNG"),
    "png 16 bit": lambda: encoded(
        Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 60), "PNG"
    ),
    "png animated": lambda: encoded(
        gradient(), "PNG", save_all=True, append_images=[gradient().rotate(180)]
    ),
    "jpeg": lambda: encoded(gradient(), "JPEG"),
    "jpeg progressive": lambda: encoded(gradient(), "JPEG", progressive=True),
    "jpeg grey": lambda: encoded(gradient().convert("L"), "JPEG"),
    "jpeg cmyk": lambda: encoded(gradient().convert("CMYK"), "JPEG"),
    "jpeg restarts": lambda: encoded(gradient(), "JPEG", restart_marker_blocks=1),
    "gif": lambda: encoded(gradient(), "GIF", comment="a stranger's words"),
    "gif animated": lambda: encoded(
        gradient(), "GIF", save_all=True, append_images=[gradient().rotate(180)]
    ),
    "webp": lambda: encoded(gradient(), "WEBP"),
    "webp lossless": lambda: encoded(gradient(), "WEBP", lossless=True),
    "webp alpha": lambda: encoded(gradient().convert("RGBA"), "WEBP", exif=b"Exif\0\0"),
    "webp animated": lambda: encoded(
        gradient(), "WEBP", save_all=True, append_images=[gradient().rotate(180)]
    ),
}


@pytest.fixture(scope="session", params=KINDS)
def valid_file(request: pytest.FixtureRequest) -> bytes:
    return KINDS[request.param]()
