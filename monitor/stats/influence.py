"""What each event of a window does to a divergence, and the standard error that follows."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from monitor.errors import TooFewSamplesError
from monitor.stats.moments import gram
from monitor.stats.rjsd import Spectrum

N_MIN = 2  # events; below, no spread is known
ROWS_MAX = 256  # tell a spread to 5 %; more would cost more than they tell
STEP = 3.0  # in log t; with these nodes a spread is within 3 % of that of the exact shares
NODES = tuple(math.exp(-10.5 + STEP * k) for k in range(5))


@dataclass(frozen=True)
class Side:
    """A sample with its spectrum; ``z`` are its unit rows ``(n, d)``, in no particular order."""

    spectrum: Spectrum
    z: Tensor

    @cached_property
    def rows(self) -> Tensor:
        """Those rows whose influence is computed, float32."""
        return self.z[:ROWS_MAX].detach().to("cpu", torch.float32)

    @cached_property
    def surprise(self) -> Tensor:
        """``-zᵀ log ρ z`` of these rows, up to a constant."""
        if self.spectrum.root is None:
            return _surprise(self.spectrum.density, self.rows)
        return _surprise_of_root(self.spectrum.root)[:ROWS_MAX]


@dataclass(frozen=True, slots=True)
class Influence:
    """First-order effect of events on a statistic of ``n`` events, of which these are some."""

    values: Tensor  # (m,) float64, m <= n
    n: int

    @property
    def deviations(self) -> Tensor:
        """What each event adds to the error of the statistic: ``(m,)``, sum 0.

        The root of their summed squares is the standard error. Of a function of several
        statistics of the same events they add up, weighted by its slopes: an event that is not in
        one of them adds nothing to it.

        Raises:
            TooFewSamplesError: below two events.
        """
        m = len(self.values)
        if m < N_MIN:
            raise TooFewSamplesError("standard error", n=m, n_min=N_MIN)
        return (self.values - self.values.mean()) / math.sqrt((m - 1) * self.n)

    @property
    def stderr(self) -> float:
        """Standard error of the statistic."""
        return float(torch.linalg.vector_norm(self.deviations))


def rjsd_influence(p: Spectrum, q: Side) -> Influence:
    """Influence of a window's events on ``rjsd_from(p, q.spectrum)``; P stands still.

    To first order an event moves the divergence by its share ``a(z) = ½ zᵀ (log ρ_Q - log M) z``
    (see ``rjsd_attribution``) less the mean share. Here the logarithms are integrals over
    resolvents at five points: no eigenvectors are needed.

    Args:
        p: the reference.
        q: the window.

    Returns:
        Shares up to a common constant, nats. Where nothing has drifted the next order counts as
        much as the first, and the standard error is too large, by less than √2.

    Source:
        Jaeckel (1972), "The infinitesimal jackknife"; trapezoidal rule in ``log t`` on
        ``-log x = ∫ (1 / (x + t) - 1 / (1 + t)) dt``.
    """
    mixed = _surprise((p.density + q.spectrum.density) / 2, q.rows)
    return Influence((mixed - q.surprise) / 2, len(q.z))


def gap_influence(response: Side, target: Side) -> Influence:
    """Influence on ``rjsd_from`` of two sides that come from the same events, in one order.

    An event moves both sides, so its influence is the sum of both its shares.

    Args:
        response: one side.
        target: the other.

    Returns:
        As ``rjsd_influence``.

    Raises:
        ValueError: if the numbers of events differ.

    Source:
        As ``rjsd_influence``.
    """
    if len(response.z) != len(target.z):
        raise ValueError(
            f"both sides must have the same events, got {len(response.z)} and {len(target.z)}"
        )
    density = (response.spectrum.density + target.spectrum.density) / 2
    mixed = _surprise(density, torch.cat((response.rows, target.rows)))
    own = torch.cat((response.surprise, target.surprise))
    shares = (mixed - own).reshape(2, -1).sum(0) / 2
    return Influence(shares, len(response.z))


def _surprise(density: Tensor, rows: Tensor) -> Tensor:
    """``-zᵀ log ρ z`` of rows ``(m, d)`` float32, up to a constant: ``(m,)`` float64."""
    rho = density.to(torch.float32)
    total = torch.zeros(len(rows), dtype=torch.float64)
    for t in NODES:
        factor = torch.linalg.cholesky(rho + t * torch.eye(len(rho)))
        half = torch.linalg.solve_triangular(factor.T, rows, upper=True, left=False)
        total += STEP * t * half.square().sum(1)
    return total


def _surprise_of_root(root: Tensor) -> Tensor:
    """The same of the rows ``(n, d)`` that are the root of a density, through order n.

    ``r (rᵀ r + t)⁻¹ rᵀ = 1 - t (r rᵀ + t)⁻¹``.
    """
    products = gram(root).to(torch.float32)
    one = torch.eye(len(root))
    total = torch.zeros(len(root), dtype=torch.float64)
    for t in NODES:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(products + t * one))
        total += STEP * t * (1 - t * inverse.diagonal())
    return total / products.diagonal()
