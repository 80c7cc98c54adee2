"""Signals of a window against literal computations, and what is absent and why."""

import math
from dataclasses import replace

import numpy as np
import pytest

from monitor.records import Modality, Signal
from monitor.reference.artefact import Reference
from monitor.reference.embedded import Embedded
from monitor.reference.image_states import NO_IMAGE, STATES
from monitor.reference.signals import (
    NO_DISTANCES,
    NO_IMAGES,
    NO_TARGETS,
    REFERENCE_LACKS_IMAGES,
    REFERENCE_LACKS_TARGETS,
    TOO_FEW_EVENTS,
    Estimate,
    evaluate,
    logging_of,
)
from tests.oracles.shares import clopper_pearson
from tests.populations import near, reference_of, traffic

ENTROPY_FACTOR = 7.0


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(240, seed=1, image_share=0.8, target_share=0.8), null_draws=4)


@pytest.fixture(scope="module")
def window() -> Embedded:
    return traffic(90, seed=2, image_share=0.7, target_share=0.6)


@pytest.fixture(scope="module")
def estimates(reference: Reference, window: Embedded) -> dict[Signal, Estimate]:
    return evaluate(reference.frozen, near(reference, window), entropy_factor=ENTROPY_FACTOR)


def divergence(a: np.ndarray, b: np.ndarray) -> float:
    """RJSD of unit rows by its definition."""

    def entropy(density: np.ndarray) -> float:
        values = np.linalg.eigvalsh(density)
        values = values[values > 1e-15]
        return float(-(values * np.log(values)).sum())

    rho_a, rho_b = (z.T.astype(np.float64) @ z / len(z) for z in (a, b))
    return entropy((rho_a + rho_b) / 2) - (entropy(rho_a) + entropy(rho_b)) / 2


def club(x: np.ndarray, y: np.ndarray, reference: Reference, network: str) -> float:
    """CLUB by its definition, pair by pair."""
    mu, logvar = (t.double().numpy() for t in reference.frozen.networks[network].at(x))
    y = y.astype(np.float64)
    negative = ((y[None] - mu[:, None]) ** 2).mean(1)
    return float(((negative - (mu - y) ** 2) / (2 * np.exp(logvar))).sum(1).mean())


def fused(window: Embedded) -> np.ndarray:
    x = window.z_t.copy()
    x[window.has_image] = (window.z_v + window.z_t[window.has_image]) / 2
    return x


@pytest.mark.parametrize(
    ("signal", "reference_rows", "window_rows"),
    [
        (Signal.VISUAL_DISCREPANCY, "z_v", "z_v"),
        (Signal.TEXTUAL_DISCREPANCY, "z_t", "z_t"),
        (Signal.RESPONSE_DISCREPANCY, "z_y", "z_y"),
    ],
)
def test_discrepancies_agree_with_their_definition(
    reference: Reference,
    window: Embedded,
    estimates: dict[Signal, Estimate],
    signal: Signal,
    reference_rows: str,
    window_rows: str,
) -> None:
    expected = divergence(getattr(reference.density, reference_rows), getattr(window, window_rows))
    assert estimates[signal].value == pytest.approx(expected, abs=1e-5)


def test_the_output_gap_is_of_responses_that_have_a_target(
    window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    expected = divergence(window.z_y[window.has_target], window.z_target)
    assert estimates[Signal.OUTPUT_GAP].value == pytest.approx(expected, abs=1e-5)


def test_the_gap_of_the_reference_is_that_of_its_density_part(reference: Reference) -> None:
    part = reference.density
    expected = divergence(part.z_y[part.has_target], part.z_target)
    assert reference.frozen.output_gap == pytest.approx(expected, abs=1e-5)


def test_information_of_responses_is_over_all_events(
    reference: Reference, window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    expected = club(fused(window), window.z_y, reference, "answer")
    assert estimates[Signal.MI_QUERY_RESPONSE].value == pytest.approx(expected, abs=1e-6)


def test_emi_is_the_difference_over_the_events_that_have_both(
    reference: Reference, window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    x = fused(window)[window.has_target]
    expected = club(x, window.z_y[window.has_target], reference, "answer") - club(
        x, window.z_target, reference, "answer"
    )
    assert estimates[Signal.EMI].value == pytest.approx(expected, abs=1e-6)


def test_agreement_is_of_the_events_with_images(
    reference: Reference, window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    expected = club(window.z_v, window.z_t[window.has_image], reference, "pairing")
    assert estimates[Signal.IMAGE_TEXT_AGREEMENT].value == pytest.approx(expected, abs=1e-6)


def test_emid_is_what_emi_fell_short_of_the_reference(
    reference: Reference, estimates: dict[Signal, Estimate]
) -> None:
    expected = reference.frozen.emi.value - estimates[Signal.EMI].value
    assert estimates[Signal.EMID].value == pytest.approx(expected)


def test_bounds_are_summed_as_published(
    reference: Reference, estimates: dict[Signal, Estimate]
) -> None:
    inputs = sum(
        estimates[s].value ** 0.5 for s in (Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY)
    )
    gaps = reference.frozen.output_gap**0.25 + estimates[Signal.OUTPUT_GAP].value ** 0.25
    found = [
        estimates[s].value
        for s in (Signal.INPUT_BOUND, Signal.EMID_BOUND_UNSCALED, Signal.EMID_BOUND)
    ]
    assert found == pytest.approx([inputs, inputs + gaps, ENTROPY_FACTOR * inputs + 4 * gaps])


def test_every_signal_counts_its_own_events(
    window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    n, images, targets = 90, int(window.has_image.sum()), int(window.has_target.sum())
    expected = dict.fromkeys(Signal, n)
    expected |= dict.fromkeys(
        (
            Signal.VISUAL_DISCREPANCY,
            Signal.IMAGE_TEXT_AGREEMENT,
            Signal.NOVELTY_VISUAL,
            Signal.IMAGE_LOGGING,
        ),
        images,
    )
    expected |= dict.fromkeys(
        (Signal.OUTPUT_GAP, Signal.MI_QUERY_TARGET, Signal.EMI, Signal.EMID), targets
    )
    assert {signal: e.n for signal, e in estimates.items()} == expected


def test_novelty_is_the_share_beyond_the_threshold(reference: Reference, window: Embedded) -> None:
    threshold = reference.frozen.novelty_thresholds[Modality.TEXTUAL]
    distances = np.full(90, threshold)
    distances[:9] = np.nextafter(threshold, 2)
    found = evaluate(
        reference.frozen, replace(window, novelty_t=distances), entropy_factor=ENTROPY_FACTOR
    )
    assert found[Signal.NOVELTY_TEXTUAL].value == pytest.approx(0.1)


def test_informations_have_the_interval_of_their_error(
    reference: Reference, estimates: dict[Signal, Estimate]
) -> None:
    emi, emid = estimates[Signal.EMI], estimates[Signal.EMID]
    for found in (emi, emid, estimates[Signal.MI_QUERY_RESPONSE]):
        reach = 1.96 * found.stderr
        expected = (found.value - reach, found.value + reach)
        assert (found.low, found.high) == pytest.approx(expected)
    assert emid.stderr == pytest.approx(math.hypot(emi.stderr, reference.frozen.emi.stderr))


def test_shares_have_the_intervals_of_clopper_and_pearson(
    window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    found, images = estimates[Signal.IMAGE_SHARE], int(window.has_image.sum())
    low, high = clopper_pearson(images, 90, 0.6827)
    assert found.stderr == pytest.approx((high - low) / 2, abs=1e-9)
    assert (found.low, found.high) == pytest.approx(clopper_pearson(images, 90, 0.95), abs=1e-9)


@pytest.mark.parametrize(
    ("known", "counts", "value", "grew", "interval"),
    [
        # Of 90 and 60 that are inline, all before: the interval is that of the others' share.
        ([300, 0, 0], [90, 60, 0], 0.4, 1, clopper_pearson(60, 150, 0.95)),
        ([300, 0, 0], [90, 30, 30], 0.4, 1, clopper_pearson(60, 150, 0.95)),
        ([150, 150, 0], [30, 45, 75], 0.5, 2, clopper_pearson(75, 150, 0.95)),
        ([150, 150, 0], [30, 120, 0], 0.3, 1, clopper_pearson(120, 150, 0.95) - np.array(0.5)),
        ([150, 150, 0], [75, 75, 0], 0.0, 0, (0, clopper_pearson(75, 150, 0.95)[1] - 0.5)),
    ],
)
def test_changed_logging_has_the_interval_of_the_state_that_moved_most(
    reference: Reference,
    known: list[int],
    counts: list[int],
    value: float,
    grew: int,
    interval: tuple[float, float],
) -> None:
    states = [*known, *[0] * (len(STATES) - 3)]
    frozen = replace(reference.frozen, image_states=np.array(states))
    events = traffic(160, seed=14)
    codes = np.repeat([NO_IMAGE, 0, 1, 2], [10, *counts]).astype(np.int8)
    found = logging_of(frozen, replace(events, image_state=codes))
    assert (found.n, found.value, found.terms) == (150, value, (STATES[grew].value,))
    assert found.counts[:3] == tuple(counts)
    assert (found.low, found.high) == pytest.approx(tuple(interval), abs=1e-9)


def test_the_image_share_of_a_window_without_images_is_an_honest_zero(
    reference: Reference,
) -> None:
    found = evaluate(
        reference.frozen, traffic(50, seed=3, image_share=0.0), entropy_factor=ENTROPY_FACTOR
    )
    assert found[Signal.IMAGE_SHARE].value == 0
    assert found[Signal.IMAGE_SHARE].stderr > 0


WITHOUT_IMAGES = {
    Signal.VISUAL_DISCREPANCY: NO_IMAGES,
    Signal.IMAGE_TEXT_AGREEMENT: NO_IMAGES,
    Signal.NOVELTY_VISUAL: NO_IMAGES,
    Signal.IMAGE_LOGGING: NO_IMAGES,
}
OF_TARGETS = (
    Signal.OUTPUT_GAP,
    Signal.MI_QUERY_TARGET,
    Signal.EMI,
    Signal.EMID,
    Signal.EMID_BOUND,
    Signal.EMID_BOUND_UNSCALED,
)


def reasons(reference: Reference, window: Embedded) -> dict[Signal, str | None]:
    found = evaluate(reference.frozen, near(reference, window), entropy_factor=ENTROPY_FACTOR)
    return {signal: e.reason for signal, e in found.items() if e.value is None}


def test_without_images_only_the_signals_of_images_are_absent(reference: Reference) -> None:
    assert reasons(reference, traffic(50, seed=4, image_share=0.0)) == WITHOUT_IMAGES


def test_without_targets_only_the_signals_of_targets_are_absent(reference: Reference) -> None:
    found = reasons(reference, traffic(50, seed=5, target_share=0.0))
    assert found == dict.fromkeys(OF_TARGETS, NO_TARGETS)


def test_a_bound_without_images_names_only_the_terms_it_has(reference: Reference) -> None:
    found = evaluate(
        reference.frozen, traffic(50, seed=6, image_share=0.0), entropy_factor=ENTROPY_FACTOR
    )
    assert found[Signal.INPUT_BOUND].terms == ("textual",)
    assert found[Signal.INPUT_BOUND].value == pytest.approx(
        found[Signal.TEXTUAL_DISCREPANCY].value ** 0.5
    )


def test_three_events_have_no_value_at_all(reference: Reference) -> None:
    found = reasons(reference, traffic(3, seed=7))
    assert found == dict.fromkeys(Signal, TOO_FEW_EVENTS)


def test_a_window_of_the_smallest_size_has_every_value(reference: Reference) -> None:
    assert reasons(reference, traffic(reference.frozen.smallest_window, seed=15)) == {}


def test_an_empty_window_has_no_value_at_all(reference: Reference) -> None:
    nothing = traffic(5, seed=8).take(np.array([], dtype=np.int64))
    assert set(reasons(reference, nothing)) == set(Signal)


def test_a_few_images_among_many_events_give_no_visual_value(reference: Reference) -> None:
    window = traffic(200, seed=9, image_share=0.05)
    assert reasons(reference, window)[Signal.VISUAL_DISCREPANCY] == TOO_FEW_EVENTS


def test_a_window_without_distances_says_so(reference: Reference, window: Embedded) -> None:
    found = evaluate(reference.frozen, window, entropy_factor=ENTROPY_FACTOR)
    assert found[Signal.NOVELTY_TEXTUAL].reason == NO_DISTANCES


def test_a_text_only_reference_says_nothing_about_images() -> None:
    text_only = reference_of(traffic(180, seed=10, image_share=0.0), null_draws=4)
    found = reasons(text_only, traffic(50, seed=11))
    assert found == dict.fromkeys(WITHOUT_IMAGES, REFERENCE_LACKS_IMAGES)


def test_a_reference_without_targets_says_nothing_about_answers() -> None:
    unlabelled = reference_of(traffic(180, seed=12, target_share=0.0), null_draws=4)
    found = reasons(unlabelled, traffic(50, seed=13))
    assert found == dict.fromkeys(OF_TARGETS, REFERENCE_LACKS_TARGETS)


def test_a_known_component_is_taken_over_and_enters_what_is_made_from_it(
    reference: Reference, window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    known = {Signal.VISUAL_DISCREPANCY: Estimate(63, 0.25)}
    found = evaluate(
        reference.frozen,
        near(reference, window),
        entropy_factor=ENTROPY_FACTOR,
        known=known,
    )
    textual = estimates[Signal.TEXTUAL_DISCREPANCY].value
    assert textual is not None
    assert found[Signal.VISUAL_DISCREPANCY] is known[Signal.VISUAL_DISCREPANCY]
    assert found[Signal.INPUT_BOUND].value == pytest.approx(0.5 + textual**0.5)


def test_the_order_of_events_does_not_matter(
    reference: Reference, window: Embedded, estimates: dict[Signal, Estimate]
) -> None:
    order = np.random.default_rng(1).permutation(len(window))
    found = evaluate(
        reference.frozen, near(reference, window).take(order), entropy_factor=ENTROPY_FACTOR
    )
    assert {s: e.value for s, e in found.items()} == pytest.approx(
        {s: e.value for s, e in estimates.items()}, rel=1e-5, abs=1e-6
    )
