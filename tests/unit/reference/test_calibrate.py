"""Nulls from pseudo-windows, and verdicts at the window's own numbers of events."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.records import Signal, Verdict
from monitor.reference.artefact import Reference
from monitor.reference.calibrate import draw_nulls, judge
from monitor.reference.embedded import Embedded
from monitor.reference.signals import (
    COMPONENTS,
    NO_IMAGES,
    TOO_FEW_EVENTS,
    Estimate,
    evaluate,
    single_threaded,
)
from tests.populations import judged, near, reference_of, traffic

ALPHA = 0.01


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(360, seed=1, image_share=0.8, target_share=0.7), null_draws=20)


@pytest.fixture(scope="module")
def calibration() -> Embedded:
    return traffic(180, seed=2, image_share=0.8, target_share=0.7)


def test_a_draw_is_the_signal_of_its_pseudo_window(
    reference: Reference, calibration: Embedded
) -> None:
    nulls = draw_nulls(reference.frozen, calibration, draws=3, seed=5)
    whole = evaluate(reference.frozen, calibration, entropy_factor=1.0)
    assert {s: null.whole for s, null in nulls.items()} == pytest.approx(
        {s: whole[s].value for s in COMPONENTS}
    )


def test_every_population_has_a_grid_up_to_half_of_itself(
    reference: Reference, calibration: Embedded
) -> None:
    nulls = draw_nulls(reference.frozen, calibration, draws=3, seed=5)
    counts = {
        Signal.TEXTUAL_DISCREPANCY: 180,
        Signal.VISUAL_DISCREPANCY: int(calibration.has_image.sum()),
        Signal.EMI: int(calibration.has_target.sum()),
    }
    grids = {s: (nulls[s].sizes[0], nulls[s].sizes[-1], nulls[s].pool) for s in counts}
    assert grids == {s: (20, n // 2, n) for s, n in counts.items()}


def test_draws_do_not_depend_on_the_number_of_workers(
    reference: Reference, calibration: Embedded
) -> None:
    with single_threaded():
        one, three = (
            draw_nulls(reference.frozen, calibration, draws=4, seed=5, workers=w) for w in (1, 3)
        )
    for signal, null in one.items():
        np.testing.assert_array_equal(null.draws, three[signal].draws)


def test_progress_counts_every_draw_once(reference: Reference, calibration: Embedded) -> None:
    steps: list[tuple[str, int, int]] = []
    draw_nulls(
        reference.frozen, calibration, draws=3, seed=5, progress=lambda *step: steps.append(step)
    )
    total = len(steps)
    assert steps == [("nulls", i + 1, total) for i in range(total)]


def test_a_window_is_judged_by_the_null_at_its_own_number_of_events(reference: Reference) -> None:
    window = traffic(70, seed=3, image_share=0.6, target_share=0.5)
    found = judged(reference, window, ALPHA)
    expected = {
        s: reference.nulls[s].at(n).mean()
        for s, n in (
            (Signal.VISUAL_DISCREPANCY, len(window.z_v)),
            (Signal.TEXTUAL_DISCREPANCY, 70),
            (Signal.EMI, len(window.z_target)),
        )
    }
    assert {s: found[s].null_mean for s in expected} == pytest.approx(expected)


def test_the_null_of_emid_mirrors_that_of_emi(reference: Reference) -> None:
    found = judged(reference, traffic(70, seed=4), ALPHA)
    emi, emid = found[Signal.EMI], found[Signal.EMID]
    assert emid.threshold == pytest.approx(reference.frozen.emi.value - emi.threshold)
    assert emid.p_value == emi.p_value


def test_the_null_of_a_bound_is_summed_from_its_parts_at_their_own_n(reference: Reference) -> None:
    window = traffic(90, seed=5, image_share=0.5)
    draws = [
        reference.nulls[Signal.VISUAL_DISCREPANCY].at(len(window.z_v)),
        reference.nulls[Signal.TEXTUAL_DISCREPANCY].at(90),
    ]
    expected = sum(np.sqrt(np.clip(d, 0, None)) for d in draws).mean()
    assert judged(reference, window, ALPHA)[Signal.INPUT_BOUND].null_mean == pytest.approx(expected)


def test_a_bound_without_images_has_a_null_without_images(reference: Reference) -> None:
    found = judged(reference, traffic(90, seed=6, image_share=0.0), ALPHA)
    draws = reference.nulls[Signal.TEXTUAL_DISCREPANCY].at(90)
    assert found[Signal.INPUT_BOUND].terms == ("textual",)
    assert found[Signal.INPUT_BOUND].null_mean == pytest.approx(
        np.sqrt(np.clip(draws, 0, None)).mean()
    )


def test_what_has_no_value_is_insufficient_for_the_reason_given(reference: Reference) -> None:
    found = judged(reference, traffic(60, seed=7, image_share=0.0), ALPHA)[
        Signal.VISUAL_DISCREPANCY
    ]
    assert (found.verdict, found.value, found.reason) == (Verdict.INSUFFICIENT, None, NO_IMAGES)


def test_nothing_is_said_of_three_events(reference: Reference) -> None:
    found = judged(reference, traffic(3, seed=8), ALPHA)
    assert {(j.verdict, j.value, j.reason) for j in found.values()} == {
        (Verdict.INSUFFICIENT, None, TOO_FEW_EVENTS)
    }


def test_every_other_judgement_is_complete(reference: Reference) -> None:
    found = judged(reference, traffic(60, seed=9), ALPHA)
    numbers = [
        (j.value, j.null_mean, j.threshold, j.excess_ratio, j.p_value) for j in found.values()
    ]
    assert len(numbers) == len(Signal)
    assert np.isfinite(np.array(numbers, dtype=float)).all()


@pytest.mark.parametrize(
    ("signal", "sign"),
    [
        (Signal.TEXTUAL_DISCREPANCY, 1),
        (Signal.OUTPUT_GAP, 1),
        (Signal.EMI, -1),
        (Signal.MI_QUERY_RESPONSE, -1),
        (Signal.IMAGE_TEXT_AGREEMENT, -1),
    ],
)
def test_a_signal_drifts_on_its_own_side_only(
    reference: Reference, signal: Signal, sign: int
) -> None:
    estimates = evaluate(reference.frozen, traffic(60, seed=10), entropy_factor=1.0)
    null = reference.nulls[signal].at(60)
    verdicts = []
    for side in (sign, -sign):
        value = null.mean() + side * 30 * null.std()
        moved = {**estimates, signal: Estimate(60, value)}
        verdicts.append(judge(reference, moved, ALPHA, entropy_factor=1.0)[signal].verdict)
    assert verdicts == [Verdict.DRIFTING, Verdict.IN_CONTROL]


@pytest.mark.parametrize("image_share", [0.45, 1.0])
def test_the_image_share_drifts_on_both_sides(reference: Reference, image_share: float) -> None:
    window = traffic(150, seed=11, image_share=image_share)
    assert judged(reference, window, ALPHA)[Signal.IMAGE_SHARE].verdict is Verdict.DRIFTING


def test_new_kinds_of_texts_are_novel(reference: Reference) -> None:
    window = near(reference, traffic(60, seed=12))
    far = replace(window, novelty_t=window.novelty_t + 1)
    estimates = evaluate(reference.frozen, far, entropy_factor=1.0)
    found = judge(reference, estimates, ALPHA, entropy_factor=1.0)
    assert found[Signal.NOVELTY_TEXTUAL].verdict is Verdict.DRIFTING
    assert found[Signal.NOVELTY_VISUAL].verdict is Verdict.IN_CONTROL
