"""Pictures of scenes, in three looks."""

import io
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from monitor.simulate.scenes import Colour, Group, Look, Media, Place, Position, Scene, Shape

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Rgb = tuple[int, int, int]
Point = tuple[float, float]

SIDE = 128

COLOURS: dict[Colour, Rgb] = {
    Colour.RED: (215, 35, 40),
    Colour.BLUE: (35, 75, 215),
    Colour.GREEN: (25, 150, 55),
    Colour.YELLOW: (250, 220, 40),
    Colour.WHITE: (250, 250, 250),
    Colour.BLACK: (20, 20, 22),
    Colour.ORANGE: (250, 140, 25),
    Colour.PURPLE: (135, 45, 165),
}
# Top and bottom of the background.
GROUNDS: dict[Place, tuple[Rgb, Rgb]] = {
    Place.MEADOW: ((120, 190, 110), (70, 140, 50)),
    Place.BEACH: ((240, 215, 160), (215, 180, 115)),
    Place.SNOW: ((200, 215, 235), (240, 244, 250)),
    Place.NIGHT: ((12, 14, 45), (40, 45, 95)),
    Place.WALL: ((165, 85, 65), (140, 65, 50)),
    Place.LAKE: ((120, 190, 225), (40, 110, 165)),
}
_ROW = (0.15, 0.38, 0.62, 0.85)
_CELLS: dict[Position, tuple[Point, ...]] = {
    Position.LEFT: tuple((0.22, y) for y in _ROW),
    Position.RIGHT: tuple((0.78, y) for y in _ROW),
    Position.TOP: tuple((x, 0.22) for x in _ROW),
    Position.BOTTOM: tuple((x, 0.78) for x in _ROW),
    Position.MIDDLE: ((0.38, 0.38), (0.62, 0.62), (0.62, 0.38), (0.38, 0.62)),
}
# Where the other object stands, out of the way of the group.
_AWAY: dict[Position, Point] = {
    Position.LEFT: (0.8, 0.5),
    Position.RIGHT: (0.2, 0.5),
    Position.TOP: (0.5, 0.82),
    Position.BOTTOM: (0.5, 0.18),
    Position.MIDDLE: (0.88, 0.88),
}


def render(scene: Scene, side: int = SIDE) -> Pixels:
    """``(side, side, 3)``; the same scene gives the same pixels."""
    rng = np.random.default_rng(scene.grain)
    canvas = _BACKGROUNDS[scene.look](scene.place, side, rng)
    draw = ImageDraw.Draw(canvas)
    for group, centre, radius in _placed(scene, rng):
        _draw_object(
            draw,
            group,
            [(side * x, side * y) for x, y in _outline(group, centre, radius)],
            scene.look,
        )
    return np.asarray(canvas)


def encode(pixels: Pixels, media: Media) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if media is Media.JPEG:
        image.save(buffer, "JPEG", quality=90)
    else:
        image.save(buffer, "PNG", compress_level=1)  # three times as fast as the default
    return buffer.getvalue()


def _placed(scene: Scene, rng: np.random.Generator) -> Iterator[tuple[Group, Point, float]]:
    first = int(rng.integers(len(_CELLS[scene.position])))
    for nth in range(scene.group.count):
        cells = _CELLS[scene.position]
        x, y = cells[(first + nth) % len(cells)]
        dx, dy = rng.uniform(-0.025, 0.025, 2)
        yield scene.group, (x + dx, y + dy), rng.uniform(0.1, 0.12)
    if scene.other is not None:
        yield scene.other, _AWAY[scene.position], rng.uniform(0.06, 0.08)


def _outline(group: Group, centre: Point, radius: float) -> list[Point]:
    """Corners in units of the side."""
    x, y = centre
    return [(x + radius * dx, y + radius * dy) for dx, dy in _CORNERS[group.shape]]


def _regular(corners: int, *, turn: float = 0.0, inner: float = 1.0) -> tuple[Point, ...]:
    """Corners of a polygon around the origin, every second one at radius ``inner``."""
    angles = [2 * math.pi * (k + turn) / corners - math.pi / 2 for k in range(corners)]
    radii = [1.0 if k % 2 == 0 else inner for k in range(corners)]
    return tuple((r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True))


def _heart() -> tuple[Point, ...]:
    steps = [2 * math.pi * k / 24 for k in range(24)]
    return tuple(
        (
            math.sin(t) ** 3,
            (-13 * math.cos(t) + 5 * math.cos(2 * t) + 2 * math.cos(3 * t) + math.cos(4 * t)) / 16,
        )
        for t in steps
    )


_CORNERS: dict[Shape, tuple[Point, ...]] = {
    Shape.CIRCLE: _regular(32),
    Shape.SQUARE: _regular(4, turn=0.5),
    Shape.TRIANGLE: _regular(3),
    Shape.STAR: _regular(10, inner=0.42),
    Shape.HEART: _heart(),
    Shape.DIAMOND: ((0.0, -1.1), (0.65, 0.0), (0.0, 1.1), (-0.65, 0.0)),
}


def _draw_object(draw: ImageDraw.ImageDraw, group: Group, corners: list[Point], look: Look) -> None:
    colour = COLOURS[group.colour]
    if look is Look.SKETCH:
        draw.line([*corners, corners[0]], fill=_mixed(colour, (60, 60, 60), 0.5), width=2)
    else:
        draw.polygon(corners, fill=colour, outline=_mixed(colour, (0, 0, 0), 0.4))


def _mixed(a: Rgb, b: Rgb, share: float) -> Rgb:
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def _painted(place: Place, side: int, rng: np.random.Generator) -> Image.Image:
    """A gradient with what belongs to the place: blades, grains, flakes, stars, bricks, waves."""
    top, bottom = (np.array(c, np.float64) for c in GROUNDS[place])
    light = rng.uniform(0.92, 1.08)
    ramp = np.linspace(0, 1, side)[:, None]
    column = np.clip((top + (bottom - top) * ramp) * light, 0, 255).astype(np.uint8)
    canvas = Image.fromarray(np.repeat(column[:, None], side, axis=1))
    _decorate(ImageDraw.Draw(canvas), place, side, rng)
    return canvas


def _decorate(draw: ImageDraw.ImageDraw, place: Place, side: int, rng: np.random.Generator) -> None:
    ink = _mixed(GROUNDS[place][1], *_INKS[place])
    if place is Place.WALL:
        for nth, y in enumerate(range(0, side, side // 8)):
            draw.line((0, y, side, y), fill=ink)
            for x in range(side // 8 * (nth % 2), side, side // 4):
                draw.line((x, y, x, y + side // 8), fill=ink)
        return
    dx, dy = _STROKES[place]
    for x, y in rng.integers(0, side, (60, 2)).tolist():
        draw.line((x, y, x + dx, y + dy), fill=ink)


# Colour and strength of the strokes, and how far a stroke goes in pixels.
_INKS: dict[Place, tuple[Rgb, float]] = {
    Place.MEADOW: ((20, 80, 10), 0.6),
    Place.BEACH: ((120, 90, 50), 0.5),
    Place.SNOW: ((150, 165, 200), 0.6),
    Place.NIGHT: ((255, 255, 230), 0.9),
    Place.WALL: ((225, 215, 205), 0.7),
    Place.LAKE: ((230, 245, 255), 0.6),
}
_STROKES: dict[Place, tuple[int, int]] = {
    Place.MEADOW: (1, -6),
    Place.BEACH: (1, 0),
    Place.SNOW: (3, 3),
    Place.NIGHT: (0, 0),
    Place.LAKE: (12, 0),
}


def _sketched(place: Place, side: int, rng: np.random.Generator) -> Image.Image:
    """Paper with grey hatching, at an angle of its own for every place."""
    paper = _mixed((250, 248, 240), GROUNDS[place][0], 0.12)
    canvas = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(canvas)
    lean = side * (list(Place).index(place) - 2) // 3
    for start in range(-side, 2 * side, int(rng.integers(9, 14))):
        draw.line((start, 0, start + lean, side), fill=(190, 190, 185))
    return canvas


def _textured(place: Place, side: int, rng: np.random.Generator) -> Image.Image:
    """Cloudy noise of three scales in the colours of the place, like a grainy photograph."""
    clouds = np.zeros((side, side), np.float32)
    for cells, weight in ((4, 0.5), (16, 0.3), (side, 0.2)):
        coarse = Image.fromarray(rng.random((cells, cells), np.float32))
        clouds += weight * np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    top, bottom = (np.array(c, np.float32) for c in GROUNDS[place])
    spread = (clouds[..., None] - 0.5) * 2.5 + 0.5
    pixels = bottom + (top - bottom) * spread + (spread - 0.5) * 60
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


_BACKGROUNDS: dict[Look, Callable[[Place, int, np.random.Generator], Image.Image]] = {
    Look.PAINTED: _painted,
    Look.SKETCH: _sketched,
    Look.TEXTURE: _textured,
}
