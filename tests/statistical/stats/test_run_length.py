"""Evidence over windows: how long it stays quiet without drift, and how soon it sees a small one.

Windows of one reference share its deviation from the population, so an experiment is a new
reference and pool each time. For an e-detector Doob's inequality bounds the probability of an
alarm within T windows by T / threshold; the tolerance is binomial over the references.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from monitor.stats import Direction, Evidence, ShareNull, accumulate, decide, rank_score
from monitor.stats.sequential import TOLERANCE, share_score
from tests.statistical.stats.test_false_alarms import (
    POOL,
    Statistic,
    calibrated,
    divergence_from,
    mean_from,
    population,
)

Floats = npt.NDArray[np.float64]

pytestmark = pytest.mark.statistical

REFERENCES, WINDOWS, THRESHOLD = 80, 200, 1000.0
SIZES = (55, 80)  # between the sizes of the grid and on its last, a quarter of the pool
SMALL, LARGE, PAIRS = 0.3, 1600, 200  # a shift that such a pool can tell and a window cannot
CHANCE = 1e-6


def until(scores: Floats) -> float:
    """Windows until the evidence reaches its threshold; infinite if it does not."""
    evidence = Evidence()
    for t, score in enumerate(scores.tolist(), start=1):
        evidence = accumulate(evidence, [score], THRESHOLD)
        if evidence.is_persistent:
            return t
    return np.inf


def shifted(windows: Floats, by: float) -> Floats:
    """The same events, moved a little towards one place."""
    moved = windows.copy()
    moved[..., 1] += by
    unit: Floats = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    return unit


def experiment(
    family: Callable[[Floats], Statistic],
    n: int,
    rng: np.random.Generator,
    *,
    by: float = 0.0,
    pool: int = POOL,
    tolerance: float = TOLERANCE,
) -> tuple[float, float]:
    """Windows until evidence over windows alarms, and until one window alone does."""
    statistic = family(population(rng, 500))
    null = calibrated(statistic, population(rng, pool), rng)
    draws = null.at(n)
    assert draws is not None
    values = statistic(shifted(population(rng, WINDOWS, n), by))
    edge = draws + tolerance * null.centre_error(n)
    over_windows = until(np.array([rank_score(edge, value) for value in values]))
    alarms = (
        decide(v, draws, direction=Direction.HIGH, alpha=1 / THRESHOLD, n=n).is_drifting
        for v in values.tolist()
    )
    alone = next((t for t, alarm in enumerate(alarms, start=1) if alarm), np.inf)
    return over_windows, alone


@pytest.mark.parametrize("family", [divergence_from, mean_from])
@pytest.mark.parametrize("n", SIZES)
def test_without_drift_evidence_stays_quiet_as_long_as_stated(
    family: Callable[[Floats], Statistic], n: int
) -> None:
    rng = np.random.default_rng(n)
    runs = [experiment(family, n, rng)[0] for _ in range(REFERENCES)]
    highest = binom.ppf(1 - CHANCE, REFERENCES, WINDOWS / THRESHOLD)
    assert np.isfinite(runs).sum() <= highest


def test_without_tolerance_the_deviation_that_windows_share_would_break_the_promise() -> None:
    rng, references = np.random.default_rng(7), 300
    runs = [experiment(mean_from, 80, rng, tolerance=0.0)[0] for _ in range(references)]
    highest = binom.ppf(1 - 1e-4, references, WINDOWS / THRESHOLD)
    assert np.isfinite(runs).sum() > highest


@pytest.mark.parametrize("share", [0.01, 0.3])
@pytest.mark.parametrize("side", [1, -1])
def test_shares_stay_quiet_as_long_as_stated(share: float, side: int) -> None:
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(REFERENCES):
        null = ShareNull(int(rng.binomial(POOL, share)), POOL)
        counts = rng.binomial(80, share, WINDOWS).tolist()
        scores = [side * share_score(null, k, 80, tolerance=side * TOLERANCE) for k in counts]
        alarms += np.isfinite(until(np.array(scores)))
    assert alarms <= binom.ppf(1 - CHANCE, REFERENCES, WINDOWS / THRESHOLD)


def test_a_small_shift_that_lasts_is_seen_sooner_over_windows_than_in_one() -> None:
    rng = np.random.default_rng(13)
    runs = np.array(
        [experiment(divergence_from, 40, rng, by=SMALL, pool=LARGE) for _ in range(PAIRS)]
    )
    sooner = (runs[:, 0] < runs[:, 1]).sum()
    # As often later as sooner if neither were better.
    assert sooner > binom.ppf(1 - CHANCE, PAIRS, 0.5)
