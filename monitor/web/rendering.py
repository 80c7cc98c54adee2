"""Templates, and how times, numbers and strangers' texts look in them."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from monitor.service.verdict import reason_in_words
from monitor.web.assets import Assets
from monitor.web.session import visitor
from monitor.web.words import STATES, WORDINGS, wording

CLAMP = 280  # characters of a text that are shown before it is opened
_TEN = 10
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))
# Joiners are part of how people write, and so are the line ends of forms and of Windows;
# everything else that is not seen is shown.
_INVISIBLE = re.compile(
    "\r(?!\n)|"
    + "|".join(
        f"[{chr(first)}-{chr(last)}]"
        for first, last in (
            (0x00, 0x08),
            (0x0B, 0x0C),
            (0x0E, 0x1F),
            (0x7F, 0x9F),
            (0xAD, 0xAD),
            (0x61C, 0x61C),
            (0x180E, 0x180E),
            (0x200B, 0x200B),
            (0x200E, 0x200F),
            (0x2028, 0x202E),
            (0x2060, 0x206F),
            (0xFEFF, 0xFEFF),
            (0xFFF9, 0xFFFB),
            (0xE0000, 0xE007F),
        )
    )
)


def make_templates(assets: Assets) -> Environment:
    """The templates of all pages; everything that is not ``Markup`` is escaped."""
    environment = Environment(
        loader=PackageLoader("monitor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        asset=assets.address,
        link=link,
        visitor=visitor,
        STATES=STATES,
        WORDINGS=WORDINGS,
    )
    environment.filters.update(
        utc=utc,
        ago=ago,
        span=span,
        number=number,
        times=times,
        percent=percent,
        said=said,
        sentence=sentence,
        name=name,
        plain=plain,
        words=reason_in_words,
        wording=wording,
    )
    return environment


def link(path: str, **query: object) -> str:
    """An address of ours with its parameters; those that are None are left out."""
    given = {k: _parameter(v) for k, v in query.items() if v is not None}
    return f"{path}?{urlencode(given)}" if given else path


def utc(time: datetime | None, form: str = "%Y-%m-%d %H:%M") -> Markup:
    """A time for people and machines; pages say once that all times are UTC."""
    if time is None:
        return Markup('<span class="none">–</span>')
    exact = time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(exact, f"{time.astimezone(UTC):{form}}")


def ago(time: datetime, now: datetime) -> str:
    """How long it has been."""
    seconds = (now - time).total_seconds()
    if seconds < 0:
        return f"in {span(-seconds)}"
    return f"{span(seconds)} ago"


def span(length: timedelta | float) -> str:
    """A length of time in its largest unit, with tenths below ten of it."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    for unit, size in _UNITS:
        if seconds >= size:
            has_tenths = unit != "min" and seconds < _TEN * size
            return f"{seconds / size:.{int(has_tenths)}f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits without an exponent where a person would write none."""
    if value is None:
        return "–"
    if value and (abs(value) < 1e-4 or abs(value) >= 1e6):  # noqa: PLR2004 - beyond, zeros are counted
        return f"{value:.{digits - 1}e}"
    shown = f"{value:.{digits}g}"
    return f"{float(shown):.{digits}f}".rstrip("0").rstrip(".") if "e" in shown else shown


def times(ratio: float | None) -> str:
    """An excess: 1.0 is the threshold itself."""
    if ratio is None:
        return "–"
    shown = f"{ratio:.2f}" if abs(ratio) < 10 else f"{ratio:,.0f}"  # noqa: PLR2004 - two digits say enough
    return f"{shown}\N{NO-BREAK SPACE}×"


def percent(share: float | None) -> str:
    """A share in [0, 1]."""
    if share is None:
        return "–"
    shown = share * 100
    return f"{shown:.1f} %" if 0 < shown < 10 else f"{shown:.0f} %"  # noqa: PLR2004 - below, a tenth matters


def name(text: str) -> Markup:
    """A name that a stranger may have given: of its own direction, nothing in it unseen."""
    return Markup("<bdi>{}</bdi>").format(_visible(text))


def said(text: str | None) -> Markup:
    """A text as somebody wrote it; long ones are opened by hand."""
    if text is None:
        return Markup('<span class="none">not kept</span>')
    if not text:
        return Markup('<span class="none">empty</span>')
    if len(text) <= CLAMP:
        return Markup('<bdi class="said">{}</bdi>').format(_visible(text))
    return Markup(
        '<details class="long"><summary><bdi class="said">{} …</bdi>'
        '<span class="more">all {:,} characters</span></summary>'
        '<bdi class="said">{}</bdi></details>'
    ).format(_visible(text[:CLAMP]), len(text), _visible(text[CLAMP:]))


def plain(text: str) -> str:
    """A name where no markup can be: in titles, choices and what is read aloud."""
    return _INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def sentence(message: str) -> str:
    """What a program says, as a person begins and ends it."""
    return f"{message[:1].upper()}{message[1:]}{'' if message.endswith(('.', '!', '?')) else '.'}"


def _visible(text: str) -> Markup:
    """Escaped, with a mark for every character that cannot be seen and may mislead."""
    parts, end = [], 0
    for found in _INVISIBLE.finditer(text):
        parts.append(escape(text[end : found.start()]))
        code = f"U+{ord(found[0]):04X}"
        title = unicodedata.name(found[0], "control character").lower()
        parts.append(Markup('<span class="unseen" title="{}">{}</span>').format(title, code))
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def _parameter(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return str(value)
