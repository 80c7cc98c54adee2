"""Small pictures as SVG: drawn by the server, readable without script, coloured by classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float | None]
CEILING = 4.0  # times the threshold; what is further out is drawn at the edge


@dataclass(frozen=True, slots=True)
class Range:
    """From the least to the largest value of an axis."""

    low: float
    high: float

    def part(self, value: float) -> float:
        """Where a value lies between, in [0, 1]."""
        if self.high <= self.low:
            return 0.5
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Frame:
    """Width and height of a picture in its own units."""

    width: float
    height: float
    edge: float = 2.0

    def path(self, points: Iterable[Point], x_range: Range, y_range: Range) -> str:
        """A line through the points, interrupted where one has no value."""
        commands, pen_is_down = [], False
        for x, y in points:
            if y is None:
                pen_is_down = False
                continue
            commands.append(f"{'L' if pen_is_down else 'M'}{self.at(x, y, x_range, y_range)}")
            pen_is_down = True
        return "".join(commands)

    def at(self, x: float, y: float, x_range: Range, y_range: Range) -> str:
        """Where a point is, as SVG writes it; y grows upwards."""
        across = self.edge + x_range.part(x) * (self.width - 2 * self.edge)
        down = self.height - self.edge - y_range.part(y) * (self.height - 2 * self.edge)
        return f"{across:.1f} {down:.1f}"


def sparkline(excesses: Sequence[Point], label: str) -> Markup:
    """Excess over time beside the threshold, which is at one; nothing without two points."""
    known = [(x, y) for x, y in excesses if y is not None]
    if len(known) < 2:  # noqa: PLR2004 - a line needs two points
        return Markup("")
    frame = Frame(120, 28)
    x_range = Range(known[0][0], known[-1][0])
    y_range = Range(0.0, min(max(1.5, *(y for _, y in known)), CEILING))
    threshold = frame.path([(x_range.low, 1.0), (x_range.high, 1.0)], x_range, y_range)
    path = frame.path(excesses, x_range, y_range)
    last = known[-1]
    x, y = frame.at(*last, x_range, y_range).split()
    is_out = "out" if last[1] > 1 else "in"
    return Markup(
        '<svg class="spark" viewBox="0 0 {w:g} {h:g}" width="{w:g}" height="{h:g}" role="img" '
        'aria-label="{label}"><path class="limit" d="{threshold}"/><path class="line" d="{path}"/>'
        '<circle class="{is_out}" cx="{x}" cy="{y}" r="2.2"/></svg>'
    ).format(
        w=frame.width,
        h=frame.height,
        label=label,
        threshold=threshold,
        path=path,
        x=x,
        y=y,
        is_out=is_out,
    )


def histogram(values: Sequence[float], marks: Sequence[tuple[str, float]], label: str) -> Markup:
    """How often values fall where, with marked ones as lines of a class; empty without values."""
    if not values:
        return Markup("")
    frame, bins = Frame(240, 56), 32
    shown = [*values, *(value for _, value in marks)]
    x_range = Range(min(shown), max(shown))
    counts = [0] * bins
    for value in values:
        counts[min(int(x_range.part(value) * bins), bins - 1)] += 1
    tallest = max(counts)
    step = (frame.width - 2 * frame.edge) / bins
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            frame.edge + i * step,
            frame.height - frame.edge - (h := count / tallest * (frame.height - 2 * frame.edge)),
            step * 0.9,
            h,
        )
        for i, count in enumerate(counts)
        if count
    )
    lines = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(
            kind, frame.path([(value, 0.0), (value, 1.0)], x_range, Range(0, 1))
        )
        for kind, value in marks
    )
    return Markup(
        '<svg class="histogram" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}" role="img" '
        'aria-label="{}">{}{}</svg>'
    ).format(frame.width, frame.height, frame.width, frame.height, label, bars, lines)
