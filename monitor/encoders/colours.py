"""Decoded images of every mode made small, opaque and sRGB."""

import io
from math import ceil

import numpy as np
from PIL import Image, ImageCms

Box = tuple[int, int, int, int]

_BAND_PIXELS = 2**20
_SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
_IS_SRGB_WITHIN = 2  # levels; as much as two profiles that call themselves sRGB differ


def shrunk(image: Image.Image, longest_side: int, shown: Box) -> Image.Image:
    """The image in mode L, RGB or CMYK on a white ground, scaled down to ``longest_side``.

    What lies outside ``shown`` is ground. Works through the image in bands, so that nothing else
    of its size is held beside it.
    """
    width, height = image.size
    scale = min(1.0, longest_side / max(image.size))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Averages of whole blocks down to twice the size, the last step with a better filter.
    across, down = (max(1, int(n / to / 2)) for n, to in zip(image.size, size, strict=True))
    rows = max(1, _BAND_PIXELS // (width * down)) * down
    bands = []
    for top in range(0, height, rows):
        part = _flat(image.crop((0, top, width, min(top + rows, height))))
        bands.append(_within(part, shown, top).reduce((across, down)))
    reduced = Image.new(bands[0].mode, (ceil(width / across), ceil(height / down)))
    for i, band in enumerate(bands):
        reduced.paste(band, (0, i * rows // down))
    whole = 0, 0, width / across, height / down
    return reduced.resize(size, Image.Resampling.BICUBIC, box=whole)


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Colours of an image in mode L, RGB or CMYK as its profile means them.

    A profile that is empty, broken or for another kind of colours is ignored, and so is one that
    means sRGB: the same pixels are the same whether they are tagged with it or not.
    """
    if profile:
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
            pass
    return image.convert("RGB")


def _flat(image: Image.Image) -> Image.Image:
    """On a white ground, in the mode nearest to the stored one."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scaling
        wide = np.asarray(image)
        grey = (wide >> 8).astype(np.uint8)
        if clear is not None:
            grey[wide == clear] = 255
        return Image.fromarray(grey)
    is_grey = image.mode in {"1", "L", "LA"}
    if "A" not in image.mode and clear is None:
        return image if image.mode == "CMYK" else image.convert("L" if is_grey else "RGB")
    layer = image.convert("LA" if is_grey else "RGBA")
    ground = Image.new("L" if is_grey else "RGB", layer.size, "white")
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def _within(band: Image.Image, shown: Box, top: int) -> Image.Image:
    left, upper, right, lower = shown
    box = left, max(upper - top, 0), right, min(lower - top, band.height)
    if box == (0, 0, *band.size):
        return band
    ground = Image.new(band.mode, band.size, "white")
    if box[1] < box[3]:
        ground.paste(band.crop(box), box)
    return ground


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    mode = _SPACES[profile.profile.xcolor_space]
    if "CMYK" in {image.mode, mode} and image.mode != mode:
        raise ValueError("a profile for other colours")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    transform = ImageCms.buildTransform(profile, srgb, mode, "RGB")
    if mode != "CMYK":
        probe = _PROBE.convert(mode)
        moved = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"))
        if np.abs(moved).max() <= _IS_SRGB_WITHIN:
            return image.convert("RGB")
    return transform.apply(image.convert(mode))


# A grid of colours, of which the diagonal is all greys.
_PROBE = Image.fromarray(
    np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), axis=-1).astype(np.uint8).reshape(-1, 18, 3)
)
