"""What every encoder owes its callers, checked against the fake and the built-in ones alike."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from monitor.encoders.builtin import BuiltinImageEncoder, BuiltinTextEncoder
from monitor.encoders.containers import ImageFormat
from monitor.encoders.encoder import Encoder, EncoderPair
from monitor.encoders.images import DecodedImage
from tests.fakes import HashEncoder

TEXTS = [
    "What is unusual?",
    "a",
    "",
    "猫はどこですか",
    "word " * 900,
    "что это?",
    "\ud800",
    "0 1 2",
]


def image(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> DecodedImage:
    height, width = pixels.shape[:2]
    return DecodedImage(pixels, width, height, ImageFormat.PNG, "0" * 64)


def images() -> list[DecodedImage]:
    rng = np.random.default_rng(20260301)
    sizes = [(64, 48), (1, 1), (3, 200), (192, 192), (511, 40), (17, 512)]
    noisy = [image(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    plain = [image(np.full((40, 60, 3), level, np.uint8)) for level in (0, 255)]
    return noisy + plain


CASES: dict[str, tuple[Callable[[], Encoder[Any]], Sequence[Any]]] = {
    "fake text": (HashEncoder, TEXTS),
    "fake image": (HashEncoder, images()),
    "builtin text": (BuiltinTextEncoder, TEXTS),
    "builtin image": (BuiltinImageEncoder, images()),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Encoder[Any], Sequence[Any]]:
    build, inputs = CASES[request.param]
    return build(), inputs


Case = tuple[Encoder[Any], Sequence[Any]]


def test_rows_are_float32_unit_vectors_on_the_cpu(case: Case) -> None:
    encoder, inputs = case
    z = encoder.encode(inputs)
    assert (z.shape, z.dtype, z.device.type) == ((len(inputs), encoder.dim), torch.float32, "cpu")
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(inputs)), rtol=0, atol=1e-6)


def test_a_row_does_not_depend_on_its_batch(case: Case) -> None:
    encoder, inputs = case
    alone = torch.cat([encoder.encode([item]) for item in inputs])
    torch.testing.assert_close(encoder.encode(inputs), alone, rtol=0, atol=1e-6)


def test_rows_follow_the_order_of_the_inputs_in_batches_of_any_size(case: Case) -> None:
    encoder, inputs = case
    many = list(inputs) * 20
    expected = encoder.encode(inputs).repeat(20, 1).flip(0)
    torch.testing.assert_close(encoder.encode(many[::-1]), expected, rtol=0, atol=1e-6)


def test_different_inputs_have_different_embeddings(case: Case) -> None:
    encoder, inputs = case
    z = encoder.encode(inputs)
    assert torch.pdist(z).min() > 1e-3


def test_no_input_gives_no_row(case: Case) -> None:
    encoder, _ = case
    assert encoder.encode([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("name", CASES)
def test_the_same_encoder_built_twice_agrees_on_digest_and_embeddings(name: str) -> None:
    build, inputs = CASES[name]
    first, second = build(), build()
    assert first.digest == second.digest
    assert torch.equal(first.encode(inputs), second.encode(inputs))


def test_a_digest_is_sha256_in_hexadecimal(case: Case) -> None:
    assert len(bytes.fromhex(case[0].digest)) == 32


def test_a_pair_has_another_digest_when_either_side_changes() -> None:
    a, b = HashEncoder(salt="a"), HashEncoder(salt="b")
    pairs = [EncoderPair("fake", v, t) for v in (a, b) for t in (a, b)]
    assert len({pair.digest for pair in pairs}) == 4
