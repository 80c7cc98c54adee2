import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from monitor.records import Exchange, ImageState, LoggedImage
from monitor.simulate.corruptions import (
    SEVERITIES,
    ImageCorruption,
    TextCorruption,
    corrupt_image,
    corrupt_text,
    shuffle_answers,
    swap_images,
)
from monitor.simulate.drawing import Pixels, render
from monitor.simulate.scenes import draw_scene

TEXT = "Please describe what the people in this picture could be doing on the street."


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture() -> Pixels:
    return render(draw_scene(rng(3)))


def distance(pixels: Pixels, corruption: ImageCorruption, severity: int) -> float:
    changed = corrupt_image(pixels, corruption, severity, rng())
    return float(np.square(changed.astype(float) - pixels).mean())


@pytest.mark.parametrize("corruption", ImageCorruption)
def test_an_image_is_worse_at_every_step_of_severity(corruption: ImageCorruption) -> None:
    far = [distance(picture(), corruption, severity) for severity in SEVERITIES]
    assert far[0] > 0
    assert all(a < b for a, b in itertools.pairwise(far))


@pytest.mark.parametrize("corruption", ImageCorruption)
def test_a_photograph_is_worse_at_every_step_of_severity(
    corruption: ImageCorruption, shared_data: Path
) -> None:
    path = sorted((shared_data / "photos").iterdir())[7]
    photo = np.asarray(Image.open(path).convert("RGB"))
    far = [distance(photo, corruption, severity) for severity in SEVERITIES]
    assert all(a < b for a, b in itertools.pairwise(far))


@pytest.mark.parametrize("corruption", ImageCorruption)
@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 17, 3), (9, 300, 3)])
def test_an_image_keeps_its_shape_and_the_original_stays_as_it_was(
    corruption: ImageCorruption, shape: tuple[int, int, int]
) -> None:
    pixels = rng().integers(0, 256, shape, np.uint8)
    before = pixels.copy()
    changed = corrupt_image(pixels, corruption, 5, rng())
    assert (changed.shape, changed.dtype) == (shape, np.uint8)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("corruption", ImageCorruption)
def test_the_generator_decides_what_becomes_of_an_image(corruption: ImageCorruption) -> None:
    first, second = (corrupt_image(picture(), corruption, 4, rng(8)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("corruption", TextCorruption)
def test_a_severe_corruption_changes_a_prompt(corruption: TextCorruption) -> None:
    assert corrupt_text(TEXT, corruption, 5, rng()) != TEXT


@pytest.mark.parametrize("corruption", [TextCorruption.TYPOS, TextCorruption.TRUNCATION])
@pytest.mark.parametrize("text", ["草地上有多少个五角星？", "घास के मैदान में कितने तारे हैं?"])
def test_scripts_without_our_keyboard_are_corrupted_as_well(
    corruption: TextCorruption, text: str
) -> None:
    assert corrupt_text(text, corruption, 5, rng(1)) != text


@given(
    text=st.text(max_size=60),
    corruption=st.sampled_from(TextCorruption),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 99),
)
def test_any_text_can_be_corrupted_twice_alike(
    text: str, corruption: TextCorruption, severity: int, seed: int
) -> None:
    once = corrupt_text(text, corruption, severity, rng(seed))
    assert once == corrupt_text(text, corruption, severity, rng(seed))


def test_typos_become_more_with_severity() -> None:
    words = TEXT.split() * 30
    spoilt = [
        sum(corrupt_text(word, TextCorruption.TYPOS, s, g) != word for word in words)
        for s, g in zip(SEVERITIES, (rng(4) for _ in SEVERITIES), strict=True)
    ]
    assert all(a < b for a, b in itertools.pairwise(spoilt))


def test_truncation_keeps_whole_words_from_the_beginning() -> None:
    cut = [corrupt_text(TEXT, TextCorruption.TRUNCATION, s, rng()) for s in SEVERITIES]
    assert all(TEXT.startswith(text + " ") for text in cut)
    assert all(len(a) > len(b) for a, b in itertools.pairwise(cut))


def test_a_synonym_keeps_the_other_words_and_the_capital() -> None:
    changed = corrupt_text("Describe the picture.", TextCorruption.SYNONYMS, 5, rng(1))
    first, second, third = changed.removesuffix(".").split()
    assert first in {"Depict", "Explain"}
    assert second == "the"
    assert third in {"image", "photo", "illustration"}


def test_a_german_noun_is_not_taken_for_an_english_verb() -> None:
    changed = corrupt_text("Was ist auf dem See?", TextCorruption.SYNONYMS, 5, rng())
    assert changed == "Was ist auf dem See?"


def test_code_switching_puts_in_the_words_of_one_other_language() -> None:
    switched = {
        corrupt_text("the red star", TextCorruption.CODE_SWITCHING, 5, rng(s)) for s in range(40)
    }
    assert switched == {"the red star", "die rot Stern", "la rojo estrella", "la rouge étoile"}


@pytest.mark.parametrize("severity", [0, 6, 2.5])
def test_a_severity_off_the_scale_is_refused(severity: int) -> None:
    with pytest.raises(ValueError, match="severity"):
        corrupt_text(TEXT, TextCorruption.TYPOS, severity, rng())
    with pytest.raises(ValueError, match="severity"):
        corrupt_image(picture(), ImageCorruption.BLUR, severity, rng())


def exchange(number: int, *, has_image: bool = True) -> Exchange:
    image = LoggedImage(ImageState.INLINE, data=str(number).encode())
    return Exchange(
        id=str(number),
        time=datetime(2026, 3, 1, tzinfo=UTC),
        stream="s",
        text=f"question {number}",
        response=f"answer {number}",
        target=f"target {number}",
        images=(image,) if has_image else (),
    )


@given(count=st.integers(2, 30), seed=st.integers(0, 99))
def test_shuffling_moves_every_answer_and_nothing_else(count: int, seed: int) -> None:
    exchanges = [exchange(i) for i in range(count)]
    shuffled = shuffle_answers(exchanges, rng(seed))
    assert all(a.response != b.response for a, b in zip(exchanges, shuffled, strict=True))
    assert {e.response for e in shuffled} == {e.response for e in exchanges}
    assert [replace(e, response="") for e in shuffled] == [
        replace(e, response="") for e in exchanges
    ]


@given(pictured=st.lists(st.booleans(), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_swapping_moves_images_only_among_exchanges_that_have_one(
    pictured: list[bool], seed: int
) -> None:
    exchanges = [exchange(i, has_image=has) for i, has in enumerate(pictured)]
    swapped = swap_images(exchanges, rng(seed))
    assert [bool(e.images) for e in swapped] == pictured
    assert Counter(e.images for e in swapped) == Counter(e.images for e in exchanges)
    assert [replace(e, images=()) for e in swapped] == [replace(e, images=()) for e in exchanges]


def test_no_exchange_keeps_its_image_when_they_are_swapped() -> None:
    exchanges = [exchange(i) for i in range(50)]
    swapped = swap_images(exchanges, rng(2))
    assert all(a.images != b.images for a, b in zip(exchanges, swapped, strict=True))


@pytest.mark.parametrize("move", [swap_images, shuffle_answers])
@pytest.mark.parametrize("count", [0, 1])
def test_nothing_moves_where_there_is_no_other(
    move: Callable[[list[Exchange], np.random.Generator], list[Exchange]], count: int
) -> None:
    exchanges = [exchange(i) for i in range(count)]
    assert move(exchanges, rng()) == exchanges
