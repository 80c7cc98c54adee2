"""Standard errors of divergences and bounds under the builtin encoders, against real spreads."""

import math

import numpy as np
import pytest

from monitor.records import Signal
from monitor.reference.artefact import Reference
from monitor.reference.embedded import Embedded
from monitor.reference.signals import single_threaded
from monitor.reference.uncertainty import evaluate_with_errors
from monitor.simulate.traffic import Drift, DriftKind
from tests import recorded
from tests.populations import reference_of

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

REFERENCE, POPULATION = 1_000, 8_000
WINDOWS = {50: 150, 200: 100, 1_000: 60}
DRIFTS = (
    Drift(DriftKind.BLUR, 3),
    Drift(DriftKind.TYPOS, 3),
    Drift(DriftKind.WORSE_RESPONDER, 3),
)
SIGNALS = (
    Signal.VISUAL_DISCREPANCY,
    Signal.TEXTUAL_DISCREPANCY,
    Signal.RESPONSE_DISCREPANCY,
    Signal.OUTPUT_GAP,
    Signal.INPUT_BOUND,
    Signal.EMID_BOUND_UNSCALED,
    Signal.EMID_BOUND,
)
# The most that counting the second order twice adds to a variance.
MOST = 2**0.5


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(recorded.simulated(REFERENCE, seed=1), null_draws=4)


@pytest.mark.parametrize("drifts", [(), DRIFTS], ids=["quiet", "drifted"])
def test_stated_errors_are_the_spread_of_windows(
    reference: Reference, drifts: tuple[Drift, ...]
) -> None:
    events = recorded.simulated(POPULATION - REFERENCE, seed=2, drifts=drifts)
    wrong = []
    print("\n| n | signal | stated / spread | covered |\n| --- | --- | --- | --- |")
    for n, windows in WINDOWS.items():
        for signal, ratio, covered in measured(reference, events, n, windows):
            print(f"| {n} | `{signal}` | {ratio:.2f} | {covered:.0%} |")
            noise = 4 / math.sqrt(2 * windows)
            if not 0.8 - noise <= ratio <= MOST + noise:
                wrong.append((n, signal, ratio))
    assert wrong == []


def measured(
    reference: Reference, events: Embedded, n: int, windows: int
) -> list[tuple[Signal, float, float]]:
    """Mean stated error over the spread, and how often the mean is covered, by signal."""
    rng = np.random.default_rng(n)
    with single_threaded():
        found = [
            evaluate_with_errors(
                reference.frozen,
                events.take(rng.choice(len(events), n, replace=False)),
                entropy_factor=10.0,
            )
            for _ in range(windows)
        ]
    finite = math.sqrt(1 - n / len(events))  # windows share their population
    rows = []
    for signal in SIGNALS:
        values, errors, low, high = (
            np.array([getattr(f[signal], part) for f in found], dtype=np.float64)
            for part in ("value", "stderr", "low", "high")
        )
        ratio = math.sqrt(float(np.square(errors).mean())) / (values.std(ddof=1) / finite)
        mean = values.mean()
        rows.append((signal, ratio, float(((low <= mean) & (mean <= high)).mean())))
    return rows
