"""The map of a case: reference and window in a plane, coloured by what each event adds."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from markupsafe import Markup

from monitor.service.case import Map, MapPoint
from monitor.web.drawing import Frame, Range
from monitor.web.rendering import plain

_RADII = (3.2, 3.6, 4.6, 6.0)


def scatter(found: Map, address: Callable[[MapPoint], str]) -> Markup:
    """Every point leads to its exchange; those of the window lie above, what adds most on top."""
    frame = Frame(720, 460, 14)
    x_range = Range(min(p.x for p in found.points), max(p.x for p in found.points))
    y_range = Range(min(p.y for p in found.points), max(p.y for p in found.points))
    reference = [p for p in found.points if p.kind == "reference"]
    window = sorted(
        (p for p in found.points if p.kind == "window"), key=lambda p: abs(p.share or 0)
    )
    steps = _steps([abs(p.share or 0) for p in window])
    dots = [
        _dot(frame.at(p.x, p.y, x_range, y_range), "reference", 2.6, address(p), "reference")
        for p in reference
    ]
    for p in window:
        kind = bisect_left(steps, abs(p.share or 0))
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
        f"{len(window)} exchanges of the window, {len(reference)} of the reference; those that add "
        "most are listed above."
    )
    # A picture that holds links is neither to those who hear it; what it says stands beneath.
    return Markup(
        '<figure class="map"><svg viewBox="0 0 {:g} {:g}" aria-hidden="true">{}</svg>'
        '<figcaption class="age">{}</figcaption></figure>'
    ).format(frame.width, frame.height, Markup("").join(dots), said)


def _dot(place: str, kind: str, radius: float, to: str, title: str) -> Markup:
    x, y = place.split()
    # Not in the order of the keyboard: hundreds of stops, and the list below has the same.
    return Markup(
        '<a href="{}" tabindex="-1"><circle class="{}" cx="{}" cy="{}" r="{:g}">'
        "<title>{}</title></circle></a>"
    ).format(to, kind, x, y, radius, title)


def _title(p: MapPoint) -> str:
    shown = plain(p.exchange_id or "")
    return shown if p.share is None else f"{shown}: adds {p.share:.2g}"


def _steps(shares: Sequence[float]) -> list[float]:
    """Limits between the classes: half, four fifths and nineteen of twenty of the events."""
    ordered = sorted(shares)
    if not ordered:
        return []
    last = len(ordered) - 1
    return [ordered[int(part * last)] for part in (0.5, 0.8, 0.95)]
