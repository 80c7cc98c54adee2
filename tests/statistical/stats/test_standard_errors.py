"""Standard errors and intervals against the spread that they claim to tell."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, norm
from torch import Tensor

from monitor.reference.signals import single_threaded
from monitor.stats import Spectrum, emi, mutual_information, rjsd_from, share
from monitor.stats.influence import Influence, Side, gap_influence, rjsd_influence

pytestmark = pytest.mark.statistical

DIM, RHO = 8, 0.6
# A first-order variance counts what a divergence adds to second order twice, and of 50 events falls
# short by a tenth of the error; sums over resolvents are 3 % off.
FIRST_ORDER = {50: 1.2, 200: 1.06, 1000: 1.06}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


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


def embedded(n: int, source: torch.Generator, *, drift: float) -> Tensor:
    """Unit rows around a direction that leaves the reference's as they drift."""
    rows = torch.randn(n, DIM, generator=source, dtype=torch.float64)
    rows[:, 0] += 2
    rows[:, 1] += 2 * drift
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def claimed_and_observed(influences: list[Influence], values: list[float]) -> tuple[float, float]:
    """Variances: the mean of those stated, and that of the values."""
    return float(np.mean([i.stderr**2 for i in influences])), float(np.var(values, ddof=1))


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_standard_error_of_a_discrepancy_is_its_spread_or_at_most_root_two_of_it(
    n: int, drift: float
) -> None:
    source, trials = torch.Generator().manual_seed(n), 500
    p = Spectrum.of_rows(embedded(200, source, drift=0.0))
    windows = [embedded(n, source, drift=drift) for _ in range(trials)]
    sides = [Side(Spectrum.of_rows(z), z) for z in windows]
    claimed, observed = claimed_and_observed(
        [rjsd_influence(p, q) for q in sides], [rjsd_from(p, q.spectrum) for q in sides]
    )
    low, high = chi2.ppf([1e-5, 1 - 1e-5], trials - 1) / (trials - 1)
    assert low / 2 <= observed / claimed <= high * FIRST_ORDER[n]


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_standard_error_of_the_output_gap_is_its_spread_or_at_most_root_two_of_it(
    n: int, drift: float
) -> None:
    source, trials = torch.Generator().manual_seed(n), 500

    def paired() -> tuple[Side, Side]:
        target = embedded(n, source, drift=0.0)
        response = target + 0.5 * embedded(n, source, drift=drift)
        response /= torch.linalg.vector_norm(response, dim=1, keepdim=True)
        return tuple(Side(Spectrum.of_rows(z), z) for z in (response, target))

    pairs = [paired() for _ in range(trials)]
    claimed, observed = claimed_and_observed(
        [gap_influence(*pair) for pair in pairs],
        [rjsd_from(y.spectrum, target.spectrum) for y, target in pairs],
    )
    low, high = chi2.ppf([1e-5, 1 - 1e-5], trials - 1) / (trials - 1)
    assert low / 2 <= observed / claimed <= high * FIRST_ORDER[n]


@pytest.mark.parametrize(("p", "n"), [(0.01, 50), (0.01, 400), (0.3, 100)])
def test_interval_of_a_share_covers_it_at_least_as_often_as_stated(p: float, n: int) -> None:
    intervals = [share(k, n) for k in range(n + 1)]
    covered = sum(binom.pmf(k, n, p) for k, s in enumerate(intervals) if s.low <= p <= s.high)
    assert covered >= 0.95
