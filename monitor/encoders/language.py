"""Text models of ``transformers`` with a named pooling."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.encoders.checkpoint import Checkpoint, computed_with, transformers
from monitor.encoders.device import ModelRunner, Precision
from monitor.encoders.encoder import EncoderFacts
from monitor.encoders.pooling import Pooled, TextualPooling
from monitor.encoders.tokens import LENGTH_MAX, Tokens
from monitor.errors import EncoderError

VERSION = 1  # raise it with every change of the code that moves an embedding
TOKENS_CPU, TOKENS_GPU = 4_096, 32_768  # of a batch, with padding


class LanguageEncoder:
    """Texts in batches of similar length, so that hardly any padding is computed."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        pooling: TextualPooling,
        *,
        device: torch.device,
        precision: Precision,
    ) -> None:
        config = checkpoint.config()
        config = getattr(config, "text_config", config)
        effective, length = _as_declared(checkpoint, pooling)

        def load() -> Pooled:
            return Pooled(_load(checkpoint, effective, config), effective)

        model = load()
        self._tokens = Tokens(checkpoint, min(length, _positions(model)), int(config.vocab_size))
        facts = {
            "version": VERSION,
            "pooling": effective.value,
            "precision": precision,
            "tokens": self._tokens.facts,
            "config": computed_with(config),
        }
        self.digest = checkpoint.identify(facts, model.weights)
        self._runner = ModelRunner(model, load, device, precision)
        with checkpoint.explained("output"):
            self.dim = self._embed(self._tokens.of(["probe"])).shape[1]
        self.facts = EncoderFacts(
            modality="textual",
            model=checkpoint.model,
            pooling=pooling.value,
            dim=self.dim,
            device=str(self._runner.device),
            weight_bytes=self._runner.weight_bytes,
        )

    def encode(self, inputs: Iterable[str]) -> Tensor:
        """See `Encoder.encode`."""
        ids = self._tokens.of(list(inputs))
        rows = torch.empty(len(ids), self.dim)
        most = TOKENS_CPU if self._runner.device.type == "cpu" else TOKENS_GPU
        for batch in _of_similar_length([len(i) for i in ids], most):
            rows[batch] = self._embed([ids[i] for i in batch])
        return rows

    def _embed(self, texts: Sequence[Sequence[int]]) -> Tensor:
        longest = max(len(ids) for ids in texts)
        padded = torch.full((len(texts), longest), self._tokens.padding_id)
        mask = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, ids in enumerate(texts):
            padded[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        found = self._runner.run({"input_ids": padded, "attention_mask": mask})
        return functional.normalize(found, dim=1)


def _of_similar_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Positions by length, as many at once as padded to the longest stay within ``most``."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[position] > most:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def _as_declared(checkpoint: Checkpoint, pooling: TextualPooling) -> tuple[TextualPooling, int]:
    """Pooling and length that a sentence-embedding model was trained with."""
    if pooling is not TextualPooling.SENTENCE:
        return pooling, LENGTH_MAX
    with checkpoint.explained("description of its sentence embedding"):
        modules = [m["type"].rpartition(".")[2] for m in _json(checkpoint, "modules.json", [])]
        declared = _json(checkpoint, "1_Pooling/config.json", {})
        read = _json(checkpoint, "sentence_bert_config.json", {})
        length = int(read.get("max_seq_length") or LENGTH_MAX)
        modes = {key for key, value in declared.items() if key.startswith("pooling_mode") and value}
    if unknown := set(modules) - {"Transformer", "Pooling", "Normalize"}:
        raise EncoderError(
            f"encoder {checkpoint.model}: its sentence embedding goes through {min(unknown)}, "
            "which is not supported; choose the pooling mean or cls"
        )
    if modes <= {"pooling_mode_mean_tokens"}:
        return TextualPooling.MEAN, length
    if modes == {"pooling_mode_cls_token"}:
        return TextualPooling.CLS, length
    raise EncoderError(
        f"encoder {checkpoint.model}: it declares {', '.join(sorted(modes))}, which is not "
        "supported; choose the pooling mean or cls"
    )


def _json(checkpoint: Checkpoint, name: str, default: Any) -> Any:
    path = checkpoint.folder / name
    return json.loads(path.read_bytes()) if path.is_file() else default


def _load(checkpoint: Checkpoint, pooling: TextualPooling, config: Any) -> nn.Module:
    library = transformers()
    architecture = library.AutoModel
    if pooling is TextualPooling.CLIP_PROJECTION:
        if config.model_type != "clip_text_model":
            raise EncoderError(
                f"encoder {checkpoint.model}: the pooling {pooling} needs a CLIP text model, and "
                f"this one is {config.model_type!r}; choose cls, mean, pooler or sentence"
            )
        architecture = library.CLIPTextModelWithProjection
    needs_pooler = pooling is TextualPooling.POOLER
    return checkpoint.model_of(architecture, config, needs_pooler=needs_pooler)


def _positions(model: nn.Module) -> int:
    """Longest input in tokens; the RoBERTa family starts counting behind its padding id."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and "position_embedding" in name:
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - first
    return LENGTH_MAX
