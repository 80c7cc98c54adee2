"""Named ways from the output of a model to one vector."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from torch import Tensor, nn

from monitor.encoders.checkpoint import POOLER
from monitor.errors import EncoderError

Pool = Callable[[Any, Tensor | None], Tensor]


class VisualPooling(StrEnum):
    """How an image model's output becomes one vector."""

    CLIP_PATCH_MEAN = "clip_patch_mean"
    CLS = "cls"
    MEAN = "mean"
    POOLER = "pooler"
    CLIP_PROJECTION = "clip_projection"


class TextualPooling(StrEnum):
    """How a text model's output becomes one vector."""

    EMBEDDING_LAYER = "embedding_layer"
    CLS = "cls"
    MEAN = "mean"
    POOLER = "pooler"
    CLIP_PROJECTION = "clip_projection"
    SENTENCE = "sentence"


class Pooled(nn.Module):
    """A model and what is made of its output: a batch in, one row for each of its inputs out."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model = model
        self._pooling = pooling
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, **batch: Tensor) -> Tensor:
        """``(n, dim)``, of any length."""
        return POOLS[self._pooling](self.model(**batch), batch.get("attention_mask"))

    @property
    def weights(self) -> dict[str, Tensor]:
        """All that the rows can depend on, by name."""
        is_used = self._pooling == "pooler"
        state: dict[str, Tensor] = self.state_dict()
        return {name: w for name, w in state.items() if is_used or POOLER not in name}


def _patch_mean(output: Any, _mask: Tensor | None) -> Tensor:
    hidden: Tensor = output.last_hidden_state
    return hidden[:, 1:].mean(dim=1)


def _cls(output: Any, _mask: Tensor | None) -> Tensor:
    hidden: Tensor = output.last_hidden_state
    if hidden.dim() != _SEQUENCE:
        raise EncoderError("this model has no first position; choose the pooling mean or pooler")
    return hidden[:, 0]


def _mean(output: Any, mask: Tensor | None) -> Tensor:
    hidden: Tensor = output.last_hidden_state
    if hidden.dim() > _SEQUENCE:  # a map of channels, as convolutions give it
        return hidden.flatten(2).mean(dim=2)
    if mask is None:
        return hidden.mean(dim=1)
    kept = mask[:, :, None].to(hidden.dtype)
    return (hidden * kept).sum(dim=1) / kept.sum(dim=1)


def _pooler(output: Any, _mask: Tensor | None) -> Tensor:
    pooled = getattr(output, "pooler_output", None)
    if pooled is None:
        raise EncoderError("this model has no pooler; choose the pooling cls or mean")
    rows: Tensor = pooled
    return rows.flatten(1)


def _projected(output: Any, _mask: Tensor | None) -> Tensor:
    rows: Tensor = output.image_embeds if hasattr(output, "image_embeds") else output.text_embeds
    return rows


_SEQUENCE = 3  # dimensions of (inputs, positions, channels)
POOLS: Mapping[str, Pool] = {
    "clip_patch_mean": _patch_mean,
    "cls": _cls,
    "mean": _mean,
    "pooler": _pooler,
    "clip_projection": _projected,
}
