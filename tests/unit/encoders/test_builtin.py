import unicodedata

import numpy as np
import pytest
import torch

from monitor.encoders import builtin
from monitor.encoders.builtin import BuiltinImageEncoder, BuiltinTextEncoder, builtin_encoders
from monitor.encoders.containers import ImageFormat
from monitor.encoders.images import DecodedImage


@pytest.fixture(scope="module")
def textual() -> BuiltinTextEncoder:
    return BuiltinTextEncoder()


@pytest.fixture(scope="module")
def visual() -> BuiltinImageEncoder:
    return BuiltinImageEncoder()


def picture(seed: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Patches of three sizes on top of each other, so that there is structure at every scale."""
    rng = np.random.default_rng(seed)
    layers = [
        np.kron(rng.integers(0, 256, (192 // patch, 192 // patch, 3)), np.ones((patch, patch, 1)))
        for patch in (4, 16, 64)
    ]
    return (sum(layers) / 3).astype(np.uint8)


def decoded(pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> DecodedImage:
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], ImageFormat.PNG, "0" * 64)


def cosine(z: torch.Tensor) -> float:
    return float(z[0] @ z[1])


def test_both_sides_of_the_pair_have_768_dimensions() -> None:
    pair = builtin_encoders()
    assert (pair.name, pair.visual.dim, pair.textual.dim) == ("builtin", 768, 768)


def test_weights_are_the_same_bits_as_an_integer_transcription(
    textual: BuiltinTextEncoder,
) -> None:
    words = np.random.Philox(key=builtin.SEED + 1).random_raw(1000).tolist()
    byte_sums = [sum(word.to_bytes(8, "little")) for word in words]
    expected = torch.tensor([s - 1020 for s in byte_sums], dtype=torch.float32)
    scale = torch.tensor(43690.0, dtype=torch.float64).sqrt().to(torch.float32)
    assert torch.equal(textual._projection.flatten()[:1000], expected / scale)


def test_weights_are_standard_normal_to_second_order(textual: BuiltinTextEncoder) -> None:
    weights = textual._projection.double()
    n = weights.numel()
    # Six standard errors of the mean, and of the variance of a sum of eight uniform bytes.
    assert abs(weights.mean()) < 6 / n**0.5
    assert abs(weights.square().mean() - 1) < 6 * (1.85 / n) ** 0.5


@pytest.mark.parametrize("blank", ["", " ", "\n\t \u3000"])
def test_texts_without_a_visible_character_share_one_embedding(
    textual: BuiltinTextEncoder, blank: str
) -> None:
    z = textual.encode(["", blank])
    assert torch.equal(z[0], z[1])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A  man\n irons ", "A man irons"),
        (unicodedata.normalize("NFD", "Où est l'été?"), "Où est l'été?"),
    ],
)
def test_white_space_and_decomposition_make_no_difference(
    textual: BuiltinTextEncoder, text: str, same: str
) -> None:
    z = textual.encode([text, same])
    assert torch.equal(z[0], z[1])


def test_a_typo_moves_a_text_less_than_another_question_does(textual: BuiltinTextEncoder) -> None:
    question = "What is the man in the yellow shirt doing?"
    typo = textual.encode([question, "What is the nan in the yelow shirt doing?"])
    other = textual.encode([question, "How many suitcases are on the table?"])
    assert cosine(other) < cosine(typo) < 0.999


def test_texts_in_different_scripts_are_nearly_orthogonal(textual: BuiltinTextEncoder) -> None:
    # Only the spaces around words can be shared.
    assert cosine(textual.encode(["Where is the cat?", "猫はどこにいますか"])) < 0.3


def test_letters_beyond_the_cap_make_no_difference(textual: BuiltinTextEncoder) -> None:
    head = "ab " * (builtin.CHARACTERS_MAX // 3 + 1)
    z = textual.encode([head, head + "something else"])
    assert torch.equal(z[0], z[1])


def test_an_image_and_its_copy_at_twice_the_size_are_close(visual: BuiltinImageEncoder) -> None:
    small = picture(1)
    double = np.kron(small, np.ones((2, 2, 1), np.uint8))
    near = cosine(visual.encode([decoded(small), decoded(double)]))
    far = cosine(visual.encode([decoded(small), decoded(picture(2))]))
    assert far < near


@pytest.mark.parametrize("change", ["noise", "blur", "darker", "grey"])
def test_a_corrupted_image_leaves_its_place(visual: BuiltinImageEncoder, change: str) -> None:
    clean = picture(3).astype(np.float64)
    rng = np.random.default_rng(4)
    corrupted = {
        "noise": clean + rng.normal(0, 12, clean.shape),
        "blur": (clean + np.roll(clean, 1, 0) + np.roll(clean, 1, 1)) / 3,
        "darker": clean * 0.7,
        "grey": clean.mean(axis=2, keepdims=True).repeat(3, axis=2),
    }[change]
    pixels = corrupted.clip(0, 255).astype(np.uint8)
    assert cosine(visual.encode([decoded(picture(3)), decoded(pixels)])) < 0.99


def test_another_version_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = builtin_encoders()
    monkeypatch.setattr(builtin, "VERSION", builtin.VERSION + 1)
    after = builtin_encoders()
    assert before.visual.digest != after.visual.digest
    assert before.textual.digest != after.textual.digest


def test_digests_are_the_same_on_every_machine() -> None:
    # References in use were built with these; a change must raise VERSION or DECODING and say so.
    pair = builtin_encoders()
    assert (pair.visual.digest, pair.textual.digest) == (
        "a71c0e87599ce2c5cde100a78548e549279394fa12a2a32a80a7218680f8a318",
        "97a0703fb0785e0ed7069603d7cd3799ee5a3ed6a965120017d5e000bb80cadf",
    )
