"""Working stand-ins for what needs weights, devices or a network."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from monitor.encoders.images import DecodedImage


class HashEncoder:
    """Seeds a generator from each input: equal inputs meet, all others are far apart."""

    def __init__(self, dim: int = 32, salt: str = "") -> None:
        self.dim = dim
        self.digest = hashlib.sha256(f"hash encoder {dim} {salt}".encode()).hexdigest()

    def encode(self, inputs: Iterable[str | DecodedImage]) -> Tensor:
        rows = [torch.from_numpy(self._unit_vector(item)) for item in inputs]
        return torch.stack(rows) if rows else torch.zeros(0, self.dim)

    def _unit_vector(
        self, item: str | DecodedImage
    ) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        raw = (
            item.encode("utf-8", "surrogatepass")
            if isinstance(item, str)
            else item.pixels.tobytes()
        )
        seed = hashlib.sha256(self.digest.encode() + raw).digest()
        normal = np.random.default_rng(list(seed)).standard_normal(self.dim)
        return (normal / np.linalg.norm(normal)).astype(np.float32)
