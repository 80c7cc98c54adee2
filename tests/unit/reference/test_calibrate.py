"""Nulls from pseudo-windows, and verdicts at the window's own numbers of events."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.records import Modality, Signal, Verdict
from monitor.reference.artefact import Neighbourhood, Reference
from monitor.reference.calibrate import count_shares, draw_nulls, judge
from monitor.reference.embedded import Embedded
from monitor.reference.image_states import NO_IMAGE
from monitor.reference.signals import (
    COMPONENTS,
    NO_IMAGES,
    TOO_FEW_EVENTS,
    Estimate,
    evaluate,
    single_threaded,
)
from monitor.stats import BurnIn, Direction, ShareNull, decide, rank_score, share_score
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


def test_pseudo_windows_are_the_first_events_of_one_order_for_all_signals(
    reference: Reference, calibration: Embedded
) -> None:
    nulls = draw_nulls(reference.frozen, calibration, draws=3, seed=5)
    rng = np.random.default_rng(5)
    populations = {
        Signal.TEXTUAL_DISCREPANCY: np.ones(180, dtype=np.bool_),
        Signal.VISUAL_DISCREPANCY: calibration.has_image,
        Signal.EMI: calibration.has_target,
    }
    for draw in range(3):
        order = rng.permutation(180)
        for signal, mask in populations.items():
            rows = order[mask[order]][: nulls[signal].sizes[1]]
            expected = evaluate(reference.frozen, calibration.take(rows), entropy_factor=1.0)
            found = nulls[signal].draws[1, draw]
            assert found == pytest.approx(expected[signal].value, abs=1e-7)


def test_laws_of_shares_count_the_calibration_part(
    reference: Reference, calibration: Embedded
) -> None:
    lost = replace(calibration, image_state=np.where(calibration.has_image, 0, 3).astype(np.int8))
    lost.image_state[:10] = NO_IMAGE
    carries = int((lost.image_state != NO_IMAGE).sum())
    with_distances = near(reference, calibration)
    thresholds = reference.frozen.novelty_thresholds
    novel = {
        m: int((z > thresholds[m]).sum())
        for m, z in (
            (Modality.VISUAL, with_distances.novelty_v),
            (Modality.TEXTUAL, with_distances.novelty_t),
        )
    }
    neighbourhood = Neighbourhood.of(reference.density, reference.density_positions, None)
    assert count_shares(reference.frozen, lost, neighbourhood) == {
        Signal.IMAGE_SHARE: ShareNull(carries, 180),
        Signal.NOVELTY_VISUAL: ShareNull(novel[Modality.VISUAL], len(calibration.z_v)),
        Signal.NOVELTY_TEXTUAL: ShareNull(novel[Modality.TEXTUAL], 180),
    }


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
    nulls = draw_nulls(
        reference.frozen, calibration, draws=3, seed=5, progress=lambda *step: steps.append(step)
    )
    of_populations = (Signal.TEXTUAL_DISCREPANCY, Signal.VISUAL_DISCREPANCY, Signal.EMI)
    total = 3 * sum(len(nulls[signal].sizes) for signal in of_populations)
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


def test_the_null_of_the_bound_has_the_gaps_and_the_entropy_factor(reference: Reference) -> None:
    window = traffic(90, seed=5, image_share=0.6, target_share=0.5)
    estimates = evaluate(reference.frozen, near(reference, window), entropy_factor=3.0)
    visual, textual, gap = (
        np.clip(reference.nulls[signal].at(n), 0, None)
        for signal, n in (
            (Signal.VISUAL_DISCREPANCY, len(window.z_v)),
            (Signal.TEXTUAL_DISCREPANCY, 90),
            (Signal.OUTPUT_GAP, len(window.z_target)),
        )
    )
    gaps = reference.frozen.output_gap**0.25 + gap**0.25
    draws = 3 * (np.sqrt(visual) + np.sqrt(textual)) + 4 * gaps
    expected = decide(
        estimates[Signal.EMID_BOUND].value, draws, direction=Direction.HIGH, alpha=ALPHA, n=90
    )
    found = judge(reference, estimates, ALPHA, entropy_factor=3.0)[Signal.EMID_BOUND]
    assert (found.null_mean, found.threshold, found.p_value) == pytest.approx(
        (expected.null_mean, expected.threshold, expected.p_value)
    )


def with_past_windows(
    reference: Reference, signal: Signal, values: np.ndarray
) -> tuple[Reference, np.ndarray]:
    """The signal judged by healthy windows of 60 with these values, and what they are at 90."""
    burn_in = BurnIn.of(reference.nulls[signal], np.full(len(values), 60), values)
    return replace(reference, nulls={**reference.nulls, signal: burn_in}), np.asarray(
        burn_in.at(90)
    )


def test_past_windows_of_two_parts_are_put_together_window_by_window(reference: Reference) -> None:
    rng, window = np.random.default_rng(6), traffic(90, seed=5)
    visual, textual = rng.uniform(0.01, 0.03, (2, 8))
    visual[2] = textual[4] = np.nan
    visual[5] = -0.01  # as low as widening can push what is never below 0
    past, of_visual = with_past_windows(reference, Signal.VISUAL_DISCREPANCY, visual)
    past, of_textual = with_past_windows(past, Signal.TEXTUAL_DISCREPANCY, textual)
    expected = np.nanmean(np.sqrt(of_visual.clip(0)) + np.sqrt(of_textual.clip(0)))
    assert judged(past, window, ALPHA)[Signal.INPUT_BOUND].null_mean == pytest.approx(expected)


def test_a_part_of_past_windows_and_one_of_draws_rise_and_fall_together(
    reference: Reference,
) -> None:
    values = np.append(np.random.default_rng(7).uniform(0.01, 0.03, 7), np.nan)
    past, of_visual = with_past_windows(reference, Signal.VISUAL_DISCREPANCY, values)
    draws = np.asarray(reference.nulls[Signal.TEXTUAL_DISCREPANCY].at(90)).clip(0)
    levels = (np.arange(8) + 0.5) / 8
    bounds = sum(np.sqrt(np.quantile(part, levels)) for part in (of_visual[:7].clip(0), draws))
    found = judged(past, traffic(90, seed=5), ALPHA)[Signal.INPUT_BOUND]
    assert found.null_mean == pytest.approx(bounds.mean())
    assert found.p_value == (1 + (bounds >= found.value).sum()) / 9


@pytest.mark.parametrize(
    ("signal", "side"),
    [
        (Signal.TEXTUAL_DISCREPANCY, 1),
        (Signal.MI_QUERY_RESPONSE, -1),
        (Signal.IMAGE_TEXT_AGREEMENT, -1),
    ],
)
def test_a_score_is_a_rank_in_the_null_moved_by_what_the_reference_may_be_off(
    reference: Reference, signal: Signal, side: int
) -> None:
    estimates = evaluate(reference.frozen, traffic(60, seed=10), entropy_factor=1.0)
    null = reference.nulls[signal]
    moved = null.at(60) + side * 2.5 * null.centre_error(60)
    for value in np.quantile(moved, [0.1, 0.5, 0.9]) + 1e-9:
        judgements = judge(
            reference, {**estimates, signal: Estimate(60, value)}, ALPHA, entropy_factor=1.0
        )
        expected = side * ((moved < value).sum() - (moved > value).sum()) / 21
        assert judgements[signal].scores == (pytest.approx(expected),)


def test_scores_of_what_is_made_of_others_are_moved_by_their_parts(reference: Reference) -> None:
    found = judged(reference, traffic(60, seed=10), ALPHA)
    assert found[Signal.EMID].scores == found[Signal.EMI].scores
    parts = []
    for signal in (Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY):
        null = reference.nulls[signal]
        parts.append(np.sqrt((null.at(60) + 2.5 * null.centre_error(60)).clip(0)))
    bound = found[Signal.INPUT_BOUND]
    assert bound.scores == (rank_score(sum(parts), bound.value),)


def test_scores_of_shares_allow_for_the_reference_on_every_side_that_counts(
    reference: Reference,
) -> None:
    window = traffic(60, seed=10, image_share=0.7)
    found, images = judged(reference, window, ALPHA), int(window.has_image.sum())
    law = reference.share_nulls[Signal.IMAGE_SHARE]
    up, down = (share_score(law, images, 60, tolerance=t) for t in (2.5, -2.5))
    assert found[Signal.IMAGE_SHARE].scores == (up, -down)
    novelty, novel = found[Signal.NOVELTY_TEXTUAL], reference.share_nulls[Signal.NOVELTY_TEXTUAL]
    count = round(novelty.value * 60)
    assert novelty.scores == (share_score(novel, count, 60, tolerance=2.5),)
    states = reference.states_null
    assert found[Signal.IMAGE_LOGGING].scores == (states.score(0.0, images, tolerance=2.5),)


def test_a_share_is_judged_by_whole_events(reference: Reference) -> None:
    share = Estimate(100, 0.29)  # 28.999999999999996 of 100
    (found,) = judge(reference, {Signal.IMAGE_SHARE: share}, ALPHA, entropy_factor=1.0).values()
    law = reference.share_nulls[Signal.IMAGE_SHARE]
    expected = law.decide(29, 100, direction=Direction.BOTH, alpha=ALPHA)
    assert (found.p_value, found.scores[0]) == (
        expected.p_value,
        share_score(law, 29, 100, tolerance=2.5),
    )


def test_a_value_without_a_null_is_not_judged(reference: Reference) -> None:
    bare = replace(reference, nulls={}, states_null=None)
    estimates = evaluate(reference.frozen, traffic(60, seed=10), entropy_factor=1.0)
    found = judge(bare, estimates, ALPHA, entropy_factor=1.0)
    assert {j.verdict for s, j in found.items() if s not in reference.share_nulls} == {
        Verdict.INSUFFICIENT
    }


def test_a_judgement_carries_what_was_estimated(reference: Reference) -> None:
    estimates = evaluate(reference.frozen, traffic(60, seed=10), entropy_factor=1.0)
    known = Estimate(60, 0.25, stderr=0.02, low=0.2, high=0.3, terms=("textual",))
    found = judge(
        reference, {**estimates, Signal.TEXTUAL_DISCREPANCY: known}, ALPHA, entropy_factor=1.0
    )[Signal.TEXTUAL_DISCREPANCY]
    assert (found.n, found.value, found.stderr, found.low, found.high, found.terms) == (
        60,
        0.25,
        0.02,
        0.2,
        0.3,
        ("textual",),
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
