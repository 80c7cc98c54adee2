"""What the rest of the program asks of an encoder."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from monitor.encoders.images import DecodedImage

Input_contra = TypeVar("Input_contra", contravariant=True)


class Encoder(Protocol[Input_contra]):
    """Maps raw inputs of one modality to unit vectors.

    A row depends on its own input alone, never on the rest of the batch. Every input has an
    embedding: a text without a letter is embedded too, and no row is ever zero or NaN.
    """

    @property
    def digest(self) -> str:
        """Hash of weights, preprocessing and pooling; part of the reference's identity."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    def encode(self, inputs: Iterable[Input_contra]) -> Tensor:
        """Embed inputs; none at all give ``(0, dim)``.

        They are drawn once, in order, perhaps from another thread and a few early.

        Returns:
            ``(number of inputs, dim)`` float32 on the CPU, rows of L2 norm 1, in input order.
        """


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What a person is told of an encoder."""

    modality: str
    model: str
    pooling: str
    dim: int
    device: str
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class EncoderPair:
    """The encoders of one deployment; ``textual`` embeds queries, responses and targets alike."""

    name: str
    visual: Encoder[DecodedImage]
    textual: Encoder[str]
    facts: tuple[EncoderFacts, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of both encoders; embeddings with different ones are never compared."""
        joint = f"visual {self.visual.digest}\ntextual {self.textual.digest}\n"
        return hashlib.sha256(joint.encode()).hexdigest()
