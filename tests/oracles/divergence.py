"""Published formulas of the representation Jensen-Shannon divergence and of the bounds."""

import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import logm
from torch import Tensor

Floats = npt.NDArray[np.float64]


def density(z: Tensor) -> Floats:
    """(1/n) Σ z zᵀ, one outer product at a time."""
    rho = np.zeros((z.shape[1], z.shape[1]))
    for row in z.numpy().astype(np.float64):
        rho += np.outer(row, row) / len(z)
    return rho


def entropy(rho: Floats) -> float:
    """-Σ λ log λ over the positive eigenvalues, from the general (unsymmetric) solver."""
    eigenvalues = [float(v.real) for v in np.linalg.eigvals(rho)]
    return -sum(v * math.log(v) for v in eigenvalues if v > 1e-14)


def entropy_by_matrix_logarithm(rho: Floats) -> float:
    """-tr(ρ log ρ) with a matrix logarithm; ρ must have full rank."""
    return -float(np.trace(rho @ logm(rho)).real)


def rjsd(p: Tensor, q: Tensor) -> float:
    """S((P + Q) / 2) - (S(P) + S(Q)) / 2."""
    rho_p, rho_q = density(p), density(q)
    return entropy((rho_p + rho_q) / 2) - (entropy(rho_p) + entropy(rho_q)) / 2


def bound_unscaled(visual: float, textual: float, gap_p: float, gap_q: float) -> float:
    """D_v^(1/2) + D_t^(1/2) + D_P^(1/4) + D_Q^(1/4)."""
    return math.sqrt(visual) + math.sqrt(textual) + gap_p**0.25 + gap_q**0.25


def bound(visual: float, textual: float, gap_p: float, gap_q: float, entropy: float) -> float:
    """H (D_v^(1/2) + D_t^(1/2)) + 4 (D_P^(1/4) + D_Q^(1/4))."""
    inputs = math.sqrt(visual) + math.sqrt(textual)
    return entropy * inputs + 4 * (gap_p**0.25 + gap_q**0.25)
