"""The power of a drill as one picture, PNG or SVG by the name of the file.

Rectangles and labels are all it takes, so a plotting library is not asked for.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

from monitor.commands.drill_report import Report
from monitor.errors import MonitorError
from monitor.records import Signal
from monitor.service.drill import FOUND, Outcome
from monitor.service.drill_evidence import HORIZON

ROW, CELL, LEFT, TOP, GAP, MARGIN = 22, 14, 190, 92, 14, 12
LETTER, TEXT = 7, 12  # widths of names are estimated, so that both forms are laid out alike
STEP = 4  # between strengths
SCALE = 2  # PNG pixels for each unit
WHITE, INK, GREY = (255, 255, 255), (30, 30, 30), (120, 120, 120)
LASTING = (200, 110, 0)
NEVER, ALWAYS = (236, 240, 246), (8, 48, 107)  # one hue: readable without colour vision

_SLOWLY = f"found by evidence over windows, within {HORIZON} if it lasts, not in one"

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle; the hint is shown by viewers of SVG."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text that begins, or ends, at x; y is its middle."""

    x: float
    y: float
    text: str
    colour: Colour = INK
    ends_here: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is on the picture, in units of a screen."""

    width: float
    height: float
    marks: Sequence[Box | Label]


def require_picture(path: Path) -> None:
    """Refuse, before any work is done, a file that could not be written.

    Raises:
        MonitorError: with what was expected.
    """
    if path.suffix.lower() not in _FORMS:
        raise MonitorError(f"--picture takes a file that ends in .png or .svg, got {path.name!r}")
    if not path.absolute().parent.is_dir():
        raise MonitorError(f"--picture: there is no folder {path.parent}")


def write_picture(report: Report, path: Path) -> None:
    """Rows are signals; columns are shifts, within them strengths, within those fractions."""
    path.write_bytes(_FORMS[path.suffix.lower()](draw(report)))


def draw(report: Report) -> Drawing:
    """The layout, whatever it is written as."""
    signals: list[Signal | None] = [None, *report.undrifted.alarms]
    marks: list[Box | Label] = [
        Label(MARGIN, 16, f"Share of windows of {report.rules.window} exchanges that alarm"),
        Label(MARGIN, 34, _subtitle(report), GREY),
    ]
    for row, signal in enumerate(signals):
        name = "any signal" if signal is None else signal.value
        marks.append(Label(LEFT - 8, TOP + row * ROW + ROW / 2, name, ends_here=True))
    x = float(LEFT)
    for group in [[report.undrifted], *_by_kind(report)]:
        marks += _group(group, signals, x)
        steps = len({o.shift for o in group}) - 1
        x += max(len(group) * CELL + steps * STEP, len(_kind(group[0])) * LETTER) + GAP
    bottom = TOP + len(signals) * ROW + 26
    marks += _legend(bottom)
    width = max(x, MARGIN + len(_subtitle(report)) * LETTER, LEFT + len(_SLOWLY) * LETTER)
    return Drawing(width, bottom + 68, marks)


def _subtitle(report: Report) -> str:
    fractions = ", ".join(f"{100 * f:.3g} %" for f in sorted(report.rules.fractions))
    return (
        f"reference {report.reference}, {report.rules.trials} windows each; columns under a "
        f"strength: {fractions} of the traffic"
    )


def _by_kind(report: Report) -> Iterator[list[Outcome]]:
    for _, outcomes in groupby(report.outcomes[1:], key=_kind):
        yield list(outcomes)


def _kind(outcome: Outcome) -> str:
    return "no shift" if outcome.shift is None else outcome.shift.kind.value.replace("_", " ")


def _group(
    outcomes: Sequence[Outcome], signals: Sequence[Signal | None], x: float
) -> Iterator[Box | Label]:
    yield Label(x, TOP - 32, _kind(outcomes[0]))
    strengths = [o.shift.strength if o.shift else 0 for o in outcomes]
    for column, (outcome, strength) in enumerate(zip(outcomes, strengths, strict=True)):
        left = x + column * CELL + (len(set(strengths[: column + 1])) - 1) * STEP
        if strength and strength not in strengths[:column]:
            yield Label(left, TOP - 12, str(strength), GREY)
        for row, signal in enumerate(signals):
            if signal is None or signal in outcome.alarms:
                power = outcome.power(signal).value
                name = "any signal" if signal is None else signal.value
                hint = f"{outcome.shift or 'no shift'}, {outcome.fraction:.0%}: {name} {power:.2f}"
                y = TOP + row * ROW
                yield Box(left + 1, y + 1, CELL - 2, ROW - 2, _shade(power), hint)
                if power >= FOUND:
                    yield Box(left + CELL / 2 - 2, y + ROW / 2 - 2, 4, 4, WHITE)
                elif outcome.is_persistent(signal):
                    yield Box(left + 1, y + ROW - 4, CELL - 2, 3, LASTING)


def _legend(y: float) -> Iterator[Box | Label]:
    for step in range(6):
        share = step / 5
        yield Box(LEFT + step * 60, y - 7, CELL - 2, 14, _shade(share))
        yield Label(LEFT + step * 60 + CELL + 4, y, f"{share:.1f}")
        if share >= FOUND:
            yield Box(LEFT + step * 60 + CELL / 2 - 3, y - 2, 4, 4, WHITE)
    yield Label(LEFT + CELL + 4, y + 22, f"dotted: found in one window, at least {FOUND:g}", GREY)
    yield Box(LEFT, y + 43, CELL - 2, 3, LASTING)
    yield Label(LEFT + CELL + 4, y + 44, _SLOWLY, GREY)


def _shade(power: float) -> Colour:
    red, green, blue = (round(a + (b - a) * power) for a, b in zip(NEVER, ALWAYS, strict=True))
    return red, green, blue


def _png(drawing: Drawing) -> bytes:
    size = (round(SCALE * drawing.width), round(SCALE * drawing.height))
    canvas = Image.new("RGB", size, WHITE)
    draw_on, font = ImageDraw.Draw(canvas), ImageFont.load_default(SCALE * TEXT)
    for mark in drawing.marks:
        at = (SCALE * mark.x, SCALE * mark.y)
        if isinstance(mark, Box):
            corner = (at[0] + SCALE * mark.width - 1, at[1] + SCALE * mark.height - 1)
            draw_on.rectangle((at, corner), fill=mark.colour)
        else:
            anchor = "rm" if mark.ends_here else "lm"
            draw_on.text(at, mark.text, fill=mark.colour, font=font, anchor=anchor)
    out = io.BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


def _svg(drawing: Drawing) -> bytes:
    width, height = f"{drawing.width:g}", f"{drawing.height:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="{TEXT}">',
        '<rect width="100%" height="100%" fill="white"/>',
        *(_svg_box(m) if isinstance(m, Box) else _svg_label(m) for m in drawing.marks),
        "</svg>\n",
    ]
    return "\n".join(lines).encode()


def _svg_box(box: Box) -> str:
    place = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
    return f'<rect {place} fill="rgb{box.colour}"><title>{escape(box.hint)}</title></rect>'


def _svg_label(label: Label) -> str:
    anchor = "end" if label.ends_here else "start"
    return (
        f'<text x="{label.x:g}" y="{label.y:g}" fill="rgb{label.colour}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{escape(label.text)}</text>'
    )


_FORMS: dict[str, Callable[[Drawing], bytes]] = {".png": _png, ".svg": _svg}
