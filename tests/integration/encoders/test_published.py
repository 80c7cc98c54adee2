"""The published encoders give what the published program gives, with the same tiny weights."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from monitor.encoders.containers import ImageFormat
from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import DecodedImage, decode_image
from monitor.service.wiring import image_limits
from monitor.settings import Settings
from tests.integration.encoders.checkpoints import TINY, XLMR, copied, edit_weights, paper

ROWS = 24  # of OwlEval, of which the golden values are
TEXTS = [
    "What is unusual?",
    "",
    "a",
    "猫はどこですか",
    "word " * 900,
    "up to <pad> and beyond </s> or <mask>",
    "Où est l'été?\n\tLà.",
]


@pytest.fixture(scope="module")
def pair() -> EncoderPair:
    return paper()


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(owleval: Path, model: str, questions: Sequence[dict[str, str]]) -> list[str]:
    by_question = {a["question_id"]: a for a in lines(owleval / "answer" / f"{model}_answer.jsonl")}
    return [by_question[q["question_id"]]["answer"] for q in questions]


def shown(path: Path) -> DecodedImage:
    """As the published program opens a file: profile and orientation ignored."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], ImageFormat.JPEG, "")


def test_real_images_and_texts_have_the_golden_embeddings(
    pair: EncoderPair, shared_data: Path, fixtures: Path
) -> None:
    owleval, golden = shared_data / "owleval", np.load(fixtures / "golden_encoders.npz")
    questions = lines(owleval / "questions.jsonl")[:ROWS]
    inputs = {
        "z_t": [q["question"] for q in questions],
        "z_response": answers(owleval, "llava_13b", questions),
        "z_target": answers(owleval, "mPLUG_Owl_7b", questions),
    }
    found = {name: pair.textual.encode(texts).numpy() for name, texts in inputs.items()}
    images = (shown(owleval / "images" / q["image"]) for q in questions)
    found["z_v"] = pair.visual.encode(images).numpy()
    for name, z in found.items():
        np.testing.assert_allclose(z, golden[name], rtol=0, atol=1e-5, err_msg=name)


def test_models_see_the_pixels_that_the_published_program_sees() -> None:
    rng = np.random.default_rng(6)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 41, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((2_048, 1_499), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    limits = image_limits(Settings.model_validate({"encoders": {"preset": "paper"}}))
    found = decode_image(file.getvalue(), limits)
    np.testing.assert_array_equal(found.pixels, np.asarray(Image.open(file).convert("RGB")))


def test_texts_are_embedded_as_by_a_forward_pass_of_the_whole_model(pair: EncoderPair) -> None:
    from transformers import AutoTokenizer, XLMRobertaModel  # noqa: PLC0415 - takes seconds

    model = XLMRobertaModel.from_pretrained(TINY / XLMR).eval()
    tokenizer = AutoTokenizer.from_pretrained(TINY / XLMR)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=512, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**batch, output_hidden_states=True).hidden_states[0]
    kept = (hidden * batch["attention_mask"][:, :, None])[:, 1:]
    expected = functional.normalize(kept.mean(dim=1), dim=1)
    torch.testing.assert_close(pair.textual.encode(TEXTS), expected, rtol=0, atol=1e-6)


def test_nothing_behind_the_embedding_layer_of_the_text_model_is_read(
    pair: EncoderPair, tmp_path: Path
) -> None:
    folder = copied(tmp_path)
    edit_weights(
        folder / XLMR, lambda w: {k: v for k, v in w.items() if k.startswith("embeddings.")}
    )
    stripped = paper(folder)
    assert stripped.digest == pair.digest
    assert torch.equal(stripped.textual.encode(TEXTS), pair.textual.encode(TEXTS))
