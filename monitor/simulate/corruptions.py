"""Shifts that can be put on any image, any text and any list of exchanges.

Severity runs from 1, hard to see, to 5, hard to recognise.
"""

import functools
import io
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from importlib import resources

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from monitor.records import Exchange
from monitor.simulate.drawing import Pixels

SEVERITIES = range(1, 6)

Floats = npt.NDArray[np.float32]


class ImageCorruption(StrEnum):
    BLUR = "blur"
    NOISE = "noise"
    FROST = "frost"
    CONTRAST = "contrast"
    JPEG = "jpeg"


class TextCorruption(StrEnum):
    TYPOS = "typos"
    SYNONYMS = "synonyms"
    TRUNCATION = "truncation"
    CODE_SWITCHING = "code_switching"  # words of another language, one for one


def corrupt_image(
    pixels: Pixels, corruption: ImageCorruption, severity: int, rng: np.random.Generator
) -> Pixels:
    """A new image of the same shape; lengths scale with the longest side."""
    return _IMAGE[corruption](pixels, _level(severity), rng)


def corrupt_text(
    text: str, corruption: TextCorruption, severity: int, rng: np.random.Generator
) -> str:
    """A new text; it may be equal to the old one where nothing in it can be changed."""
    return _TEXT[corruption](text, _level(severity), rng)


def swap_images(exchanges: Sequence[Exchange], rng: np.random.Generator) -> list[Exchange]:
    """Give the images of each exchange that has some to another one that has some.

    No exchange keeps its own (unless it is the only one), and the images as a whole stay the same.
    """
    return _moved(exchanges, [i for i, e in enumerate(exchanges) if e.images], rng, _with_images)


def shuffle_answers(exchanges: Sequence[Exchange], rng: np.random.Generator) -> list[Exchange]:
    """Give the response of each exchange to another one; targets stay where they are."""
    return _moved(exchanges, range(len(exchanges)), rng, _with_response)


def _with_images(exchange: Exchange, giver: Exchange) -> Exchange:
    return replace(exchange, images=giver.images)


def _with_response(exchange: Exchange, giver: Exchange) -> Exchange:
    return replace(exchange, response=giver.response)


def _moved(
    exchanges: Sequence[Exchange],
    among: Sequence[int],
    rng: np.random.Generator,
    give: Callable[[Exchange, Exchange], Exchange],
) -> list[Exchange]:
    moved = list(exchanges)
    # One cycle through a random order: a permutation without a fixed point.
    order = rng.permutation(np.array(among, np.int64)).tolist()
    for taker, giver in zip(order, order[1:] + order[:1], strict=True):
        moved[taker] = give(exchanges[taker], exchanges[giver])
    return moved


def _level(severity: int) -> int:
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be an integer from 1 to 5, got {severity!r}")
    return severity - 1


def _blur(pixels: Pixels, level: int, _rng: np.random.Generator) -> Pixels:
    radius = (0.6, 1.0, 1.6, 2.5, 4.0)[level] * max(pixels.shape[:2]) / 224
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _noise(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    spread = 255 * (0.04, 0.07, 0.11, 0.17, 0.26)[level]
    return _rounded(pixels + spread * rng.standard_normal(pixels.shape, np.float32))


def _frost(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """Whitish crystals with sharp ridges over a dimmed image."""
    height, width = pixels.shape[:2]
    ice = np.zeros((height, width), np.float32)
    for cells, weight in ((5, 0.5), (11, 0.3), (27, 0.2)):
        coarse = Image.fromarray(rng.random((cells, cells), np.float32))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        ice += weight * (1 - np.abs(2 * smooth - 1)).clip(0, 1)
    cover = (0.2, 0.35, 0.5, 0.62, 0.75)[level] * ice[..., None] ** 1.5
    frozen = np.array((225, 235, 245), np.float32)
    return _rounded(pixels * (1 - 0.4 * cover) * (1 - cover) + frozen * cover)


def _contrast(pixels: Pixels, level: int, _rng: np.random.Generator) -> Pixels:
    mean = pixels.mean(axis=(0, 1), dtype=np.float32)
    return _rounded(mean + (0.75, 0.6, 0.45, 0.3, 0.15)[level] * (pixels - mean))


def _jpeg(pixels: Pixels, level: int, _rng: np.random.Generator) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=(40, 25, 15, 10, 6)[level])
    return np.asarray(Image.open(buffer, formats=("JPEG",)))


def _rounded(values: Floats) -> Pixels:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _typos(text: str, level: int, rng: np.random.Generator) -> str:
    rate = (0.02, 0.04, 0.08, 0.12, 0.18)[level]
    hit = (rng.random(len(text)) < rate).tolist()
    out: list[str] = []
    for character, typo in zip(text, hit, strict=True):
        if typo and character.isalpha():
            out.append(_mistyped(character, rng))
        else:
            out.append(character)
    return "".join(out)


def _mistyped(character: str, rng: np.random.Generator) -> str:
    """A neighbour on the keyboard, the letter twice, or nothing."""
    beside, doubled = rng.integers(2, size=2).tolist()
    near = _NEIGHBOURS.get(character.lower())
    if beside and near:
        key = near[int(rng.integers(len(near)))]
        return key.upper() if character.isupper() else key
    return character * 2 if doubled else ""


_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS: dict[str, str] = {
    key: row[max(0, i - 1) : i] + row[i + 1 : i + 2]
    for row in _KEY_ROWS
    for i, key in enumerate(row)
}


def _truncation(text: str, level: int, _rng: np.random.Generator) -> str:
    """The beginning, cut where a word starts if the text has such a place."""
    kept = text[: math.ceil(len(text) * (0.8, 0.65, 0.5, 0.35, 0.2)[level])]
    whole_words, _, _ = kept.rpartition(" ")
    return whole_words or kept


def _synonyms(text: str, level: int, rng: np.random.Generator) -> str:
    return _reworded(text, _synonym_table(), (0.2, 0.4, 0.6, 0.8, 1.0)[level], rng)


def _code_switching(text: str, level: int, rng: np.random.Generator) -> str:
    tables = _translation_tables()
    table = tables[int(rng.integers(len(tables)))]
    return _reworded(text, table, (0.2, 0.4, 0.6, 0.8, 1.0)[level], rng)


def _reworded(
    text: str, table: Mapping[str, Sequence[str]], share: float, rng: np.random.Generator
) -> str:
    def other(match: re.Match[str]) -> str:
        word = match.group()
        options = table.get(word)
        if options is None and word[0].isupper() and _begins(text[: match.start()]):
            options = table.get(word.lower())
        if options is None or rng.random() >= share:
            return word
        new = options[int(rng.integers(len(options)))]
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return _words(tuple(table)).sub(other, text)


def _begins(before: str) -> bool:
    """Whether a capital says nothing here; elsewhere it tells German nouns from other words."""
    return before.rstrip()[-1:] in {"", ".", "!", "?", ":", "¿", "¡"}


@functools.lru_cache(maxsize=16)
def _words(known: tuple[str, ...]) -> re.Pattern[str]:
    """Words of letters and the marks that Hindi writes upon them; Chinese only as it is known."""
    chinese = [re.escape(word) for word in known if "一" <= word[0] <= "鿿"]
    return re.compile("|".join([*chinese, r"[^\W\d_一-鿿](?:[^\W\d_一-鿿]|[\u0900-\u097f])*"]))


@functools.cache
def _word_lists() -> dict[str, list[list[str]]]:
    text = resources.files("monitor.simulate").joinpath("words.toml").read_text("utf-8")
    return tomllib.loads(text)


@functools.cache
def _synonym_table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for group in _word_lists()["synonyms"]:
        for word in group:
            table.setdefault(word, []).extend(w for w in group if w != word)
    return table


@functools.cache
def _translation_tables() -> list[dict[str, list[str]]]:
    """For every language, what its words replace."""
    rows = _word_lists()["translations"]
    tables: list[dict[str, list[str]]] = []
    for language in range(len(rows[0])):
        table: dict[str, list[str]] = {}
        for row in rows:
            for word in row:
                if word != row[language]:
                    table.setdefault(word, [row[language]])
        tables.append(table)
    return tables


_IMAGE: dict[ImageCorruption, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    ImageCorruption.BLUR: _blur,
    ImageCorruption.NOISE: _noise,
    ImageCorruption.FROST: _frost,
    ImageCorruption.CONTRAST: _contrast,
    ImageCorruption.JPEG: _jpeg,
}
_TEXT: dict[TextCorruption, Callable[[str, int, np.random.Generator], str]] = {
    TextCorruption.TYPOS: _typos,
    TextCorruption.SYNONYMS: _synonyms,
    TextCorruption.TRUNCATION: _truncation,
    TextCorruption.CODE_SWITCHING: _code_switching,
}
