"""Standard errors of divergences and bounds against what they are made from."""

import math

import numpy as np
import pytest
import torch

from monitor.records import Modality, Signal
from monitor.reference.artefact import Reference
from monitor.reference.bounds import Divergences
from monitor.reference.embedded import Embedded
from monitor.reference.signals import BOUNDS, Estimate, evaluate
from monitor.reference.uncertainty import evaluate_with_errors
from monitor.stats import SecondMoments, rjsd_attribution
from tests.populations import near, reference_of, traffic

ENTROPY_FACTOR = 7.0
DIVERGENCES = (
    Signal.VISUAL_DISCREPANCY,
    Signal.TEXTUAL_DISCREPANCY,
    Signal.RESPONSE_DISCREPANCY,
    Signal.OUTPUT_GAP,
)
AGREES = 0.03  # the shares behind an error are integrals over resolvents


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(240, seed=1, image_share=0.8, target_share=0.8), null_draws=4)


@pytest.fixture(scope="module")
def window(reference: Reference) -> Embedded:
    return near(reference, traffic(90, seed=2, image_share=0.7, target_share=0.6))


@pytest.fixture(scope="module")
def estimates(reference: Reference, window: Embedded) -> dict[Signal, Estimate]:
    return evaluate_with_errors(reference.frozen, window, entropy_factor=ENTROPY_FACTOR)


def exact_shares(reference: Reference, window: Embedded) -> dict[Signal, np.ndarray]:
    """Shares of the window's events from full eigenproblems; 0 for events not in a part."""

    def density(z: np.ndarray) -> torch.Tensor:
        return SecondMoments.of(torch.from_numpy(z)).density()

    def of(modality: Modality, z: np.ndarray) -> np.ndarray:
        split = rjsd_attribution(reference.frozen.spectra[modality].density, density(z))
        return split.window_shares(torch.from_numpy(z)).numpy()

    z_y = window.z_y[window.has_target]
    gap = rjsd_attribution(density(z_y), density(window.z_target))
    both = gap.reference_shares(torch.from_numpy(z_y)) + gap.window_shares(
        torch.from_numpy(window.z_target)
    )
    return {
        Signal.VISUAL_DISCREPANCY: of(Modality.VISUAL, window.z_v),
        Signal.TEXTUAL_DISCREPANCY: of(Modality.TEXTUAL, window.z_t),
        Signal.RESPONSE_DISCREPANCY: of(Modality.RESPONSE, window.z_y),
        Signal.OUTPUT_GAP: both.numpy(),
    }


@pytest.mark.parametrize("signal", DIVERGENCES)
def test_the_error_of_a_divergence_is_the_spread_of_its_shares(
    reference: Reference,
    window: Embedded,
    estimates: dict[Signal, Estimate],
    signal: Signal,
) -> None:
    shares = exact_shares(reference, window)[signal]
    expected = shares.std(ddof=1) / math.sqrt(len(shares))
    assert estimates[signal].stderr == pytest.approx(expected, rel=AGREES)


@pytest.mark.parametrize("signal", BOUNDS)
def test_the_error_of_a_bound_counts_what_its_terms_share(
    reference: Reference,
    window: Embedded,
    estimates: dict[Signal, Estimate],
    signal: Signal,
) -> None:
    shares = exact_shares(reference, window)
    values = {s: estimates[s].value or math.nan for s in DIVERGENCES}
    parts = [
        (Signal.VISUAL_DISCREPANCY, window.has_image, 0),
        (Signal.TEXTUAL_DISCREPANCY, np.ones(90, dtype=np.bool_), 1),
        (Signal.OUTPUT_GAP, window.has_target, 3),
    ]

    def bound(divergences: list[float | None]) -> float:
        return Divergences(*divergences).bounds(ENTROPY_FACTOR)[signal].value

    at = [
        values[Signal.VISUAL_DISCREPANCY],
        values[Signal.TEXTUAL_DISCREPANCY],
        reference.frozen.output_gap,
        values[Signal.OUTPUT_GAP],
    ]
    # Each event in turn: by how much the bound would move if its influence were a little more.
    moves = np.zeros(90)
    for i in range(90):
        nudged = list(at)
        for part, mask, place in parts:
            if mask[i]:
                a = shares[part]
                own = a[np.cumsum(mask)[i] - 1] - a.mean()
                nudged[place] += 1e-6 * own / math.sqrt(len(a) * (len(a) - 1))
        moves[i] = (bound(nudged) - bound(at)) / 1e-6
    assert estimates[signal].stderr == pytest.approx(np.linalg.norm(moves), rel=AGREES)


def test_values_are_those_without_errors(
    reference: Reference, window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    plain = evaluate(reference.frozen, window, entropy_factor=ENTROPY_FACTOR)
    assert {s: (e.n, e.value, e.terms) for s, e in estimates.items()} == {
        s: (e.n, e.value, e.terms) for s, e in plain.items()
    }


def test_every_signal_of_a_whole_window_has_an_error_and_an_interval(
    estimates: dict[Signal, Estimate],
) -> None:
    for estimate in estimates.values():
        assert None not in (estimate.value, estimate.stderr, estimate.low, estimate.high)
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("signal", [*DIVERGENCES, *BOUNDS])
def test_intervals_are_those_of_the_error(
    estimates: dict[Signal, Estimate], signal: Signal
) -> None:
    found = estimates[signal]
    expected = (max(found.value - 1.96 * found.stderr, 0.0), found.value + 1.96 * found.stderr)
    assert (found.low, found.high) == pytest.approx(expected)


def test_intervals_of_divergences_do_not_go_below_zero(reference: Reference) -> None:
    again = near(reference, reference.density)
    found = evaluate_with_errors(reference.frozen, again, entropy_factor=ENTROPY_FACTOR)
    assert found[Signal.TEXTUAL_DISCREPANCY].value == pytest.approx(0, abs=1e-9)
    assert found[Signal.TEXTUAL_DISCREPANCY].low == 0


def test_a_bound_of_a_gap_that_is_zero_has_no_error(reference: Reference) -> None:
    events = traffic(60, seed=3)
    same = Embedded(
        ids=events.ids,
        z_t=events.z_t,
        z_y=events.z_target,
        z_v=events.z_v,
        has_image=events.has_image,
        z_target=events.z_target,
        has_target=events.has_target,
    )
    found = evaluate_with_errors(reference.frozen, same, entropy_factor=ENTROPY_FACTOR)
    assert found[Signal.OUTPUT_GAP].value == 0
    assert (found[Signal.EMID_BOUND].stderr, found[Signal.EMID_BOUND].low) == (None, None)
    assert found[Signal.INPUT_BOUND].stderr is not None


def test_what_has_no_value_has_no_error(reference: Reference) -> None:
    bare = traffic(60, seed=4, image_share=0.0, target_share=0.0)
    found = evaluate_with_errors(reference.frozen, bare, entropy_factor=ENTROPY_FACTOR)
    absent = {s for s, e in found.items() if e.value is None}
    assert absent >= {Signal.VISUAL_DISCREPANCY, Signal.OUTPUT_GAP, Signal.EMID_BOUND}
    assert {s for s, e in found.items() if e.stderr is None} == absent
    assert found[Signal.INPUT_BOUND].terms == ("textual",)
