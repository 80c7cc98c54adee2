"""Exact additive shares of a divergence: which events and slices it comes from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from torch import Tensor

from monitor.stats.moments import check_density, unit_rows


@dataclass(frozen=True, slots=True)
class RjsdAttribution:
    """Weights that split one divergence over the events of both sides, exactly.

    ``D = mean over the window of window_shares + mean over the reference of reference_shares``.
    Slices add up. A negative share belongs to an event that looks like the other side.
    """

    window: Tensor  # (d, d), ½ (log ρ_Q - log M)
    reference: Tensor  # (d, d), ½ (log ρ_P - log M)
    reference_part: float  # nats, the mean of the reference's shares

    def window_shares(self, z: Tensor) -> Tensor:
        """``½ zᵀ (log ρ_Q - log M) z`` of unit rows ``(n, d)``: ``(n,)``, nats."""
        return _quadratic(z, self.window)

    def reference_shares(self, z: Tensor) -> Tensor:
        """``½ zᵀ (log ρ_P - log M) z`` of unit rows ``(n, d)``: ``(n,)``, nats."""
        return _quadratic(z, self.reference)


def rjsd_attribution(density_p: Tensor, density_q: Tensor) -> RjsdAttribution:
    """Split ``D_JS(P, Q)`` into shares of single events.

    With ``M = (ρ_P + ρ_Q) / 2``: ``D = ½ tr ρ_Q (log ρ_Q - log M) + ½ tr ρ_P (log ρ_P - log M)``,
    and either trace is a mean of quadratic forms over the events that made its density.
    Logarithms are taken on the support; directions of eigenvalue zero contribute 0.

    Args:
        density_p: ``(d, d)`` float64, trace 1; the reference.
        density_q: ``(d, d)`` float64, trace 1; the window.

    Returns:
        Weights; three full eigenproblems, so for explanations rather than for every window.

    Raises:
        ValueError: if the shapes differ or a trace is not 1.

    Source:
        Derived from the definition of D_JS^phi in Hoyos-Osorio & Sanchez-Giraldo (2023).
    """
    check_density(density_p, "density_p")
    check_density(density_q, "density_q")
    if density_p.shape != density_q.shape:
        raise ValueError(
            f"densities must share a shape, got {tuple(density_p.shape)} "
            f"and {tuple(density_q.shape)}"
        )
    log_mixed = _log_on_support((density_p + density_q) / 2)
    window = (_log_on_support(density_q) - log_mixed) / 2
    reference = (_log_on_support(density_p) - log_mixed) / 2
    return RjsdAttribution(window, reference, (density_p * reference).sum().item())


def _log_on_support(density: Tensor) -> Tensor:
    matrix: npt.NDArray[np.float64] = density.detach().to("cpu", torch.float64).numpy()
    values, vectors = eigh(matrix, check_finite=False)
    support = values > values[-1] * len(values) * np.finfo(np.float64).eps
    logs = np.log(values, out=np.zeros_like(values), where=support)
    return torch.from_numpy((vectors * logs) @ vectors.T)


def _quadratic(z: Tensor, weight: Tensor) -> Tensor:
    rows = unit_rows(z)
    return ((rows @ weight) * rows).sum(1)
