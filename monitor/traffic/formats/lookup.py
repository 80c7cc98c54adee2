"""Values that an operator names by a path, wherever in a record they stand."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.wire import ABSENT, decode

Lookup = Callable[[str], object]


def nowhere(_path: str) -> object:
    """Of a record that has nothing beside what every exchange has."""
    return None


def within(*places: Mapping[str, object] | None) -> Lookup:
    """The value at a path in the first of these objects that has it.

    Keys may hold dots themselves, as attributes of telemetry do, and objects may be JSON texts.
    """

    def look_up(path: str) -> object:
        found = (_at(place, path) for place in places if place)
        return next((value for value in found if value is not None), None)

    return look_up


def within_json(line: bytes | Raw, *first: str) -> Lookup:
    """As ``within``, in a JSON object and before it in the objects at the paths ``first``.

    The object is not decoded before something is looked up, and then no further than needed.
    """
    if line == ABSENT:
        return nowhere

    @cache
    def objects() -> Lookup:
        try:
            whole = decode(_decode_object, line)
        except RecordRejectedError:
            return nowhere
        return within(*(_object(_at(whole, key)) for key in first), whole)

    def look_up(path: str) -> object:
        return objects()(path)

    return look_up


def either(*lookups: Lookup) -> Lookup:
    """The first that finds something."""

    def look_up(path: str) -> object:
        return next((v for found in lookups if (v := found(path)) is not None), None)

    return look_up


def text_of(value: object) -> str | None:
    """A single value as text; None if it is empty, or several."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith('"'):
        inner = _plain(Raw(value.encode()))  # attributes of some are JSON texts
        value = inner if isinstance(inner, str) else value
    return str(value) or None if isinstance(value, str | int | float) else None


def _at(values: Mapping[str, object], path: str) -> object:
    if path in values:
        return _plain(values[path])
    head, dot, rest = path.partition(".")
    while dot:
        inner = _object(values.get(head))
        found = _at(inner, rest) if inner else None
        if found is not None:
            return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def _object(value: object) -> Mapping[str, object]:
    if isinstance(value, str) and value.startswith("{"):
        value = Raw(value.encode())
    value = _plain(value)
    return value if isinstance(value, dict) else {}


def _plain(value: object) -> object:
    if not isinstance(value, Raw):
        return value
    try:
        plain: object = decode(_decode_any, value)
    except RecordRejectedError:
        return None
    return plain


_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_any: Callable[[bytes | Raw], Any] = msgspec.json.Decoder(Any).decode
