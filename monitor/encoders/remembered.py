"""Texts that come again, as templates and short answers do, are not embedded again."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

import torch
from torch import Tensor

from monitor.encoders.encoder import Encoder

KEPT = 8_192  # embeddings; 25 MB at 768 dimensions


class RememberedTexts:
    """An encoder with its most recently used embeddings; for several threads.

    Holds hashes of texts, no text.
    """

    def __init__(self, encoder: Encoder[str], kept: int = KEPT) -> None:
        self._encoder = encoder
        self._kept = kept
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    @property
    def digest(self) -> str:
        """Of the encoder within."""
        return self._encoder.digest

    @property
    def dim(self) -> int:
        """Of the encoder within."""
        return self._encoder.dim

    def encode(self, inputs: Iterable[str]) -> Tensor:
        """See `Encoder.encode`."""
        texts = list(inputs)
        keys = [hashlib.sha256(t.encode("utf-8", "surrogatepass")).digest() for t in texts]
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
        unknown = {k: t for k, t in zip(keys, texts, strict=True) if k not in found}
        fresh = self._encoder.encode(list(unknown.values()))
        # Cloned: a row must not keep its whole batch in memory.
        found.update(zip(unknown, (row.clone() for row in fresh), strict=True))
        with self._lock:
            for key in keys:
                self._known[key] = found[key]
                self._known.move_to_end(key)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        return torch.stack([found[key] for key in keys]) if keys else fresh
