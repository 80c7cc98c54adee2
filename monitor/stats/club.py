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
        q = Prediction.of(mu, logvar)
        y, w, w_mu = q.matching(y), q.w, q.w_mu
        return cls(
            n=y.shape[0],
            y=y.sum(0),
            yy=y.square().sum(0),
            w=w.sum(0),
            w_mu=w_mu.sum(0),
            w_joint=(y * (w * y - 2 * w_mu)).sum(0),
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


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a Gaussian ``q`` predicts for each event's answer, ready for several sets of answers.

    Response and target of an event are judged by one prediction; making it costs more than
    using it. Both tensors are ``(n, d)`` float64 on the CPU.
    """

    w: Tensor  # exp(-logvar) / 2
    w_mu: Tensor  # w * mu

    @classmethod
    def of(cls, mu: Tensor, logvar: Tensor) -> Self:
        """From mean and log variance of ``q`` at the queries, both ``(n, d)``.

        Raises:
            ValueError: if the shapes differ or are not matrices.
        """
        if mu.ndim != MATRIX or mu.shape != logvar.shape:
            raise ValueError(
                "mu and logvar must share a shape (n, d), got "
                f"{tuple(mu.shape)} and {tuple(logvar.shape)}"
            )
        w = torch.exp(-logvar.detach().to("cpu", torch.float64)).div_(2)
        return cls(w, w * mu.detach().to("cpu", torch.float64))

    def take(self, rows: Tensor) -> Self:
        """What is predicted for the events of these row numbers, in that order."""
        return type(self)(self.w[rows], self.w_mu[rows])

    def terms(self, y: Tensor) -> Tensor:
        """Per-event terms of the CLUB estimate for answers ``y``; see ``club_terms``."""
        as_anchor, _ = self._roles(y)
        return as_anchor

    def influence(self, y: Tensor) -> Tensor:
        """Per-event values whose mean is the estimate and whose spread gives its standard error.

        ``a_k + b_k - V``: the event as anchor, ``a_k = mean_j h(k, j)`` with ``h`` as in
        ``club_terms``, plus the event among the others' negatives, ``b_k = mean_i h(i, k)``, less
        the estimate ``V``. The spread of ``a_k`` alone is no standard error: the estimate is a
        sum over pairs, and leaving out an event removes a row and a column.

        Args:
            y: ``(n, d)``, embedded answers of the predicted events.

        Returns:
            ``(n,)`` float64, nats. Differences of two such arrays over the same events belong to
            the difference of the estimates, correlation included.

        Raises:
            ValueError: if the shape is not that of the prediction.

        Source:
            Hoeffding (1948), projection of a statistic of degree two, on the pair sum of CLUB.
        """
        as_anchor, as_negative = self._roles(y)
        return as_anchor + as_negative - as_anchor.mean()

    def matching(self, y: Tensor) -> Tensor:
        """``y`` in float64 on the CPU, or ``ValueError`` if it is not of the prediction's shape."""
        if y.shape != self.w.shape:
            raise ValueError(
                f"answers must have the shape {tuple(self.w.shape)} of their prediction, "
                f"got {tuple(y.shape)}"
            )
        return y.detach().to("cpu", torch.float64)

    def _roles(self, y: Tensor) -> tuple[Tensor, Tensor]:
        y = self.matching(y)
        yy = y.square()
        own = _row_sums(self.w, yy) - 2 * _row_sums(self.w_mu, y)
        as_anchor = self.w @ yy.mean(0) - 2 * (self.w_mu @ y.mean(0)) - own
        as_negative = yy @ self.w.mean(0) - 2 * (y @ self.w_mu.mean(0)) - own.mean()
        return as_anchor, as_negative


def club_terms(y: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Per-event terms of the CLUB estimate.

    ``a_i = mean_j h(i, j)`` with ``h(i, j) = Σ_d w_id [(y_jd - mu_id)² - (y_id - mu_id)²]`` and
    ``w = exp(-logvar) / 2``: how much better ``q`` explains an event's own answer than the
    answers of all events. O(n d): ``mean_j (y_j - mu)² = m2 - 2 mu m1 + mu²``.

    Args:
        y: ``(n, d)``, embedded answers.
        mu: ``(n, d)``, mean of ``q`` at the queries of the same events.
        logvar: ``(n, d)``, log variance of ``q`` there.

    Returns:
        ``(n,)`` float64, nats, mean equal to the estimate; negative for an answer that fits
        its own query worse than it fits an average one. Empty for ``n = 0``. For a standard
        error take ``Prediction.influence``, not the spread of these.

    Raises:
        ValueError: if the shapes differ or are not matrices.

    Source:
        Cheng et al. (2020), "CLUB", the variational estimator, inner sum of one event.
    """
    return Prediction.of(mu, logvar).terms(y)


def estimate_from_influence(influence: Tensor) -> MiEstimate:
    """Mean of per-event values with the exact leave-one-out jackknife standard error.

    For a pair sum ``V`` with no diagonal, ``V_(-k) = (n² V - n a_k - n b_k) / (n - 1)²``, so the
    jackknife needs no second pass over the events.

    Args:
        influence: ``(n,)`` from ``Prediction.influence``, or a difference of two of them.

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
    """CLUB estimate of ``I(X; Y)`` with its standard error.

    Args:
        y: ``(n, d)``, embedded answers.
        mu: ``(n, d)``, mean of ``q`` at the queries of the same events.
        logvar: ``(n, d)``, log variance of ``q`` there.

    Returns:
        Estimate in nats under this ``q`` alone: an upper bound only where ``q`` is exact, and
        comparable only with estimates under the same ``q``.

    Raises:
        TooFewSamplesError: below two events.
        ValueError: if the shapes differ or are not matrices.

    Source:
        Cheng et al. (2020), "CLUB"; standard error as ``estimate_from_influence``.
    """
    return estimate_from_influence(Prediction.of(mu, logvar).influence(y))


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    # Matrix products of one row each: no (n, d) product is written to memory.
    return (a.unsqueeze(1) @ b.unsqueeze(2)).flatten()
