"""What past healthy windows say about a signal, and when they take the place of draws."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import f

from monitor.records import Signal
from monitor.reference.artefact import digest_of
from monitor.reference.build import BuiltReference
from monitor.reference.image_states import STATES
from monitor.reference.recalibration import PastWindow, redrawn, with_burn_in
from monitor.reference.signals import Estimate
from monitor.reference.stored_nulls import resampled_null
from monitor.stats import BurnIn, ShareBurnIn, dependence
from tests.populations import ENCODER, built_from, loaded, traffic

N, WINDOWS, DRAWS = 60, 45, 30
SHAPE = np.random.default_rng(1).standard_normal(WINDOWS)
TEXTUAL, IMAGES = Signal.TEXTUAL_DISCREPANCY, Signal.IMAGE_SHARE


@pytest.fixture(scope="module")
def built() -> BuiltReference:
    return built_from(traffic(300, seed=1, image_share=0.8), null_draws=DRAWS)


def past(values: Sequence[float | None], signal: Signal = TEXTUAL) -> list[PastWindow]:
    """Windows of which one signal has a value."""
    blank = dict.fromkeys(Signal, Estimate(N, reason="unknown"))
    return [{**blank, signal: Estimate(N, value)} for value in values]


def spread(built: BuiltReference, dispersion: float) -> list[float]:
    """Values of windows that differ by so much in units of chance."""
    null = resampled_null(built.arrays, TEXTUAL)
    (by_chance,) = null.variance(np.array([N]))
    off = SHAPE / SHAPE.std(ddof=1) * dispersion * by_chance**0.5
    return (null.mean(N) + off).tolist()


@pytest.mark.parametrize(("times", "is_dispersed"), [(0.9999, False), (1.0001, True)])
def test_windows_are_dispersed_beyond_what_a_ratio_of_variances_reaches_once_in_a_thousand(
    built: BuiltReference, times: float, *, is_dispersed: bool
) -> None:
    limit = f.isf(1e-3, WINDOWS - 1, DRAWS - 1) ** 0.5
    values = spread(built, times * limit)
    _, (found,) = with_burn_in(built.arrays, past(values), needed=WINDOWS)
    assert (found.signal, found.windows, found.is_dispersed) == (TEXTUAL, WINDOWS, is_dispersed)
    assert found.dispersion == pytest.approx(times * limit)
    assert found.dependence == pytest.approx(dependence(np.array(values)))


def test_windows_of_shares_are_compared_with_what_their_events_make_sure(
    built: BuiltReference,
) -> None:
    sigma = (N * 0.8 * 0.2) ** 0.5
    counts = np.rint(N * 0.8 + 1.42 * sigma * SHAPE / SHAPE.std(ddof=1)).clip(max=N)
    shares = (counts / N).tolist()
    _, (found,) = with_burn_in(built.arrays, past(shares, IMAGES), needed=WINDOWS)
    burn_in = ShareBurnIn.of(np.full(WINDOWS, N), np.array(shares)).windows
    limit, of_one_window = f.isf(1e-3, WINDOWS - 1, [WINDOWS * N - 1, N - 1]) ** 0.5
    assert found.dispersion == pytest.approx(burn_in.dispersion())
    assert limit < found.dispersion < of_one_window
    assert found.is_dispersed


def test_a_signal_that_too_few_windows_have_a_value_for_keeps_what_was_drawn(
    built: BuiltReference,
) -> None:
    values: list[float | None] = [*spread(built, 1.0), None]
    arrays, observed = with_burn_in(built.arrays, past(values), needed=WINDOWS + 1)
    assert (arrays.keys(), observed) == (built.arrays.keys(), [])


def test_past_windows_judge_in_the_place_of_draws_and_a_second_burn_in_in_that_of_the_first(
    built: BuiltReference,
) -> None:
    arrays, _ = with_burn_in(built.arrays, past([0.8] * WINDOWS, IMAGES), needed=WINDOWS)
    values: list[float | None] = [*spread(built, 2.0), None]
    arrays, _ = with_burn_in(arrays, past(values), needed=WINDOWS)
    reference = loaded(replace(built, arrays=arrays, digest=digest_of(arrays, ENCODER)))
    null = reference.nulls[TEXTUAL]
    assert isinstance(null, BurnIn)
    assert np.asarray(null.at(N))[:-1].tolist() == pytest.approx(values[:-1])
    assert np.isnan(np.asarray(null.at(N))[-1])
    assert not isinstance(reference.share_nulls[IMAGES], ShareBurnIn)


def test_drawing_anew_forgets_past_windows(built: BuiltReference) -> None:
    arrays, _ = with_burn_in(built.arrays, past(spread(built, 1.0)), needed=WINDOWS)
    again = redrawn(arrays, draws=DRAWS, seed=0, smallest_window=20, workers=1)
    assert digest_of(again, ENCODER) == built.digest


@pytest.mark.parametrize("needed", [WINDOWS, WINDOWS + 1])
def test_states_of_images_are_taken_from_as_many_windows_as_are_needed(
    built: BuiltReference, needed: int
) -> None:
    law = [0.2, 0.7, 0.1, *[0] * (len(STATES) - 3)]
    counts = np.random.default_rng(3).multinomial(N, law, WINDOWS)
    logged = [
        {**window, Signal.IMAGE_LOGGING: Estimate(N, 0.1, counts=tuple(row))}
        for window, row in zip(past([None] * WINDOWS), counts.tolist(), strict=True)
    ]
    _, observed = with_burn_in(built.arrays, logged, needed=needed)
    of_most = ShareBurnIn.of(np.full(WINDOWS, N), counts[:, 1] / N).windows.dispersion()
    assert [(o.windows, o.dispersion) for o in observed] == (
        [(WINDOWS, pytest.approx(of_most))] if needed == WINDOWS else []
    )
