"""What of an exchange is kept, and what is taken out before anything is stored or embedded."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Self

import regex  # type: ignore[import-untyped]  # publishes no type information
import structlog

from monitor.records import Exchange, LateTarget, Rejection
from monitor.traffic.formats.wire import EXCERPT_CHARS

log = structlog.get_logger()

SEARCH_SECONDS = 0.25  # of processor time; a pattern may take exponentially long
UNSEARCHED = "[redacted:unsearched]"
CONTENT = ("text", "response", "target")
EVERY_LABEL = "*"
_CARD_DIGITS = range(13, 20)
_DIGITS = regex.compile(r"\d+")
# An excerpt is a piece of JSON, often of JSON within JSON.
_ESCAPED = regex.compile(r"\\+u([0-9a-fA-F]{4})|\\+[nrt]")
_LAST_WORDS = regex.compile(r"(?:[+(]?\d[\d ().-]*[ -])?[^\s\"',{}\[\]]*$")

Replace = Callable[[str], str]


def _in_cards(found: str) -> str:
    """The digits without those runs of whole groups that are card numbers by their check digit."""
    groups = list(_DIGITS.finditer(found))
    for first in range(len(groups)):
        counts = accumulate(len(group[0]) for group in groups[first:])
        for last, count in enumerate(counts, first):
            if count > max(_CARD_DIGITS):
                break
            digits = "".join(group[0] for group in groups[first : last + 1])
            if count in _CARD_DIGITS and _is_luhn(digits):
                start, end = groups[first].start(), groups[last].end()
                return f"{found[:start]}{_mark('card')}{_in_cards(found[end:])}"
    return found


def _is_luhn(digits: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _mark(name: str) -> str:
    return f"[redacted:{name}]"


# Repetitions are bounded, so that none of these takes more than linear time.
BUILTIN: Mapping[str, str] = {
    "token": r"""(?i:\bbearer)\s{1,4}[\w.~+/=-]{20,4096}
        | (?i:\b(?:api[_-]?key|secret|passw(?:or)?d|(?:access|auth|refresh)[_-]?token))
          ["']?\s{0,4}[:=]\s{0,4}["']?[^\s"',;]{6,4096}
        | \b(?:sk|pk|rk)[-_][\w-]{16,512} | \bgh[pousr]_\w{20,255} | \bgithub_pat_\w{20,255}
        | \bglpat-[\w-]{16,255} | \bxox[abeoprs]-[\w-]{10,255} | \bhf_[A-Za-z0-9]{20,255}
        | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b | \bAIza[\w-]{30,255}
        | \beyJ[\w-]{8,8192}\.[\w-]{8,8192}\.[\w-]{0,8192}
        | -----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY-----[^-]{0,16384}(?:-----END[A-Z\ ]{0,50}-----)?""",
    "email": r"[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
    "card": r"(?<!\d)(?:\d{13,19}|\d{4}(?:[\ -]\d{2,7}){2,15})(?!\d)",
    "phone": r"""(?<![\w.])(?:
          (?:\+|00)[1-9](?:[\ ()./-]{0,3}\d){6,13}
        | \(?\d{3}\)?[\ .-]{1,2}\d{3}[\ .-]\d{4}
        | \(?0\d{1,4}\)?[\ /-]\d{3,4}[\ -]?\d{2,4}(?:[\ -]?\d{1,4})?
        )(?!\w)""",
}
_CHECKED: Mapping[str, Replace] = {"card": _in_cards}


@dataclass(frozen=True, slots=True)
class Redactor:
    """Patterns that are replaced by their names; those of the operator before the built-in ones."""

    patterns: Mapping[str, str] = field(default_factory=dict)  # of the operator, by name
    builtin: tuple[str, ...] = ()
    _compiled: dict[str, "regex.Pattern[str]"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compiled = {name: regex.compile(pattern) for name, pattern in self.patterns.items()}
        compiled |= {
            name: regex.compile(BUILTIN[name], regex.VERBOSE)
            for name in BUILTIN
            if name in self.builtin
        }
        object.__setattr__(self, "_compiled", compiled)  # the dataclass is frozen

    @property
    def identity(self) -> list[str]:
        """What is redacted, so that a reference can say how it was made."""
        texts = {**{name: BUILTIN[name] for name in self.builtin}, **self.patterns}
        return sorted(
            f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
            for name, text in texts.items()
        )

    def __call__(self, text: str) -> str:
        """The text with every match replaced; nothing of it where a search takes too long."""
        for name, pattern in self._compiled.items():
            check = _CHECKED.get(name) if name not in self.patterns else None
            mark = _mark(name)
            try:
                text = pattern.sub(
                    lambda found, check=check, mark=mark: check(found[0]) if check else mark,
                    text,
                    timeout=SEARCH_SECONDS,
                )
            except TimeoutError:
                log.warning("redaction_gave_up", pattern=name)
                return UNSEARCHED
        return text

    def excerpt(self, text: str) -> str:
        """As the text it is a piece of; without its last words, which may be half of something."""
        if not self._compiled:
            return text
        plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", text)
        plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)
        if len(text) >= EXCERPT_CHARS:
            plain = _LAST_WORDS.sub("", plain)
        return self(plain)


@dataclass(frozen=True, slots=True)
class Privacy:
    """What is kept of traffic. Unless it is said otherwise, everything, as it came.

    ``labels`` None keeps all of them. Of ``content``, what is not named is gone as soon as it is
    embedded, because the embed job reads what is stored.
    """

    redact: Redactor = field(default_factory=Redactor)
    content: frozenset[str] = frozenset(CONTENT)
    labels: frozenset[str] | None = None
    thumbnails: bool = True
    excerpts: bool = True

    @classmethod
    def of(
        cls, keep: Collection[str], builtin: Collection[str], patterns: Mapping[str, str]
    ) -> Self:
        """From what the settings name."""
        labels = {item.removeprefix("labels.") for item in keep if item.startswith("labels.")}
        return cls(
            redact=Redactor(patterns, tuple(builtin)),
            content=frozenset(CONTENT).intersection(keep),
            labels=None if EVERY_LABEL in labels else frozenset(labels),
            thumbnails="thumbnails" in keep,
            excerpts="excerpts" in keep,
        )

    @property
    def dropped(self) -> frozenset[str]:
        """Content that is not kept once it is embedded."""
        return frozenset(CONTENT) - self.content

    def keeps(self, label: str) -> bool:
        """Whether a label of this name is kept."""
        return self.labels is None or label in self.labels

    def exchange(self, exchange: Exchange) -> Exchange:
        """What may be stored of an exchange; its id, time and stream stay as they are."""
        target = exchange.target
        return replace(
            exchange,
            text=self.redact(exchange.text),
            response=self.redact(exchange.response),
            target=None if target is None else self.redact(target),
            labels={
                name: self.redact(value)
                for name, value in exchange.labels.items()
                if self.keeps(name)
            },
        )

    def target(self, target: LateTarget) -> LateTarget:
        """What may be stored of a target that came apart."""
        return replace(target, target=self.redact(target.target))

    def rejection(self, rejection: Rejection) -> Rejection:
        """What may be stored of a refused record."""
        return replace(
            rejection,
            detail=self.redact(rejection.detail),
            excerpt=self.redact.excerpt(rejection.excerpt) if self.excerpts else "",
        )
