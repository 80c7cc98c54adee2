"""The published text encoder: XLM-RoBERTa's embedding layer, without the model behind it."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from monitor.encoders.checkpoint import Checkpoint, computed_with
from monitor.encoders.encoder import EncoderFacts
from monitor.encoders.tokens import Tokens
from monitor.errors import EncoderError

VERSION = 1  # raise it with every change of the code that moves an embedding
TOKENS_AT_ONCE = 16_384  # some 50 MB of hidden states
FAMILY = ("xlm-roberta", "roberta", "camembert")
WORDS, POSITIONS, TYPES, SCALE, SHIFT = TENSORS = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
)


class EmbeddingLayerEncoder:
    """Mean over the embedding layer's output, without the first position.

    What the published results used: ``hidden_states[0]`` of the whole model. The layers behind it
    are neither loaded nor run. Always on the CPU: looking up rows is all there is to do.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint.config()
        if config.model_type not in FAMILY:
            raise EncoderError(
                f"encoder {checkpoint.model}: the pooling embedding_layer reads models of the "
                f"RoBERTa family, and this one is {config.model_type!r}; choose another pooling"
            )
        self._weights = checkpoint.tensors(TENSORS)
        self._require_shapes(checkpoint, int(config.vocab_size), int(config.hidden_size))
        self._padding = int(config.pad_token_id)
        self._epsilon = float(config.layer_norm_eps)
        self.dim = int(config.hidden_size)
        length = len(self._weights[POSITIONS]) - self._padding - 1
        self._tokens = Tokens(checkpoint, length, len(self._weights[WORDS]))
        facts = {
            "version": VERSION,
            "pooling": "embedding_layer",
            "tokens": self._tokens.facts,
            "config": computed_with(config),
            "padding": self._padding,
        }
        self.digest = checkpoint.identify(facts, self._weights)
        self.facts = EncoderFacts(
            modality="textual",
            model=checkpoint.model,
            pooling="embedding_layer",
            dim=self.dim,
            device="cpu",
            weight_bytes=sum(w.nbytes for w in self._weights.values()),
        )

    def encode(self, inputs: Iterable[str]) -> Tensor:
        """See `Encoder.encode`."""
        rows = [torch.empty(0, self.dim)]
        waiting: list[list[int]] = []
        tokens = 0
        for ids in self._tokens.of(list(inputs)):
            if waiting and tokens + len(ids) > TOKENS_AT_ONCE:
                rows.append(self._pooled(waiting))
                waiting, tokens = [], 0
            waiting.append(ids)
            tokens += len(ids)
        if waiting:
            rows.append(self._pooled(waiting))
        return torch.cat(rows)

    @torch.inference_mode()
    def _pooled(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """The tokens of all texts in one row, so that there is no padding to compute."""
        lengths = torch.tensor([len(ids) for ids in texts])
        owner = torch.repeat_interleave(torch.arange(len(texts)), lengths)
        starts = (lengths.cumsum(0) - lengths)[owner]
        ids = torch.tensor([i for text in texts for i in text])
        # Positions count from behind the padding id, which a text can contain and which has none.
        counted = (ids != self._padding).long()
        before = counted.cumsum(0)
        within = before - (before - counted)[starts]
        positions = within * counted + self._padding
        hidden = functional.embedding(ids, self._weights[WORDS]) + self._weights[TYPES][0]
        hidden += functional.embedding(positions, self._weights[POSITIONS])
        hidden = functional.layer_norm(
            hidden, (self.dim,), self._weights[SCALE], self._weights[SHIFT], self._epsilon
        )
        is_first = torch.arange(len(ids)) == starts
        hidden[is_first] = 0.0
        summed = torch.zeros(len(texts), self.dim).index_add_(0, owner, hidden)
        return functional.normalize(summed, dim=1)

    def _require_shapes(self, checkpoint: Checkpoint, words: int, dim: int) -> None:
        for name, weight in self._weights.items():
            shape = tuple(weight.shape)
            if shape[-1] != dim or (name == WORDS and shape[0] != words):
                raise EncoderError(
                    f"encoder {checkpoint.model}: its {name} has the shape {shape}, and "
                    f"config.json says {words} words of {dim} numbers; get the files of one model"
                )
