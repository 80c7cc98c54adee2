"""Seeded embeddings for the tests of this room."""

import torch
from torch import Tensor


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(z: Tensor) -> Tensor:
    return z / torch.linalg.vector_norm(z, dim=1, keepdim=True)


def rows(n: int, dim: int, seed: int, *, spread: float = 1.0) -> Tensor:
    """Unit rows around a common direction, float64."""
    noise = torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)
    centre = torch.zeros(dim, dtype=torch.float64)
    centre[0] = 1.0
    return unit(centre + spread * noise)


def answers(n: int, dim: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Answers with the mean and log variance of an imperfect q, each ``(n, dim)`` float64."""
    source = generator(seed)
    y, error, logvar = torch.randn(3, n, dim, generator=source, dtype=torch.float64)
    return y, 0.6 * y + 0.5 * error, 0.3 * logvar


def rotation(dim: int, seed: int) -> Tensor:
    q, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64))
    return q
