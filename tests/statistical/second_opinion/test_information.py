"""CLUB under the exact q against scikit-learn's nearest-neighbour estimate of information."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.feature_selection import mutual_info_regression

from monitor.stats import emi, mutual_information

pytestmark = pytest.mark.statistical

DIM, N, REPEATS = 3, 400, 20
LADDER = (0.0, 0.3, 0.5, 0.7, 0.85)


def pairs(rho: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x, noise = rng.standard_normal((2, N, DIM))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def club(x: np.ndarray, y: np.ndarray, rho: float) -> float:
    mu = rho * torch.from_numpy(x)
    logvar = torch.full_like(mu, math.log(1 - rho**2))
    return mutual_information(torch.from_numpy(y), mu, logvar).value


def neighbours(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Kraskov's estimate; coordinates are independent of each other, so theirs add up."""
    columns = (
        mutual_info_regression(x[:, [k]], y[:, k], n_neighbors=5, random_state=seed)
        for k in range(DIM)
    )
    return float(sum(columns)[0])


def estimates(rho: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(round(100 * rho))
    drawn = [pairs(rho, rng) for _ in range(REPEATS)]
    ours = [club(x, y, rho) for x, y in drawn]
    theirs = [neighbours(x, y, seed) for seed, (x, y) in enumerate(drawn)]
    return np.array(ours), np.array(theirs)


@pytest.mark.parametrize("rho", LADDER[1:])
def test_club_exceeds_the_information_by_its_lautum_information(rho: float) -> None:
    ours, theirs = estimates(rho)
    # Under the exact q CLUB is I(X; Y) + KL(p(x) p(y) | p(x, y)), Gaussian in closed form.
    lautum = DIM * (rho**2 / (1 - rho**2) + math.log(1 - rho**2) / 2)
    off = ours - lautum - theirs
    stderr = off.std(ddof=1) / math.sqrt(REPEATS)
    assert abs(off.mean()) <= t.ppf(1 - 1e-6, REPEATS - 1) * stderr


def test_both_put_a_ladder_of_correlations_into_its_order() -> None:
    ours, theirs = zip(*((o.mean(), n.mean()) for o, n in map(estimates, LADDER)), strict=True)
    assert list(ours) == sorted(ours)
    assert list(theirs) == sorted(theirs)


def test_emi_has_the_sign_that_the_nearest_neighbours_give_it() -> None:
    rng = np.random.default_rng(3)
    x, noise = rng.standard_normal((2, N, DIM))
    response, target = 0.4 * x + noise, 0.9 * x + noise
    # One q for both, as in a reference: that of the pooled answers.
    mu = torch.from_numpy(0.65 * x)
    both = emi(torch.from_numpy(response), torch.from_numpy(target), mu, torch.zeros_like(mu))
    theirs = neighbours(x, response, 0) - neighbours(x, target, 0)
    assert np.sign(both.value) == np.sign(theirs) == -1
