"""What every section is made of: its manners, and values with a notation of their own."""

import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MOST_SECONDS = 36_500 * 86_400


def parse_duration(value: object) -> object:
    """Turn ``90s``, ``5m``, ``1h``, ``7d`` or ``0`` into a timedelta."""
    if isinstance(value, timedelta):
        return value
    if found := re.fullmatch(r"(\d+)([smhd])", str(value).strip()):
        seconds = int(found[1]) * _UNITS[found[2]]
        if seconds > _MOST_SECONDS:  # times before the year 1 cannot be reckoned with
            raise ValueError("expected at most 36500d")
        return timedelta(seconds=seconds)
    if str(value).strip() == "0":
        return timedelta(0)
    raise ValueError("expected a duration such as 90s, 5m, 1h or 7d")


def format_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that divides it."""
    seconds = int(value.total_seconds())
    for unit, size in reversed(_UNITS.items()):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")
]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the tree; a key that it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def has_password(url: str) -> bool:
    """Whether an address carries one."""
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False
