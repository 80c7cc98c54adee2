"""Standard errors and intervals against the spread that they claim to tell."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, norm
from torch import Tensor

from monitor.stats import emi, mutual_information, share

pytestmark = pytest.mark.statistical

DIM, RHO = 8, 0.6


def events(n: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Responses, correlated targets, and the exact q at Gaussian queries."""
    x, a, b = torch.randn(3, n, DIM, generator=source, dtype=torch.float64)
    spread = math.sqrt(1 - RHO**2)
    response, target = RHO * x + spread * a, RHO * x + spread * (0.8 * a + 0.6 * b)
    return response, target, RHO * x, torch.full_like(x, math.log(spread**2))


@pytest.mark.parametrize("n", [50, 200])
def test_standard_error_of_information_is_the_spread_of_its_estimates(n: int) -> None:
    source, trials = torch.Generator().manual_seed(n), 1500
    drawn = (events(n, source) for _ in range(trials))
    estimates = [mutual_information(y, mu, logvar) for y, _, mu, logvar in drawn]
    observed = np.var([e.value for e in estimates], ddof=1)
    claimed = np.mean([e.stderr**2 for e in estimates])
    low, high = chi2.ppf([1e-6, 1 - 1e-6], trials - 1) / (trials - 1)
    # The jackknife variance is itself biased upwards by O(1/n).
    assert low * (1 - 2 / n) <= observed / claimed <= high


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_two_standard_errors_around_emi_cover_it_as_often_as_stated(n: int) -> None:
    source, trials = torch.Generator().manual_seed(n), 1000
    covered = 0
    for _ in range(trials):
        estimate = emi(*events(n, source))
        covered += abs(estimate.value) <= norm.ppf(0.975) * estimate.stderr  # the true EMI is 0
    # Allows the 1.5 % by which a normal quantile in place of Student's costs at n = 50.
    assert covered >= binom.ppf(1e-6, trials, 0.95 - 0.75 / n)


@pytest.mark.parametrize(("p", "n"), [(0.01, 50), (0.01, 400), (0.3, 100)])
def test_interval_of_a_share_covers_it_at_least_as_often_as_stated(p: float, n: int) -> None:
    intervals = [share(k, n) for k in range(n + 1)]
    covered = sum(binom.pmf(k, n, p) for k, s in enumerate(intervals) if s.low <= p <= s.high)
    assert covered >= 0.95
