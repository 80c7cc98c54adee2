"""Representation Jensen-Shannon divergence between two samples of embeddings."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from monitor.stats.moments import (
    SecondMoments,
    check_density,
    entropy_of_rows,
    gram,
    unit_rows,
    von_neumann_entropy,
)

RJSD_MAX = math.log(2)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A density matrix with its entropy, so that no eigenproblem is solved twice.

    The reference's is made once per reference; the responses of a window serve two divergences.
    """

    density: Tensor  # (d, d) float64, trace 1
    entropy: float  # nats
    root: Tensor | None = None  # (n, d) with density = rootᵀ root, kept while n < d

    @classmethod
    def of_density(cls, density: Tensor) -> Self:
        """Solve the eigenproblem of a density, ``(d, d)`` float64 with trace 1."""
        return cls(density=density, entropy=von_neumann_entropy(density).item())

    @classmethod
    def of_rows(cls, z: Tensor) -> Self:
        """Density and entropy of unit rows ``(n, d)``; cheaper the fewer rows there are.

        Raises:
            TooFewSamplesError: if there is no row.
            ValueError: if the rows are not unit vectors.
        """
        n, dim = z.shape
        rows = unit_rows(z)
        density = SecondMoments.of(rows).density()
        if n >= dim:
            return cls.of_density(density)
        return cls(density, entropy_of_rows(rows), root=rows / math.sqrt(n))


def rjsd(density_p: Tensor, density_q: Tensor) -> Tensor:
    """Representation Jensen-Shannon divergence of two density matrices.

    ``S((P + Q) / 2) - (S(P) + S(Q)) / 2`` with ``S`` the von Neumann entropy.
    Both arguments must have trace 1: summing unnormalised second moments would weight the
    mixture by sample count, so a small window could not look drifted.

    Args:
        density_p: ``(d, d)``, trace 1, float64; the reference.
        density_q: ``(d, d)``, trace 1, float64; the window.

    Returns:
        Scalar in ``[0, ln 2]``, nats. Symmetric; zero iff the matrices agree. Biased upwards at
        finite ``n``: compare only with a threshold calibrated at the same ``n``.

    Raises:
        ValueError: if the shapes differ or a trace is not 1.

    Source:
        Hoyos-Osorio & Sanchez-Giraldo (2023), "The representation Jensen-Shannon divergence",
        definition of D_JS^phi.
    """
    check_density(density_p, "density_p")
    check_density(density_q, "density_q")
    value = rjsd_from(Spectrum.of_density(density_p), Spectrum.of_density(density_q))
    return torch.tensor(value, dtype=torch.float64)


def rjsd_from(p: Spectrum, q: Spectrum) -> float:
    """The divergence of ``rjsd`` from known entropies: one eigenproblem, that of the mixture.

    Where both sides keep their rows and have fewer of them than columns together, the
    eigenproblem is that of the stacked rows' Gram matrix.

    Args:
        p: the reference; for the output gap the responses.
        q: the window; for the output gap the targets.

    Returns:
        Divergence in ``[0, ln 2]``, nats; see ``rjsd`` for its bias.

    Raises:
        ValueError: if the dimensions differ.

    Source:
        As ``rjsd``.
    """
    _check_shapes(p.density, q.density)
    return min(max(_mixed_entropy(p, q) - (p.entropy + q.entropy) / 2, 0.0), RJSD_MAX)


def _mixed_entropy(p: Spectrum, q: Spectrum) -> float:
    dim = p.density.shape[0]
    if p.root is not None and q.root is not None and len(p.root) + len(q.root) < dim:
        stacked = torch.cat((p.root, q.root)) / math.sqrt(2)
        return von_neumann_entropy(gram(stacked)).item()
    return von_neumann_entropy((p.density + q.density) / 2).item()


def _check_shapes(density_p: Tensor, density_q: Tensor) -> None:
    if density_p.shape != density_q.shape:
        raise ValueError(
            f"densities must share a shape, got {tuple(density_p.shape)} "
            f"and {tuple(density_q.shape)}"
        )
