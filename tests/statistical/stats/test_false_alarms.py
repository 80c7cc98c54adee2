"""False alarms of the whole path: pool, pseudo-windows, null, decision on new windows.

Windows judged by one calibration share its luck, so an experiment is a new reference and pool
each time, and judges one window per size. The tolerance is binomial: a rate above alpha by
chance fails once in a million runs.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from monitor.stats import Direction, Null, ShareNull, decide, null_sizes, pseudo_windows

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

pytestmark = pytest.mark.statistical

DIM, DRAWS, TRIALS = 12, 100, 1500
ALPHAS = [0.05, 0.01, 0.001]
SMALLEST, POOL = 20, 320  # grid 20, 40, 80
ON_GRID, BETWEEN, BEYOND = [20, 40, 80], [28, 55, 70], [120, 320, 900]
SCALE = np.linspace(1.5, 0.1, DIM)


def population(rng: np.random.Generator, *shape: int) -> Floats:
    z = SCALE * rng.standard_normal((*shape, DIM))
    z[..., 0] += 1
    unit: Floats = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return unit


def entropies(density: Floats) -> Floats:
    """The batched twin of ``entropy_of_rows``: thousands of small eigenproblems at once."""
    spectrum = np.linalg.eigvalsh(density).clip(1e-300)
    total: Floats = -(spectrum * np.log(spectrum)).sum(axis=-1)
    return total


def divergence_from(reference: Floats) -> Statistic:
    p = reference.T @ reference / len(reference)
    entropy_p = entropies(p)

    def statistic(windows: Floats) -> Floats:
        q = windows.swapaxes(1, 2) @ windows / windows.shape[1]
        value: Floats = entropies((p + q) / 2) - (entropies(q) + entropy_p) / 2
        return value

    return statistic


def mean_from(reference: Floats) -> Statistic:
    """A linear statistic, as EMI and MI nearly are: the shape of pool that hurts most."""
    direction = reference.mean(axis=0)

    def statistic(windows: Floats) -> Floats:
        value: Floats = (windows @ direction).mean(axis=1)
        return value

    return statistic


def calibrated(statistic: Statistic, pool: Floats, rng: np.random.Generator) -> Null:
    sizes = null_sizes(len(pool), SMALLEST)
    draws = [statistic(pool[pseudo_windows(len(pool), int(n), DRAWS, rng)]) for n in sizes]
    return Null.of(sizes, np.array(draws), pool=len(pool), whole=float(statistic(pool[None])[0]))


def alarms(
    family: Callable[[Floats], Statistic], direction: Direction, seed: int
) -> dict[tuple[int, float], int]:
    rng = np.random.default_rng(seed)
    found = {(n, alpha): 0 for n in ON_GRID + BETWEEN + BEYOND for alpha in ALPHAS}
    for _ in range(TRIALS):
        statistic = family(population(rng, 500))
        null = calibrated(statistic, population(rng, POOL), rng)
        values = {n: float(statistic(population(rng, 1, n))[0]) for n, _ in found}
        for n, alpha in found:
            draws = null.at(n)
            assert draws is not None
            decision = decide(values[n], draws, direction=direction, alpha=alpha, n=n)
            found[n, alpha] += decision.is_drifting
    return found


@pytest.fixture(scope="module")
def divergence_alarms() -> dict[tuple[int, float], int]:
    return alarms(divergence_from, Direction.HIGH, seed=11)


@pytest.fixture(scope="module")
def mean_alarms() -> dict[tuple[int, float], int]:
    return alarms(mean_from, Direction.LOW, seed=12)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", ON_GRID + BETWEEN + BEYOND)
def test_a_divergence_alarms_without_drift_at_most_as_often_as_stated(
    divergence_alarms: dict[tuple[int, float], int], n: int, alpha: float
) -> None:
    assert divergence_alarms[n, alpha] <= binom.ppf(1 - 1e-6, TRIALS, alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", ON_GRID + BETWEEN + BEYOND)
def test_a_mean_alarms_without_drift_at_most_as_often_as_stated(
    mean_alarms: dict[tuple[int, float], int], n: int, alpha: float
) -> None:
    assert mean_alarms[n, alpha] <= binom.ppf(1 - 1e-6, TRIALS, alpha)


@pytest.mark.parametrize("name", ["divergence_alarms", "mean_alarms"])
@pytest.mark.parametrize("n", ON_GRID + BETWEEN)
def test_a_third_of_the_stated_rate_is_really_spent(
    name: str, n: int, request: pytest.FixtureRequest
) -> None:
    found: dict[tuple[int, float], int] = request.getfixturevalue(name)
    assert found[n, 0.05] >= binom.ppf(1e-6, TRIALS, 0.05 / 3)


@pytest.mark.parametrize(("share", "direction"), [(0.01, Direction.HIGH), (0.6, Direction.BOTH)])
@pytest.mark.parametrize("n", [30, 200, 1000])
def test_a_share_alarms_without_drift_at_most_as_often_as_stated(
    share: float, direction: Direction, n: int
) -> None:
    rng = np.random.default_rng(n)
    pool, alpha, trials = 1000, 0.01, 4000
    counts = zip(rng.binomial(pool, share, trials), rng.binomial(n, share, trials), strict=True)
    drifting = sum(
        ShareNull(int(k), pool).decide(int(c), n, direction=direction, alpha=alpha).is_drifting
        for k, c in counts
    )
    assert drifting <= binom.ppf(1 - 1e-6, trials, alpha)
