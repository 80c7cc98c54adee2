"""Labels that say what an exchange is like: nobody has to log them to slice by them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from monitor.encoders.images import pixels_said
from monitor.errors import ImageRejectedError
from monitor.records import Exchange, StoredImage

LANGUAGE, IMAGES, IMAGE_SIZE, PROMPT_LENGTH = "language", "images", "image_size", "prompt_length"
CLIENT = "client"  # which only the formats know
DERIVED = (LANGUAGE, IMAGES, IMAGE_SIZE, PROMPT_LENGTH, CLIENT)
UNKNOWN, OTHER = "unknown", "other"
MANY_IMAGES = 3
SURE = 0.5  # of a language, by the detector's own account
LIKELY = 8  # languages that may share what is nearly one
DETECTED_CHARS = 1_000
COUNTED_VALUES = 50

# Up to so many pixels, and up to so many characters.
_SIZES = ((2**18, "small"), (2**20, "medium"), (2**22, "large"))
_LENGTHS = ((0, "none"), (60, "short"), (300, "medium"), (2_000, "long"))
_LONGEST = "very_long"
_LARGEST = "huge"
# What the detector tells apart and people do not, and what is no language.
_MEANT = {"ary": "ar", "arz": "ar", "nn": "no", "wuu": "zh", "yue": "zh", "zxx": UNKNOWN}


def with_derived(
    exchange: Exchange, images: Sequence[StoredImage], kept: Callable[[str], bool]
) -> Exchange:
    """The exchange with these labels beside its own, which win; only those that are kept."""
    makers: Mapping[str, Callable[[], str]] = {
        LANGUAGE: lambda: language_of(exchange.text),
        IMAGES: lambda: str(len(images)) if len(images) < MANY_IMAGES else f"{MANY_IMAGES}+",
        IMAGE_SIZE: lambda: image_size(images),
        PROMPT_LENGTH: lambda: _class_of(len(exchange.text), _LENGTHS, _LONGEST),
    }
    missing = (name for name in makers if name not in exchange.labels and kept(name))
    labels = {name: makers[name]() for name in missing}
    return replace(exchange, labels={**labels, **exchange.labels})


def language_of(text: str) -> str:
    """Code of the language, ISO 639; ``unknown`` where there is too little to tell."""
    shares: defaultdict[str, float] = defaultdict(float)
    for code, share in _detector()(text[:DETECTED_CHARS])[:LIKELY]:
        shares[_MEANT.get(code, code)] += share
    code, share = max(shares.items(), key=lambda item: item[1])
    return code if share >= SURE else UNKNOWN


def image_size(images: Sequence[StoredImage]) -> str:
    """Class of the largest image by the pixels that its header says."""
    if not images:
        return "none"
    pixels = [_pixels(image.payload) for image in images if image.payload is not None]
    known = [count for count in pixels if count]
    return _class_of(max(known), _SIZES, _LARGEST) if known else UNKNOWN


def label_counts(
    labels: Iterable[Mapping[str, str]], names: Iterable[str]
) -> dict[str, dict[str, int]]:
    """How often each value of these labels is there: the most frequent, and the others together."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for each in labels:
        for name, counter in counts.items():
            if name in each:
                counter[each[name]] += 1
    return {name: _bounded(counter) for name, counter in counts.items() if counter}


def without_rare(
    counts: Mapping[str, Mapping[str, int]], removed: int
) -> dict[str, dict[str, int]]:
    """The counts of what is left after so many exchanges are gone that nobody knows the labels of.

    A value that only those may have had is no longer named; the counts are too high by as many.
    """
    return {
        name: _unnamed(values, {value for value, count in values.items() if count <= removed})
        for name, values in counts.items()
    }


def without_value(
    counts: Mapping[str, Mapping[str, int]], label: str, value: str
) -> dict[str, dict[str, int]]:
    """The counts without the name of one value."""
    return {
        name: _unnamed(values, {value} if name == label else set())
        for name, values in counts.items()
    }


def _unnamed(counts: Mapping[str, int], gone: Collection[str]) -> dict[str, int]:
    left = Counter({value: n for value, n in counts.items() if value not in gone})
    return _bounded(left, sum(counts.values()) - left.total())


def _bounded(counts: Counter[str], others: int = 0) -> dict[str, int]:
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    shown = {value: counts[value] for value in ranked[:COUNTED_VALUES]}
    others += sum(counts[value] for value in ranked[COUNTED_VALUES:])
    return shown | {OTHER: shown.get(OTHER, 0) + others} if others else shown


def _class_of(count: int, classes: Sequence[tuple[int, str]], beyond: str) -> str:
    return next((name for limit, name in classes if count <= limit), beyond)


def _pixels(data: bytes) -> int | None:
    try:
        return pixels_said(data)
    except ImageRejectedError:
        return None


@cache
def _detector() -> Callable[[str], list[tuple[str, float]]]:
    # Loading it takes half a second and 100 MB, so not before it is needed.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    detector = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    rank: Callable[[str], list[tuple[str, float]]] = detector.rank
    return rank
