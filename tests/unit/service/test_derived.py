"""Labels that say what an exchange is like."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monitor.records import Exchange, ImageState, StoredImage
from monitor.service.derived import (
    COUNTED_VALUES,
    image_size,
    label_counts,
    language_of,
    with_derived,
    without_rare,
    without_value,
)
from monitor.service.privacy import Privacy
from monitor.simulate.questions import Language, draw_question, question_text
from monitor.simulate.scenes import draw_scene
from tests.unit.traffic import captured
from tests.unit.traffic.test_captured import EXPECTED

KEEP_ALL = Privacy().keeps
LLAVA_CODES = {
    "Arabic": "ar",
    "Chinese": "zh",
    "English": "en",
    "German": "de",
    "Greek": "el",
    "Hindi": "hi",
    "Korean": "ko",
}


def told(text: str = "What is in this image?", labels: Mapping[str, str] | None = None) -> Exchange:
    time = datetime(2026, 3, 1, tzinfo=UTC)
    return Exchange("a", time, "llava", text, "A dog.", labels=labels or {})


def stored(width: int, height: int, kind: str = "PNG") -> StoredImage:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, kind)
    return StoredImage(ImageState.INLINE, "hash", out.getvalue())


LOST = StoredImage(ImageState.TRUNCATED)


def derived(exchange: Exchange, *images: StoredImage) -> Mapping[str, str]:
    return with_derived(exchange, images, KEEP_ALL).labels


def test_an_exchange_gets_all_labels_that_its_content_tells() -> None:
    assert derived(told(), stored(640, 480), LOST) == {
        "language": "en",
        "images": "2",
        "image_size": "medium",
        "prompt_length": "short",
    }


def test_labels_that_came_with_an_exchange_win() -> None:
    sent = {"language": "tlh", "images": "some", "tenant": "acme"}
    labels = derived(told(labels=sent))
    assert labels.items() >= sent.items()
    assert labels["image_size"] == "none"


def test_only_what_is_kept_is_derived() -> None:
    privacy = Privacy.of(["text", "labels.images"], [], {})
    assert with_derived(told(), (), privacy.keeps).labels == {"images": "0"}


def test_the_language_is_that_of_the_text_before_it_is_redacted() -> None:
    secret = {"words": r"[\w ]+"}
    privacy = Privacy.of(["text", "labels.*"], [], secret | {"all": "(?s).+(?=x{99})"})
    exchange = with_derived(told("Was ist auf dem Bild zu sehen?"), (), privacy.keeps)
    assert exchange.labels["language"] == "de"
    assert "Bild" not in privacy.exchange(exchange).text


@pytest.mark.parametrize(("count", "label"), [(0, "0"), (1, "1"), (2, "2"), (3, "3+"), (64, "3+")])
def test_many_images_are_one_class(count: int, label: str) -> None:
    assert derived(told(), *[LOST] * count)["images"] == label


@pytest.mark.parametrize(
    ("width", "height", "label"),
    [
        (512, 512, "small"),
        (513, 512, "medium"),
        (1024, 1024, "medium"),
        (1025, 1024, "large"),
        (2048, 2048, "large"),
        (2049, 2048, "huge"),
    ],
)
def test_the_size_of_an_image_is_a_class_of_its_pixels(width: int, height: int, label: str) -> None:
    assert image_size([stored(width, height)]) == label


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_the_largest_image_of_any_format_counts(kind: str) -> None:
    assert image_size([LOST, stored(8, 8), stored(600, 600, kind)]) == "medium"


@pytest.mark.parametrize(
    "image", [LOST, StoredImage(ImageState.INLINE, "hash", b"GIF89a"), StoredImage(ImageState.URL)]
)
def test_the_size_of_an_image_that_is_not_at_hand_is_unknown(image: StoredImage) -> None:
    assert image_size([image]) == "unknown"


@pytest.mark.parametrize(
    ("length", "label"),
    [(0, "none"), (1, "short"), (60, "short"), (61, "medium"), (301, "long"), (2_001, "very_long")],
)
def test_the_length_of_a_prompt_is_a_class_of_its_characters(length: int, label: str) -> None:
    assert derived(told("x" * length), LOST)["prompt_length"] == label


@pytest.mark.parametrize("text", ["", "?", "42", "ok", "OCR", "12 34 56", "{}", "x" * 5_000])
def test_what_has_no_language_is_unknown(text: str) -> None:
    assert language_of(text) == "unknown"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is in this image?", "en"),
        ("Was ist das?", "de"),
        ("这是什么", "zh"),
        ("これは何ですか", "ja"),
        ("Что это?", "ru"),
        ("Qu'est-ce que c'est ?", "fr"),
    ],
)
def test_short_questions_have_their_language(text: str, code: str) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize("language", Language)
def test_simulated_questions_have_their_language(language: Language) -> None:
    rng = np.random.default_rng(20260318)
    scenes = [draw_scene(rng) for _ in range(200)]
    texts = [question_text(draw_question(rng, language, scene), scene) for scene in scenes]
    found = [language_of(text) for text in texts]
    assert found.count(language.value) >= 0.93 * len(found)
    assert len(found) - found.count(language.value) - found.count("unknown") <= 2


@pytest.mark.parametrize("name", LLAVA_CODES)
def test_recorded_prompts_have_their_language(shared_data: Path, name: str) -> None:
    folder = shared_data / "llava_bench" / "responses"
    files = sorted(folder.glob(f"llava_bench_*_{name}_llava-v1.5-13b.jsonl"))
    rows = [line for file in files for line in file.read_text().splitlines()]
    found = [language_of(json.loads(row)["prompt"]) for row in rows]
    assert found.count(LLAVA_CODES[name]) >= 0.93 * len(found)


@pytest.mark.parametrize("name", [name for name, (found, _) in EXPECTED.items() if found])
def test_every_captured_payload_has_labels(name: str) -> None:
    for exchange in captured.exchanges(captured.read(name)):
        images = [StoredImage(image.state, "hash", image.data) for image in exchange.images]
        labels = derived(exchange, *images)
        states = EXPECTED[name][0]
        assert int(labels["images"]) in {len(found) for found in states}
        # A single word in two of them says too little.
        assert labels["language"] == ("unknown" if exchange.text == "Describe." else "en")
        is_at_hand = any(image.data for image in exchange.images)
        assert labels["image_size"] == ("small" if is_at_hand else "unknown")


def test_counts_of_labels_name_the_most_frequent_values() -> None:
    many = [{"tenant": f"t{i % 60:02}", "language": "en"} for i in range(600)]
    counts = label_counts([*many, {"tenant": "t59"}, {}], ["tenant", "language", "client"])
    assert counts["language"] == {"en": 600}
    assert (counts["tenant"]["t59"], counts["tenant"]["other"]) == (11, 100)
    assert len(counts["tenant"]) == COUNTED_VALUES + 1
    assert sum(counts["tenant"].values()) == 601
    assert "client" not in counts


def test_counts_are_the_same_in_any_order() -> None:
    labels = [{"tenant": f"t{i}"} for i in range(80)]
    assert label_counts(labels, ["tenant"]) == label_counts(labels[::-1], ["tenant"])


def test_a_value_that_only_the_forgotten_may_have_had_is_no_longer_named() -> None:
    counts = {"tenant": {"acme": 40, "ann": 2, "bob": 3, "other": 5}}
    assert without_rare(counts, 2) == {"tenant": {"acme": 40, "bob": 3, "other": 7}}
    assert without_rare(counts, 40) == {"tenant": {"other": 50}}


def test_the_name_of_one_value_can_be_taken_out() -> None:
    counts = {"tenant": {"acme": 40, "ann": 2}, "user": {"ann": 9}}
    assert without_value(counts, "tenant", "ann") == {
        "tenant": {"acme": 40, "other": 2},
        "user": {"ann": 9},
    }


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_damaged_image_is_of_some_size_or_unknown(kind: str) -> None:
    rng = np.random.default_rng(20260322)
    whole = stored(600, 600, kind).payload
    assert whole is not None
    found = set()
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for at in rng.integers(0, min(len(damaged), 200), 3):
            damaged[at] = rng.integers(256)
        found.add(image_size([StoredImage(ImageState.INLINE, "hash", bytes(damaged))]))
    assert "unknown" in found
    assert found <= {"small", "medium", "large", "huge", "unknown"}
