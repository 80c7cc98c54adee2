"""Intervals of the whole path, networks learned from a reference, against what they claim."""

import numpy as np
import pytest
from scipy.stats import binom

from monitor.records import Signal
from monitor.reference.artefact import Reference
from monitor.reference.signals import evaluate, single_threaded
from monitor.reference.uncertainty import evaluate_with_errors
from monitor.stats.club import MiEstimate
from monitor.stats.emi import emid
from tests.populations import reference_of, traffic

pytestmark = [pytest.mark.statistical, pytest.mark.slow]

TRIALS, LARGE = 150, 30_000
HELD = 240  # exchanges that EMI(P) is known from
SKILL = 0.8  # responses and targets must differ, else EMI has no spread
DIVERGENCES = (
    Signal.VISUAL_DISCREPANCY,
    Signal.TEXTUAL_DISCREPANCY,
    Signal.RESPONSE_DISCREPANCY,
    Signal.OUTPUT_GAP,
    Signal.INPUT_BOUND,
    Signal.EMID_BOUND_UNSCALED,
    Signal.EMID_BOUND,
)
SIGNALS = (Signal.EMI, Signal.MI_QUERY_RESPONSE, Signal.IMAGE_TEXT_AGREEMENT, Signal.IMAGE_SHARE)
Interval = tuple[float, float]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(480, seed=1, image_share=0.9))


def intervals(reference: Reference, n: int, seed: int) -> dict[Signal, Interval]:
    events = traffic(n, seed=seed, skill=SKILL, image_share=0.9)
    with single_threaded():
        found = evaluate(reference.frozen, events, entropy_factor=1.0)
    return {s: (found[s].low or 0.0, found[s].high or 0.0) for s in SIGNALS}


@pytest.fixture(scope="module")
def truth(reference: Reference) -> dict[Signal, float]:
    """The middle of the interval of a window so large that its own error hardly matters."""
    return {s: sum(i) / 2 for s, i in intervals(reference, LARGE, seed=9).items()}


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_intervals_cover_as_often_as_stated(
    reference: Reference, truth: dict[Signal, float], n: int
) -> None:
    drawn = [intervals(reference, n, seed=1000 * n + i) for i in range(TRIALS)]
    covered = {s: sum(i[s][0] <= truth[s] <= i[s][1] for i in drawn) for s in SIGNALS}
    # Allows what a normal quantile in place of Student's costs, and the error of the truth.
    least = binom.ppf(1e-5, TRIALS, 0.95 - 1.5 / n - 0.01)
    assert {s: count for s, count in covered.items() if count < least} == {}


def emi_of(reference: Reference, n: int, seed: int) -> MiEstimate:
    events = traffic(n, seed=seed, skill=SKILL, image_share=0.9)
    with single_threaded():
        found = evaluate(reference.frozen, events, entropy_factor=1.0)[Signal.EMI]
    assert found.value is not None
    assert found.stderr is not None
    return MiEstimate(found.value, found.stderr, found.n)


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_the_interval_of_emid_knows_that_the_reference_is_finite(
    reference: Reference, n: int
) -> None:
    drawn = [
        emid(emi_of(reference, HELD, 7000 * n + i), emi_of(reference, n, 9000 * n + i))
        for i in range(TRIALS)
    ]
    covered = sum(abs(found.value) <= 1.96 * found.stderr for found in drawn)
    assert covered >= binom.ppf(1e-5, TRIALS, 0.95 - 1.5 / n - 1.5 / HELD - 0.01)
    assert covered <= binom.ppf(1 - 1e-5, TRIALS, 0.98)


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_intervals_of_divergences_and_bounds_cover_their_mean_at_that_n(
    reference: Reference, n: int, drift: float
) -> None:
    with single_threaded():
        found = [
            evaluate_with_errors(
                reference.frozen,
                traffic(
                    n,
                    seed=5_000_000 + 1000 * n + i,
                    skill=SKILL,
                    image_share=0.9,
                    target_share=0.8,
                    text_shift=drift,
                    image_shift=drift,
                ),
                entropy_factor=10.0,
            )
            for i in range(TRIALS)
        ]
    covered = {}
    for signal in DIVERGENCES:
        mean = np.mean([f[signal].value for f in found])
        covered[signal] = sum(f[signal].low <= mean <= f[signal].high for f in found)
    # A standard error 9 % too small, which is the most that was measured, covers with 92.6 %.
    least = binom.ppf(1e-5, TRIALS, 0.926)
    assert {s: count for s, count in covered.items() if count < least} == {}
