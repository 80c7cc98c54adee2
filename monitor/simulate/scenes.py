"""Scenes: what is in a picture, before it is drawn."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

MAX_COUNT = 4

Kind = TypeVar("Kind", bound=StrEnum)


class Shape(StrEnum):
    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    HEART = "heart"
    DIAMOND = "diamond"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"
    YELLOW = "yellow"
    WHITE = "white"
    BLACK = "black"
    ORANGE = "orange"
    PURPLE = "purple"


class Place(StrEnum):
    MEADOW = "meadow"
    BEACH = "beach"
    SNOW = "snow"
    NIGHT = "night"
    WALL = "wall"
    LAKE = "lake"


class Position(StrEnum):
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    MIDDLE = "middle"


class Look(StrEnum):
    """How a scene is drawn; all but ``PAINTED`` are a new domain with the same content."""

    PAINTED = "painted"
    SKETCH = "sketch"
    TEXTURE = "texture"


class Media(StrEnum):
    PNG = "png"
    JPEG = "jpeg"


# A colour is never painted where it could not be told from its background.
HIDDEN: dict[Place, Colour] = {
    Place.MEADOW: Colour.GREEN,
    Place.BEACH: Colour.YELLOW,
    Place.SNOW: Colour.WHITE,
    Place.NIGHT: Colour.BLACK,
    Place.WALL: Colour.RED,
    Place.LAKE: Colour.BLUE,
}


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one shape and colour."""

    shape: Shape
    colour: Colour
    count: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a picture shows; ``grain`` seeds what no question is about."""

    place: Place
    position: Position
    group: Group
    other: Group | None
    grain: int
    look: Look = Look.PAINTED

    @property
    def media(self) -> Media:
        """The file type this scene is always encoded to, so that repeated images are equal."""
        return Media.JPEG if self.grain % 3 == 0 else Media.PNG


def draw_scene(rng: np.random.Generator, look: Look = Look.PAINTED) -> Scene:
    place = pick(rng, Place)
    group = draw_group(rng, place, int(rng.integers(1, MAX_COUNT + 1)))
    other = draw_group(rng, place, 1)
    told_apart = other.shape is not group.shape and other.colour is not group.colour
    return Scene(
        place=place,
        position=pick(rng, Position),
        group=group,
        other=other if told_apart else None,
        grain=int(rng.integers(2**31)),
        look=look,
    )


def draw_group(rng: np.random.Generator, place: Place, count: int) -> Group:
    shape = pick(rng, Shape)
    return Group(shape, pick(rng, Colour, other_than=HIDDEN[place]), count)


def pick(rng: np.random.Generator, kinds: type[Kind], *, other_than: Kind | None = None) -> Kind:
    """One member, all equally likely."""
    members = [member for member in kinds if member is not other_than]
    return members[int(rng.integers(len(members)))]
