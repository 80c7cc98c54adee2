"""The whole path from traffic to verdicts: false alarms, power, and which signals move."""

import numpy as np
import pytest
from scipy.stats import binom

from monitor.records import Signal, Verdict
from monitor.reference.artefact import Reference
from monitor.reference.embedded import Embedded
from tests.populations import (
    judged,
    reference_of,
    traffic,
    with_shuffled_answers,
    wrongly_paired,
)

pytestmark = [pytest.mark.statistical, pytest.mark.slow]

ALPHA = 0.05
REFERENCES = 8
SIZES = (20, 26, 45, 60, 90, 130)  # on, between and beyond the sizes of the grid
WINDOWS = 30  # for each reference
# Windows of one reference share its deviation from the population. Were their alarms correlated
# by 0.1, they would say as much as this many independent ones.
INDEPENDENT = round(REFERENCES * WINDOWS / (1 + 0.1 * (WINDOWS - 1)))
CHANCE = 1e-4  # that one test fails although the rate is as stated
# All images are logged in one way here, which alarms of `image_logging` would be about.
COMPONENTS_AND_SHARES = [
    s for s in Signal if "bound" not in s.value and s is not Signal.IMAGE_LOGGING
]
POWER_WINDOWS = 20
DISCREPANCIES = {
    Signal.VISUAL_DISCREPANCY,
    Signal.TEXTUAL_DISCREPANCY,
    Signal.RESPONSE_DISCREPANCY,
}


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(480, seed=1), null_draws=100)


@pytest.fixture(scope="module")
def quiet_alarms() -> dict[Signal, list[bool]]:
    """Whether each signal alarmed, window by window without drift."""
    alarms: dict[Signal, list[bool]] = {signal: [] for signal in Signal}
    for r in range(REFERENCES):
        events = traffic(480, seed=1000 + r, image_share=0.9)
        reference = reference_of(events, null_draws=60, seed=r)
        for w in range(WINDOWS):
            window = traffic(SIZES[w % len(SIZES)], seed=10_000 + 100 * r + w, image_share=0.9)
            for signal, judgement in judged(reference, window, ALPHA).items():
                alarms[signal].append(judgement.verdict is Verdict.DRIFTING)
    return alarms


def share_of_alarms(
    reference: Reference, windows: list[Embedded], alpha: float
) -> dict[Signal, float]:
    verdicts = [judged(reference, window, alpha) for window in windows]
    return {
        signal: float(np.mean([v[signal].verdict is Verdict.DRIFTING for v in verdicts]))
        for signal in Signal
    }


@pytest.mark.parametrize("signal", Signal)
def test_false_alarms_are_no_more_frequent_than_stated(
    quiet_alarms: dict[Signal, list[bool]], signal: Signal
) -> None:
    highest = binom.ppf(1 - CHANCE, INDEPENDENT, ALPHA) / INDEPENDENT
    assert np.mean(quiet_alarms[signal]) <= highest


def test_false_alarms_are_not_so_rare_that_the_thresholds_would_be_useless(
    quiet_alarms: dict[Signal, list[bool]],
) -> None:
    rates = [np.mean(quiet_alarms[signal]) for signal in COMPONENTS_AND_SHARES]
    assert np.mean(rates) > ALPHA / 3


@pytest.fixture(scope="module")
def worse_responder(reference: Reference) -> dict[Signal, float]:
    windows = [traffic(100, seed=2_000 + w, skill=0.7) for w in range(POWER_WINDOWS)]
    return share_of_alarms(reference, windows, alpha=0.001)


@pytest.mark.parametrize("signal", [Signal.EMI, Signal.EMID])
def test_a_worse_responder_is_seen_in_every_window(
    worse_responder: dict[Signal, float], signal: Signal
) -> None:
    assert worse_responder[signal] == 1


def test_a_worse_responder_moves_no_discrepancy(worse_responder: dict[Signal, float]) -> None:
    # Twenty windows that share one reference: two of them may alarm by chance at alpha 0.001.
    assert max(worse_responder[signal] for signal in DISCREPANCIES) <= 0.1


@pytest.fixture(scope="module")
def broken_pairing(reference: Reference) -> dict[Signal, float]:
    windows = [wrongly_paired(traffic(100, seed=3_000 + w), seed=w) for w in range(POWER_WINDOWS)]
    return share_of_alarms(reference, windows, alpha=0.001)


def test_broken_pairing_is_seen_in_every_window(broken_pairing: dict[Signal, float]) -> None:
    assert broken_pairing[Signal.IMAGE_TEXT_AGREEMENT] == 1


def test_broken_pairing_moves_no_discrepancy_and_not_emi(
    broken_pairing: dict[Signal, float],
) -> None:
    assert max(broken_pairing[signal] for signal in {*DISCREPANCIES, Signal.EMI}) <= 0.1


def test_shuffled_answers_take_their_information_and_leave_that_of_the_targets(
    reference: Reference,
) -> None:
    windows = [
        with_shuffled_answers(traffic(100, seed=4_000 + w), seed=w) for w in range(POWER_WINDOWS)
    ]
    alarms = share_of_alarms(reference, windows, alpha=0.001)
    assert alarms[Signal.MI_QUERY_RESPONSE] == 1
    assert alarms[Signal.MI_QUERY_TARGET] <= 0.1


@pytest.mark.parametrize(
    ("drift", "moved", "unmoved"),
    [
        ({"text_shift": 1.0}, Signal.TEXTUAL_DISCREPANCY, Signal.VISUAL_DISCREPANCY),
        ({"image_shift": 1.0}, Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY),
    ],
)
def test_a_shift_of_one_modality_is_seen_in_it_and_not_in_the_other(
    reference: Reference, drift: dict[str, float], moved: Signal, unmoved: Signal
) -> None:
    windows = [traffic(100, seed=5_000 + w, **drift) for w in range(POWER_WINDOWS)]
    alarms = share_of_alarms(reference, windows, alpha=0.001)
    assert alarms[moved] == 1
    assert alarms[unmoved] <= 0.1
