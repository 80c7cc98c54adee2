"""Images that are lost on their way into the log are told apart from drift."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.records import ImageState, Signal, Verdict
from monitor.reference.artefact import Reference, digest_of
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.comparable import (
    LOGGING_CHANGED,
    comparable,
    comparable_estimates,
    comparable_rows,
)
from monitor.reference.embedded import Embedded
from monitor.reference.image_states import STATES, named_counts, state_of
from monitor.reference.recalibration import redrawn, with_burn_in
from monitor.reference.removal import without
from monitor.reference.shares import split_signals
from monitor.reference.signals import NO_STATES, REFERENCE_LACKS_STATES, evaluate, single_threaded
from monitor.reference.uncertainty import evaluate_with_errors
from tests.populations import ENCODER, built_from, judged, loaded, near, reference_of, traffic

ALPHA = 1e-4
TRUNCATED = STATES.index(ImageState.TRUNCATED)
URL = STATES.index(ImageState.URL)
OF_IMAGES = {Signal.VISUAL_DISCREPANCY, Signal.IMAGE_TEXT_AGREEMENT, Signal.NOVELTY_VISUAL}


def losing(events: Embedded, share: float, seed: int = 0) -> Embedded:
    """The same exchanges, a share of whose images the log has truncated."""
    is_lost = events.has_image & (np.random.default_rng(seed).random(len(events)) < share)
    assert events.image_state is not None
    return replace(
        events,
        z_v=events.z_v[~is_lost[events.has_image]],
        has_image=events.has_image & ~is_lost,
        image_state=np.where(is_lost, TRUNCATED, events.image_state).astype(np.int8),
    )


def moved(events: Embedded, state: int) -> Embedded:
    """The same exchanges with their images, logged in another way."""
    states = np.where(events.has_image, state, -1).astype(np.int8)
    return replace(events, image_state=states)


def measured(
    reference: Reference, window: Embedded, alpha: float = ALPHA
) -> dict[Signal, Judgement]:
    """As the daemon does it."""
    with single_threaded():
        events = near(reference, window)
        known = comparable_estimates(reference, events, alpha=alpha)
        found = evaluate_with_errors(reference.frozen, events, entropy_factor=10.0, known=known)
        return judge(reference, found, alpha, entropy_factor=10.0)


def drifting(found: dict[Signal, Judgement]) -> set[Signal]:
    return {signal for signal, j in found.items() if j.verdict is Verdict.DRIFTING}


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(traffic(600, seed=1, image_share=0.8, target_share=0.9), null_draws=60)


@pytest.fixture(scope="module")
def losing_reference() -> Reference:
    events = traffic(600, seed=1, image_share=0.8, target_share=0.9)
    return reference_of(losing(events, 0.4), null_draws=60)


@pytest.fixture(scope="module")
def window() -> Embedded:
    return traffic(200, seed=2, image_share=0.8, target_share=0.9)


def test_calm_logging_is_calm_and_thins_nothing(reference: Reference, window: Embedded) -> None:
    assert drifting(measured(reference, window)) == set()
    assert comparable_estimates(reference, near(reference, window), alpha=ALPHA) == {}


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_images_lost_in_the_log_are_changed_logging_and_no_drift(
    reference: Reference, window: Embedded, share: float
) -> None:
    assert drifting(measured(reference, losing(window, share))) == {Signal.IMAGE_LOGGING}


def test_lost_images_move_what_asks_q_unless_they_are_thinned(
    reference: Reference, window: Embedded
) -> None:
    calm, all_of_them, comparable_part = (
        of(reference, events, ALPHA)[Signal.MI_QUERY_RESPONSE]
        for of, events in (
            (judged, window),
            (judged, losing(window, 0.5)),
            (measured, losing(window, 0.5)),
        )
    )
    assert abs(all_of_them.value - calm.value) > 3 * calm.stderr
    assert abs(comparable_part.value - calm.value) < 2 * comparable_part.stderr


def test_images_that_are_no_longer_lost_are_no_drift(
    losing_reference: Reference, window: Embedded
) -> None:
    assert drifting(measured(losing_reference, losing(window, 0.4, seed=3))) == set()
    assert drifting(measured(losing_reference, window)) == {Signal.IMAGE_LOGGING}


def test_where_all_images_are_lost_the_reason_says_so_and_texts_are_still_judged(
    reference: Reference, window: Embedded
) -> None:
    found = measured(reference, losing(window, 1.0))
    of_answers = {Signal.MI_QUERY_RESPONSE, Signal.MI_QUERY_TARGET, Signal.EMI, Signal.EMID}
    silent = {s: j.reason for s, j in found.items() if j.verdict is Verdict.INSUFFICIENT}
    assert set(silent) == OF_IMAGES | of_answers
    assert all(reason.startswith(LOGGING_CHANGED) for reason in silent.values())


def test_a_drift_of_texts_is_found_while_all_images_are_lost(reference: Reference) -> None:
    window = losing(traffic(200, seed=4, image_share=0.8, text_shift=0.5), 1.0)
    assert Signal.TEXTUAL_DISCREPANCY in drifting(measured(reference, window))


def test_a_drift_of_images_is_found_while_half_are_lost(reference: Reference) -> None:
    window = losing(traffic(200, seed=4, image_share=0.8, image_shift=0.5), 0.5)
    assert drifting(measured(reference, window)) >= {
        Signal.VISUAL_DISCREPANCY,
        Signal.IMAGE_LOGGING,
    }


def test_a_drift_of_images_is_no_change_of_logging(reference: Reference) -> None:
    window = traffic(200, seed=4, image_share=0.8, image_shift=0.5)
    found = drifting(measured(reference, window))
    assert Signal.VISUAL_DISCREPANCY in found
    assert Signal.IMAGE_LOGGING not in found


def test_lost_images_are_counted_in_the_image_share_and_missing_ones_are_not(
    reference: Reference, window: Embedded
) -> None:
    whole = judged(reference, window, ALPHA)[Signal.IMAGE_SHARE]
    lost = judged(reference, losing(window, 1.0), ALPHA)[Signal.IMAGE_SHARE]
    assert (lost.value, lost.verdict) == (whole.value, Verdict.IN_CONTROL)
    missing = judged(reference, traffic(200, seed=5, image_share=0.3), ALPHA)[Signal.IMAGE_SHARE]
    assert missing.verdict is Verdict.DRIFTING


def test_images_logged_otherwise_but_seen_are_all_compared(
    reference: Reference, window: Embedded
) -> None:
    events = near(reference, moved(window, URL))
    found = measured(reference, events)
    assert drifting(found) == {Signal.IMAGE_LOGGING}
    assert found[Signal.IMAGE_LOGGING].terms == ("url",)
    assert comparable_estimates(reference, events, alpha=ALPHA) == {}


def kinds(events: Embedded) -> np.ndarray:
    """Exchanges that lost their image, have it, and came without one."""
    carried = events.carries_image
    return np.array([(carried & ~events.has_image).sum(), events.has_image.sum(), (~carried).sum()])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.8])
@pytest.mark.parametrize("r", [0.0, 0.3, 0.4])
def test_what_is_kept_loses_as_many_images_as_the_reference_and_carries_as_many_as_the_window(
    reference: Reference, window: Embedded, r: float, share: float
) -> None:
    events, frozen = losing(window, share), replace(reference.frozen, lost_share=r)
    all_lost, all_seen, all_none = kinds(events)
    lost, seen, none = kinds(events.take(comparable(frozen, events)))
    # As near to the shares wanted as whole exchanges are, and as many as there can be.
    assert abs(lost - r * (lost + seen)) <= 0.5
    assert abs(none - all_none * (lost + seen) / (all_lost + all_seen)) <= 0.5
    assert seen == all_seen if all_lost > r * (all_lost + all_seen) else lost == all_lost


def test_of_a_window_without_any_image_all_is_kept(reference: Reference) -> None:
    assert comparable(reference.frozen, traffic(30, seed=7, image_share=0.0)).all()


def test_what_is_kept_is_a_matter_of_ids_and_not_of_places(
    losing_reference: Reference, window: Embedded
) -> None:
    events = losing(window, 0.8)
    order = np.random.default_rng(1).permutation(len(events))
    one, other = (
        set(e.take(comparable(losing_reference.frozen, e)).ids)
        for e in (events, events.take(order))
    )
    assert one == other


def test_a_reference_built_before_states_were_recorded_says_so(window: Embedded) -> None:
    old = replace(traffic(300, seed=1, image_share=0.8), image_state=None)
    built = built_from(old)
    found = judged(loaded(built), losing(window, 1.0), ALPHA)
    assert "image_state" not in built.arrays
    assert found[Signal.IMAGE_LOGGING].reason == REFERENCE_LACKS_STATES
    assert found[Signal.IMAGE_SHARE].value == 0  # as it meant then: images that were seen


def test_a_window_without_states_says_so(reference: Reference, window: Embedded) -> None:
    bare = replace(window, image_state=None)
    found = evaluate(reference.frozen, bare, entropy_factor=10.0)
    assert found[Signal.IMAGE_LOGGING].reason == NO_STATES


def test_states_survive_storage_and_the_removal_of_exchanges() -> None:
    events = losing(traffic(300, seed=1, image_share=0.8), 0.3)
    built = built_from(events, null_draws=4)
    assert built.facts["image_states"] == named_counts(events.image_state)
    left = without(built.arrays, [0, 5, 9], seed=0, workers=1)
    np.testing.assert_array_equal(left["image_state"], np.delete(events.image_state, [0, 5, 9]))


def test_redrawing_the_nulls_keeps_the_digest_of_what_they_are_drawn_from() -> None:
    built = built_from(losing(traffic(300, seed=1, image_share=0.8), 0.3), null_draws=4)
    again = redrawn(built.arrays, draws=4, seed=0, smallest_window=20, workers=1)
    assert again.keys() == built.arrays.keys()
    for name, array in built.arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_a_burn_in_of_windows_that_log_by_turns_takes_their_turns_for_normal() -> None:
    built = built_from(traffic(300, seed=1, image_share=0.8))
    reference = loaded(built)
    rng = np.random.default_rng(3)
    pool = traffic(3000, seed=6, image_share=0.8)
    past = []
    for share in rng.uniform(0.0, 0.6, size=45):
        events = losing(pool.take(rng.choice(3000, 100, replace=False)), share)
        past.append(evaluate(reference.frozen, near(reference, events), entropy_factor=10.0))
    arrays, observed = with_burn_in(built.arrays, past, needed=40)
    (of_logging,) = [o for o in observed if o.signal is Signal.IMAGE_LOGGING]
    assert (of_logging.windows, of_logging.is_dispersed) == (45, True)
    burnt = loaded(replace(built, arrays=arrays, digest=digest_of(arrays, ENCODER)))
    half = losing(pool.take(np.arange(100)), 0.5)
    verdicts = [judged(r, half, ALPHA)[Signal.IMAGE_LOGGING].verdict for r in (reference, burnt)]
    assert verdicts == [Verdict.DRIFTING, Verdict.IN_CONTROL]


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((), -1),
        ((ImageState.INLINE,), 0),
        ((ImageState.TRUNCATED, ImageState.INLINE), TRUNCATED),
        ((ImageState.ABSENT,), STATES.index(ImageState.ABSENT)),
    ],
)
def test_images_of_one_exchange_count_as_the_one_that_fared_worst(
    states: tuple[ImageState, ...], code: int
) -> None:
    assert state_of(states) == code


def test_what_asks_q_is_split_over_the_events_that_it_was_computed_from(
    reference: Reference, window: Embedded
) -> None:
    events = near(reference, losing(window, 0.5))
    rows = comparable_rows(reference, events, alpha=ALPHA)
    assert rows is not None
    split = split_signals(events, reference, comparable=rows)
    found = measured(reference, events)
    for signal in (Signal.MI_QUERY_RESPONSE, Signal.EMI, Signal.VISUAL_DISCREPANCY):
        assert split[signal].value == pytest.approx(found[signal].value, rel=1e-4)
        assert len(split[signal].events) == found[signal].n
    assert rows[split[Signal.EMI].events].all()
