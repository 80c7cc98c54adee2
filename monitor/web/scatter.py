"""The map of a case: reference and window in a plane, coloured by what each event adds."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from markupsafe import Markup

from monitor.service.case import Map, MapPoint
from monitor.web.drawing import Frame, Range
from monitor.web.rendering import plain

KEYS = "Map. Arrow keys lead to the nearest point, page up and down to what adds more or less."
_RADII = (3.2, 3.6, 4.6, 6.0)


def scatter(found: Map, towards: int, address: Callable[[MapPoint], str]) -> Markup:
    """Every point leads to its exchange; those of the window lie above, what adds most on top.

    ``towards`` is the sign of shares that push towards drift: what pulls away from it as strongly
    looks most like the reference, and must not stand out.
    """
    frame = Frame(720, 460, 14)
    x_range = Range(min(p.x for p in found.points), max(p.x for p in found.points))
    y_range = Range(min(p.y for p in found.points), max(p.y for p in found.points))
    reference = [p for p in found.points if p.kind == "reference"]
    pushed = sorted(
        ((towards * (p.share or 0), p) for p in found.points if p.kind == "window"),
        key=lambda pair: pair[0],
    )
    steps = _steps([push for push, _ in pushed])
    dots = [
        _dot(frame.at(p.x, p.y, x_range, y_range), "reference", 2.6, address(p), _title(p))
        for p in reference
    ]
    for push, p in pushed:
        kind = bisect_left(steps, push)
        dots.append(
            _dot(
                frame.at(p.x, p.y, x_range, y_range),
                f"window s{kind + 1}",
                _RADII[kind],
                address(p),
                _title(p),
            )
        )
    said = (
        f"{len(pushed)} exchanges of the window, {len(reference)} of the reference; those that add "
        "most are listed above."
    )
    # A picture that holds links is neither to those who hear it; what it says stands beneath. Where
    # there is script it becomes one stop of the keyboard instead, from which arrows lead on.
    return Markup(
        '<figure class="map"><svg viewBox="0 0 {:g} {:g}" aria-hidden="true" data-said="{}">{}'
        '</svg><figcaption class="age">{}</figcaption></figure>'
    ).format(frame.width, frame.height, KEYS, Markup("").join(dots), said)


def _dot(place: str, kind: str, radius: float, to: str, title: str) -> Markup:
    x, y = place.split()
    # Not in the order of the keyboard: hundreds of stops.
    return Markup(
        '<a href="{}" tabindex="-1"><title>{}</title>'
        '<circle class="{}" cx="{}" cy="{}" r="{:g}"/></a>'
    ).format(to, title, kind, x, y, radius)


def _title(p: MapPoint) -> str:
    if p.kind == "reference":
        return f"exchange {p.position} of the reference"
    shown = plain(p.exchange_id or "")
    return shown if p.share is None else f"{shown}: adds {p.share:.2g}"


def _steps(ordered: Sequence[float]) -> list[float]:
    """Limits between the classes: half, four fifths and nineteen of twenty of the events."""
    last = len(ordered) - 1
    return [ordered[int(part * last)] for part in (0.5, 0.8, 0.95)] if ordered else []
