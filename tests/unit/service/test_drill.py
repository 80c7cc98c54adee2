"""Windows with known shifts: how they are composed and what is found in them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from monitor.records import Modality, Signal, Verdict
from monitor.reference.artefact import Neighbourhood, Reference
from monitor.reference.embedded import Embedded
from monitor.service.drill import (
    DrillRules,
    Outcome,
    drill,
    mixed,
    smallest_fraction,
    windows_until_detected,
)
from monitor.service.drill_events import KINDS, Pool, Shift, shifts_of, swapped
from monitor.service.drill_evidence import Wait, Waits
from monitor.simulate.traffic import DriftKind
from monitor.stats.novelty import share
from tests.populations import judged, near, reference_of, traffic

BLUR, TYPOS = Shift(DriftKind.BLUR, 5), Shift(DriftKind.TYPOS, 5)
SHUFFLED, WRONG = Shift(DriftKind.SHUFFLED_ANSWERS), Shift(DriftKind.WRONG_IMAGE)
WORSE = Shift(DriftKind.WORSE_RESPONDER, 3)
SHIFTS = [BLUR, TYPOS, WORSE, SHUFFLED, WRONG]
ALPHA = 0.02
FRACTIONS = (0.2, 1.0)
TRIALS = 12
WINDOW = 120


def quiet(stage: str, done: int, total: int) -> None:
    del stage, done, total


def packed(z: np.ndarray) -> list[bytes | None]:
    return [row.astype("<f2").tobytes() for row in z]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(800, seed=1, skill=0.9), null_draws=100)


@pytest.fixture(scope="module")
def pool(reference: Reference) -> Pool:
    clean, spoilt = (
        traffic(500, seed=2, skill=0.9, image_shift=s, text_shift=s) for s in (0.0, 0.6)
    )
    return Pool(
        clean=near(reference, clean),
        packed={BLUR: packed(spoilt.z_v), TYPOS: packed(spoilt.z_t)},
        neighbourhood=Neighbourhood.of(reference.density, reference.density_positions, None),
        seed=0,
    )


@pytest.fixture(scope="module")
def rules() -> DrillRules:
    return DrillRules(WINDOW, TRIALS, FRACTIONS, ALPHA, entropy_factor=10.0, seed=3)


@pytest.fixture(scope="module")
def outcomes(reference: Reference, pool: Pool, rules: DrillRules) -> list[Outcome]:
    return drill(pool, SHIFTS, reference, rules, quiet)


def found(outcomes: Sequence[Outcome], shift: Shift, fraction: float = 1.0) -> set[Signal]:
    (outcome,) = (o for o in outcomes if o.shift == shift and o.fraction == fraction)
    return {signal for signal in outcome.alarms if outcome.is_found(signal)}


def numbered(n: int, first: int) -> Embedded:
    z = np.eye(2 * n, dtype=np.float32)[first : first + n]
    everywhere = np.ones(n, dtype=np.bool_)
    return Embedded(tuple(str(first + i) for i in range(n)), z, z, z, everywhere, z, everywhere)


@pytest.fixture
def both() -> Embedded:
    clean, shifted = numbered(10, 0), numbered(10, 10)
    columns = ("z_t", "z_y", "z_v", "has_image", "z_target", "has_target")
    joined = {c: np.concatenate((getattr(clean, c), getattr(shifted, c))) for c in columns}
    return Embedded(ids=clean.ids + shifted.ids, **joined)


def test_the_first_fraction_of_a_window_is_shifted_and_the_rest_is_as_it_was(
    both: Embedded,
) -> None:
    rows = np.array([7, 1, 3, 0, 9])
    assert mixed(both, rows, 0.4).ids == ("17", "11", "3", "0", "9")


def test_a_larger_fraction_holds_the_events_of_a_smaller_one(both: Embedded) -> None:
    rows = np.array([7, 1, 3, 0, 9])
    small, large = (mixed(both, rows, f).ids for f in (0.4, 0.8))
    assert {i for i in small if int(i) >= 10} < {i for i in large if int(i) >= 10}


def test_the_smallest_fraction_still_hits_one_event(both: Embedded) -> None:
    assert mixed(both, np.array([7, 1, 3]), 0.001).ids == ("17", "1", "3")


def test_a_window_wholly_shifted_has_no_clean_event(both: Embedded) -> None:
    assert mixed(both, np.arange(10), 1.0).ids == tuple(str(i) for i in range(10, 20))


def test_every_kind_with_degrees_comes_at_each_strength_and_the_others_once() -> None:
    shifts = shifts_of(KINDS, [5, 1, 5])
    assert len(shifts) == 10 * 2 + 2
    assert shifts[:2] == [Shift(DriftKind.BLUR, 1), Shift(DriftKind.BLUR, 5)]
    assert shifts[-2:] == [SHUFFLED, WRONG]


def test_shuffled_answers_are_the_same_answers_and_nobody_keeps_his_own(pool: Pool) -> None:
    shuffled = pool.shifted(SHUFFLED)
    assert not (shuffled.z_y == pool.clean.z_y).all(axis=1).any()
    assert sorted(map(bytes, shuffled.z_y)) == sorted(map(bytes, pool.clean.z_y))
    assert shuffled.z_t is pool.clean.z_t


def test_worse_answers_are_the_same_answers_and_nobody_keeps_his_own(pool: Pool) -> None:
    worse = pool.shifted(WORSE)
    assert not (worse.z_y == pool.clean.z_y).all(axis=1).any()
    assert sorted(map(bytes, worse.z_y)) == sorted(map(bytes, pool.clean.z_y))
    assert worse.z_t is pool.clean.z_t


def test_worse_answers_come_from_queries_that_are_nearer_at_less_strength(pool: Pool) -> None:
    x = pool.clean.fused()
    apart = [
        np.linalg.norm(x - x[swapped(pool.clean, reach, seed=0)], axis=1).mean()
        for reach in (1, 16, 256)
    ]
    assert apart == sorted(apart)
    assert apart[0] < 0.8 * apart[-1]


def test_two_that_were_answered_alike_do_not_swap() -> None:
    x = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0]], dtype=np.float32)
    z_y = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=np.float32)
    none = np.zeros(4, dtype=np.bool_)
    events = Embedded(tuple("abcd"), x, z_y, x[:0], none, z_y[:0], none)
    assert {frozenset((i, int(j))) for i, j in enumerate(swapped(events, 1, seed=0))} in (
        {frozenset((0, 2)), frozenset((1, 3))},
        {frozenset((0, 3)), frozenset((1, 2))},
    )


def test_a_wrong_image_brings_its_own_distance_along(pool: Pool) -> None:
    wrong = pool.shifted(WRONG)
    assert not (wrong.z_v == pool.clean.z_v).all(axis=1).any()
    distances = pool.neighbourhood.distances(Modality.VISUAL, wrong.z_v)
    assert wrong.novelty_v == pytest.approx(distances)


def test_shifted_images_are_searched_for_in_the_reference_anew(pool: Pool) -> None:
    shifted = pool.shifted(BLUR)
    distances = pool.neighbourhood.distances(Modality.VISUAL, shifted.z_v)
    assert shifted.novelty_v == pytest.approx(distances)
    assert shifted.novelty_t is pool.clean.novelty_t


def test_undrifted_windows_come_first_and_each_shift_at_ascending_fractions(
    outcomes: list[Outcome],
) -> None:
    assert [(o.shift, o.fraction) for o in outcomes] == [
        (None, 0.0),
        *((shift, fraction) for shift in SHIFTS for fraction in FRACTIONS),
    ]


def test_undrifted_windows_alarm_no_more_often_than_accepted(outcomes: list[Outcome]) -> None:
    # Fails by chance once in a million runs per signal if the rate is exactly alpha.
    limit = binom.ppf(1 - 1e-6, TRIALS, ALPHA)
    assert len(outcomes[0].alarms) == len(Signal)
    assert all(alarms <= limit for alarms in outcomes[0].alarms.values())


def test_blurred_images_are_found_by_images_and_not_by_texts(outcomes: list[Outcome]) -> None:
    assert Signal.VISUAL_DISCREPANCY in found(outcomes, BLUR)
    assert not {Signal.TEXTUAL_DISCREPANCY, Signal.NOVELTY_TEXTUAL} & found(outcomes, BLUR)


def test_typos_are_found_by_texts_and_not_by_images(outcomes: list[Outcome]) -> None:
    assert Signal.TEXTUAL_DISCREPANCY in found(outcomes, TYPOS)
    assert not {Signal.VISUAL_DISCREPANCY, Signal.NOVELTY_VISUAL} & found(outcomes, TYPOS)


def test_shuffled_answers_are_found_by_information_and_not_by_discrepancies(
    outcomes: list[Outcome],
) -> None:
    signals = found(outcomes, SHUFFLED)
    assert {Signal.MI_QUERY_RESPONSE, Signal.EMI} <= signals
    assert not {Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY} & signals


def test_worse_answers_are_found_by_information_and_not_by_discrepancies(
    outcomes: list[Outcome],
) -> None:
    signals = found(outcomes, WORSE)
    assert {Signal.MI_QUERY_RESPONSE, Signal.EMI} <= signals
    assert not {s for s in signals if "discrepancy" in s.value}


def test_wrong_images_are_found_by_the_agreement_of_image_and_text(
    outcomes: list[Outcome],
) -> None:
    signals = found(outcomes, WRONG)
    assert Signal.IMAGE_TEXT_AGREEMENT in signals
    assert not {Signal.VISUAL_DISCREPANCY, Signal.TEXTUAL_DISCREPANCY} & signals


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_what_is_not_computed_again_would_have_come_out_the_same(
    shift: Shift, reference: Reference, pool: Pool, rules: DrillRules, outcomes: list[Outcome]
) -> None:
    shifted, draws = pool.shifted(shift), np.random.default_rng(rules.seed)
    alarms = dict.fromkeys(Signal, 0)
    for _ in range(rules.trials):
        whole = shifted.take(draws.permutation(len(pool.clean))[: rules.window])
        for signal, judgement in judged(reference, whole, ALPHA).items():
            alarms[signal] += judgement.verdict is Verdict.DRIFTING
    (outcome,) = (o for o in outcomes if o.shift == shift and o.fraction == 1.0)
    assert outcome.alarms == alarms


def test_equal_seeds_give_equal_outcomes(
    reference: Reference, pool: Pool, rules: DrillRules, outcomes: list[Outcome]
) -> None:
    again = drill(pool, [BLUR], reference, rules, quiet)
    assert again == outcomes[: len(again)]


def test_windows_without_targets_report_no_signal_of_targets(
    reference: Reference, pool: Pool, rules: DrillRules
) -> None:
    none = np.zeros(len(pool.clean), dtype=np.bool_)
    clean = replace(pool.clean, z_target=pool.clean.z_target[:0], has_target=none)
    few = replace(rules, trials=2, fractions=(1.0,))
    undrifted, shuffled = drill(replace(pool, clean=clean), [SHUFFLED], reference, few, quiet)
    assert Signal.EMI not in shuffled.alarms
    assert undrifted.alarms.keys() == shuffled.alarms.keys()


def test_the_expected_delay_is_one_over_the_power_and_unknown_without_alarms() -> None:
    assert windows_until_detected(share(10, 40)) == 4
    assert windows_until_detected(share(0, 40)) is None


def test_the_smallest_fraction_is_the_first_with_enough_power() -> None:
    emi, never = Signal.EMI, Wait(0.0, None)
    waits = Waits({emi: never}, persistent=never, noticed=never)
    of_one = [
        Outcome(BLUR, fraction, 10, {emi: alarms}, alarms + 1, waits)
        for fraction, alarms in ((0.1, 6), (0.3, 7), (1.0, 8))
    ]
    assert smallest_fraction(of_one, emi) == 1.0
    assert smallest_fraction(of_one) == 0.3
    assert smallest_fraction(of_one[:1], emi) is None
