from dataclasses import replace

import numpy as np
import pytest

from monitor.encoders.images import ImageLimits, decode_image
from monitor.simulate.drawing import COLOURS, SIDE, encode, render
from monitor.simulate.scenes import (
    HIDDEN,
    MAX_COUNT,
    Colour,
    Group,
    Look,
    Media,
    Place,
    Position,
    Scene,
    Shape,
    draw_scene,
)

LIMITS = ImageLimits()


def scene(
    colour: Colour = Colour.ORANGE, position: Position = Position.LEFT, count: int = 1
) -> Scene:
    return Scene(Place.LAKE, position, Group(Shape.SQUARE, colour, count), None, grain=5)


def painted(picture: np.ndarray, colour: Colour) -> np.ndarray:
    return (picture == COLOURS[colour]).all(axis=2)


def test_a_scene_is_drawn_the_same_every_time() -> None:
    drawn = draw_scene(np.random.default_rng(4))
    assert np.array_equal(render(drawn), render(drawn))


def test_no_group_has_the_colour_of_its_background() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_scene(rng) for _ in range(500)]
    groups = [(s.place, g) for s in drawn for g in (s.group, s.other) if g is not None]
    assert not [g for place, g in groups if g.colour is HIDDEN[place]]


def test_the_other_object_differs_in_shape_and_colour() -> None:
    rng = np.random.default_rng(1)
    pairs = [(s.group, s.other) for s in (draw_scene(rng) for _ in range(500)) if s.other]
    assert all(a.shape is not b.shape and a.colour is not b.colour for a, b in pairs)


def test_more_objects_cover_more_of_the_picture() -> None:
    covered = [
        painted(render(scene(count=count)), Colour.ORANGE).sum()
        for count in range(1, MAX_COUNT + 1)
    ]
    assert covered == sorted(covered)
    assert covered[-1] > 3 * covered[0]


@pytest.mark.parametrize("colour", [c for c in Colour if c is not HIDDEN[Place.LAKE]])
def test_the_group_is_painted_in_its_colour(colour: Colour) -> None:
    assert painted(render(scene(colour)), colour).sum() > SIDE


@pytest.mark.parametrize(
    ("position", "axis", "side_of_middle"),
    [
        (Position.LEFT, 1, -1),
        (Position.RIGHT, 1, 1),
        (Position.TOP, 0, -1),
        (Position.BOTTOM, 0, 1),
    ],
)
def test_the_group_stands_where_the_scene_says(
    position: Position, axis: int, side_of_middle: int
) -> None:
    where = np.argwhere(painted(render(scene(position=position)), Colour.ORANGE)).mean(axis=0)
    assert (where[axis] - SIDE / 2) * side_of_middle > SIDE / 8


@pytest.mark.parametrize("look", [Look.SKETCH, Look.TEXTURE])
def test_a_new_look_changes_most_pixels(look: Look) -> None:
    changed = render(scene()) != render(replace(scene(), look=look))
    assert changed.any(axis=2).mean() > 0.5


def test_a_png_holds_the_pixels_exactly() -> None:
    pixels = render(scene())
    assert np.array_equal(decode_image(encode(pixels, Media.PNG), LIMITS).pixels, pixels)


def test_a_jpeg_holds_the_pixels_nearly() -> None:
    pixels = render(scene())
    decoded = decode_image(encode(pixels, Media.JPEG), LIMITS).pixels
    assert np.abs(decoded.astype(int) - pixels).mean() < 8
