"""CLUB estimate of mutual information under a learned Gaussian q(y|x)."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from monitor.errors import TooFewSamplesError
from monitor.stats.moments import MATRIX

N_MIN = 2  # below, no event has another to be compared with


@dataclass(frozen=True, slots=True)
class MiEstimate:
    """A mutual information or a difference of two, in nats, with its standard error."""

    value: float
    stderr: float
    n: int


@dataclass(frozen=True, slots=True)
class ClubMoments:
    """Sufficient statistics of a CLUB estimate under one fixed ``q(y|x)``.

    For a diagonal Gaussian ``q`` with mean ``mu`` and precision ``2w`` the double
    sum over pairs collapses to six sums, so panes merge exactly and a window costs
    O(d) memory instead of O(n^2).

    All tensors are ``(d,)`` float64 on the CPU; ``d`` is the response dimension.
    """

    n: int
    y: Tensor  # sum of y
    yy: Tensor  # sum of y^2
    w: Tensor  # sum of w
    w_mu: Tensor  # sum of w * mu
    w_joint: Tensor  # sum of w * (y^2 - 2 y mu)

    @classmethod
    def empty(cls, dim: int) -> Self:
        """The statistics of no event: the identity of ``merge``."""
        zero = torch.zeros(dim, dtype=torch.float64)
        return cls(n=0, y=zero, yy=zero, w=zero, w_mu=zero, w_joint=zero)

    @classmethod
    def of(cls, y: Tensor, mu: Tensor, logvar: Tensor) -> Self:
        """Summarise one batch.

        Args:
            y: ``(n, d)``, embedded answers.
            mu: ``(n, d)``, mean of ``q`` at the queries of the same events.
            logvar: ``(n, d)``, log variance of ``q`` there.

        Raises:
            ValueError: if the shapes differ or are not matrices.
        """
        y, mu, w = _prepared(y, mu, logvar)
        return cls(
            n=y.shape[0],
            y=y.sum(0),
            yy=y.square().sum(0),
            w=w.sum(0),
            w_mu=(w * mu).sum(0),
            w_joint=(w * y * (y - 2 * mu)).sum(0),
        )

    def merge(self, other: Self) -> Self:
        """Statistics of the two batches together; associative and commutative."""
        return type(self)(
            n=self.n + other.n,
            y=self.y + other.y,
            yy=self.yy + other.yy,
            w=self.w + other.w,
            w_mu=self.w_mu + other.w_mu,
            w_joint=self.w_joint + other.w_joint,
        )

    def estimate(self) -> float:
        """Mutual information, nats. May be negative when ``q`` fits badly.

        Raises:
            TooFewSamplesError: below two samples, where no negative pair exists.

        Source:
            Cheng et al. (2020), "CLUB", the variational estimator, pair sum expanded.
        """
        if self.n < N_MIN:
            raise TooFewSamplesError("CLUB", n=self.n, n_min=N_MIN)
        marginal = self.w * self.yy - 2 * self.w_mu * self.y
        return float((marginal / self.n - self.w_joint).sum() / self.n)


def club_terms(y: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Per-event terms of the CLUB estimate.

    ``a_i = mean_j h(i, j)`` with ``h(i, j) = Σ_d w_id [(y_jd - mu_id)² - (y_id - mu_id)²]`` and
    ``w = exp(-logvar) / 2``: how much better ``q`` explains an event's own answer than the
    answers of all events. O(n d): ``mean_j (y_j - mu)² = m2 - 2 mu m1 + mu²``.

    Their spread alone is no standard error of their mean: every event also stands among the
    others' negatives; see ``club_influence``.

    Args:
        y: ``(n, d)``, embedded answers.
        mu: ``(n, d)``, mean of ``q`` at the queries of the same events.
        logvar: ``(n, d)``, log variance of ``q`` there.

    Returns:
        ``(n,)`` float64, nats, mean equal to the estimate; negative for an answer that fits
        its own query worse than it fits an average one. Empty for ``n = 0``.

    Raises:
        ValueError: if the shapes differ or are not matrices.

    Source:
        Cheng et al. (2020), "CLUB", the variational estimator, inner sum of one event.
    """
    y, mu, w = _prepared(y, mu, logvar)
    return _as_anchor(y, mu, w)


def club_influence(y: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Per-event values whose mean is the estimate and whose spread gives its standard error.

    ``a_k + b_k - V``: the event as anchor (``club_terms``), plus the event among the others'
    negatives, ``b_k = mean_i h(i, k)``, less the estimate ``V``. Both roles count, because the
    estimate is a sum over pairs and leaving out an event removes a row and a column.

    Args:
        y: ``(n, d)``, embedded answers.
        mu: ``(n, d)``, mean of ``q`` at the queries of the same events.
        logvar: ``(n, d)``, log variance of ``q`` there.

    Returns:
        ``(n,)`` float64, nats. Differences of two such arrays over the same events belong to
        the difference of the estimates, correlation included.

    Raises:
        ValueError: if the shapes differ or are not matrices.

    Source:
        Hoeffding (1948), projection of a statistic of degree two, on the pair sum of CLUB.
    """
    y, mu, w = _prepared(y, mu, logvar)
    as_anchor = _as_anchor(y, mu, w)
    own = (w * y * (y - 2 * mu)).sum(1).mean()
    as_negative = y.square() @ w.mean(0) - 2 * (y @ (w * mu).mean(0)) - own
    return as_anchor + as_negative - as_anchor.mean()


def estimate_from_influence(influence: Tensor) -> MiEstimate:
    """Mean of per-event values with the exact leave-one-out jackknife standard error.

    For a pair sum ``V`` with no diagonal, ``V_(-k) = (n² V - n a_k - n b_k) / (n - 1)²``, so the
    jackknife needs no second pass over the events.

    Args:
        influence: ``(n,)`` from ``club_influence``, or a difference of two of them.

    Returns:
        Estimate in nats. Its bias is ``-1/n`` of its value: the diagonal counts as zero.

    Raises:
        TooFewSamplesError: below two events.

    Source:
        Efron & Stein (1981), "The jackknife estimate of variance".
    """
    n = influence.shape[0]
    if n < N_MIN:
        raise TooFewSamplesError("CLUB", n=n, n_min=N_MIN)
    value = influence.mean()
    spread = (influence - value).square().sum().item()
    return MiEstimate(value.item(), math.sqrt(spread * n / (n - 1) ** 3), n)


def mutual_information(y: Tensor, mu: Tensor, logvar: Tensor) -> MiEstimate:
    """CLUB estimate of ``I(X; Y)`` with its standard error; arguments as ``club_terms``.

    Returns:
        Estimate in nats under this ``q`` alone: an upper bound only where ``q`` is exact, and
        comparable only with estimates under the same ``q``.

    Raises:
        TooFewSamplesError: below two events.
        ValueError: if the shapes differ or are not matrices.

    Source:
        Cheng et al. (2020), "CLUB"; standard error as ``estimate_from_influence``.
    """
    return estimate_from_influence(club_influence(y, mu, logvar))


def _prepared(y: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if y.ndim != MATRIX or not y.shape == mu.shape == logvar.shape:
        raise ValueError(
            "y, mu and logvar must share a shape (n, d), got "
            f"{tuple(y.shape)}, {tuple(mu.shape)} and {tuple(logvar.shape)}"
        )
    y, mu, logvar = (t.detach().to("cpu", torch.float64) for t in (y, mu, logvar))
    return y, mu, torch.exp(-logvar) / 2


def _as_anchor(y: Tensor, mu: Tensor, w: Tensor) -> Tensor:
    m1, m2 = y.mean(0), y.square().mean(0)
    return (w * (m2 - 2 * mu * m1 - y * (y - 2 * mu))).sum(1)
