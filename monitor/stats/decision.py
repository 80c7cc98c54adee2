"""From a null to a threshold, a p-value and a verdict."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import numpy as np

from monitor.stats.null import Floats
from monitor.stats.tail import tail_quantile

RESOLUTION = 1e-9  # smallest difference from the null mean that counts; below is rounding
WEEK = timedelta(weeks=1)
LEVELS = 2  # of evidence that share the accepted false alarms: one window, and all together


class Direction(StrEnum):
    """On which side of its null a signal is evidence of drift."""

    HIGH = "high"
    LOW = "low"
    BOTH = "both"


DIRECTIONS: Mapping[str, Direction] = {
    "visual_discrepancy": Direction.HIGH,
    "textual_discrepancy": Direction.HIGH,
    "response_discrepancy": Direction.HIGH,
    "output_gap": Direction.HIGH,
    "mi_query_response": Direction.LOW,
    "mi_query_target": Direction.LOW,
    "emi": Direction.LOW,
    "emid": Direction.HIGH,
    "emid_bound_unscaled": Direction.HIGH,
    "emid_bound": Direction.HIGH,
    "input_bound": Direction.HIGH,
    "image_text_agreement": Direction.LOW,
    "novelty_visual": Direction.HIGH,
    "novelty_textual": Direction.HIGH,
    "image_share": Direction.BOTH,
    "image_logging": Direction.HIGH,
}
"""Direction of every signal by its name."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A calibrated value with what it was calibrated for; valid at this ``n`` only."""

    value: float
    alpha: float
    n: int
    m: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One value judged against its null.

    ``excess_ratio`` is ``(value - null_mean) / (threshold - null_mean)``: 0 is normal, 1 is the
    threshold, and ``is_drifting`` says that it lies beyond.
    """

    null_mean: float
    threshold: float
    excess_ratio: float
    p_value: float
    is_drifting: bool


@dataclass(frozen=True, slots=True)
class AlphaPerTest:
    """Accepted false-alarm probability of one signal in one window, at either level of evidence.

    One window alone is judged at ``alpha``; evidence over windows at ``1 / alpha``, the run length
    that gives as many false alarms.
    """

    overall: float  # of the slice that is everything
    per_slice: float | None  # of every other slice; None where there is none


def alpha_per_test(
    false_alarms_per_week: float, window_length: timedelta, *, signals: int, slices: int = 0
) -> AlphaPerTest:
    """Spend the accepted false alarms of a week over its windows, signals and slices.

    Union bound: ``alpha = accepted / (independent windows a week · tests a window)``, so dependent
    signals only make alarms rarer. Half of the budget is for windows judged alone and half for
    what they say together. With slices, half of either stays with the whole, however many slices
    there are. Windows are counted as if they did not overlap. Alone, those that slide by a quarter
    of their length begin to alarm up to 3.3 times as often: rare alarms do not come together.

    Args:
        false_alarms_per_week: accepted false alarms, > 0.
        window_length: length of a window, > 0.
        signals: number of signals tested in each window, >= 1.
        slices: number of slices beside the whole, >= 0.

    Returns:
        Probabilities in (0, 0.5].

    Raises:
        ValueError: if an argument is out of range.
    """
    if not 0 < false_alarms_per_week < math.inf or window_length <= timedelta(0):
        raise ValueError("accepted false alarms and the window length must be positive")
    if signals < 1 or slices < 0:
        raise ValueError(f"expected signals >= 1 and slices >= 0, got {signals} and {slices}")
    budget = false_alarms_per_week / LEVELS * (window_length / WEEK) / signals
    if slices == 0:
        return AlphaPerTest(min(budget, 0.5), None)
    return AlphaPerTest(min(budget / 2, 0.5), min(budget / 2 / slices, 0.5))


def calibrate_threshold(null: Floats, *, alpha: float, n: int) -> Threshold:
    """Conservative upper ``alpha`` quantile of a null sample.

    Takes order statistic ``ceil((m + 1)(1 - alpha))``, so that the false-alarm rate is at most
    ``alpha`` for any exchangeable null, not only asymptotically. Below ``1 / (m + 1)`` no order
    statistic can promise that; there the threshold is the tail model's, never below the largest
    draw, and the promise is as good as the model: see ``tail_quantile``.

    Args:
        null: ``(m,)`` statistic values from drift-free pseudo-windows, m >= 2.
        alpha: accepted false-alarm probability per window, in (0, 1).
        n: samples in each pseudo-window.

    Returns:
        Threshold in the unit of the null; a value strictly above it is an alarm.

    Raises:
        ValueError: if the null is not finite or has fewer than two draws, or for another alpha.
    """
    if null.ndim != 1 or len(null) < 2 or not np.isfinite(null).all():  # noqa: PLR2004 - a spread takes two
        raise ValueError("a null needs at least two draws, all finite")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    m = len(null)
    rank = math.ceil((m + 1) * (1 - alpha))
    value = tail_quantile(null, alpha) if rank > m else np.sort(null)[rank - 1]
    return Threshold(float(value), alpha, n, m)


def p_value(draws: Floats, value: float, direction: Direction) -> float:
    """``(1 + #{draws at least as extreme as value}) / (1 + m)``; doubled for both sides.

    Args:
        draws: ``(m,)`` null draws at the window's ``n``.
        value: the window's value, finite.
        direction: which side is extreme.

    Returns:
        Probability in ``[1 / (1 + m), 1]``, never 0: a finite null cannot say so.

    Raises:
        ValueError: if ``value`` is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"expected a finite value, got {value}")
    high = (1 + int((draws >= value).sum())) / (1 + len(draws))
    low = (1 + int((draws <= value).sum())) / (1 + len(draws))
    both = min(1.0, 2 * min(high, low))
    return {Direction.HIGH: high, Direction.LOW: low, Direction.BOTH: both}[direction]


def excess_ratio(value: float, null_mean: float, threshold: float) -> float:
    """``(value - null_mean) / (threshold - null_mean)``, for a threshold on either side.

    Args:
        value: the window's value.
        null_mean: mean of the null at the window's ``n``.
        threshold: on the alarming side of the mean, at least ``RESOLUTION`` away from it.

    Returns:
        0 at the null mean, 1 at the threshold, negative on the harmless side.
    """
    return (value - null_mean) / (threshold - null_mean)


def decide(value: float, draws: Floats, *, direction: Direction, alpha: float, n: int) -> Decision:
    """Judge one value against its null at the same ``n``.

    For both sides each gets ``alpha / 2``, and the threshold is that of the value's side.

    Args:
        value: the window's value, finite.
        draws: ``(m,)`` null draws at ``n``, as from ``Null.at``.
        direction: which side is evidence of drift.
        alpha: accepted false-alarm probability, in (0, 1).
        n: events in the window.

    Returns:
        Decision, finite in every field; an alarm iff the excess ratio is above 1.

    Raises:
        ValueError: if the value or a draw is not finite, or as ``calibrate_threshold``.
    """
    p = p_value(draws, value, direction)
    null_mean = float(np.mean(draws))
    if direction is Direction.BOTH:
        alpha /= 2
        direction = Direction.HIGH if value >= null_mean else Direction.LOW
    sign = 1 if direction is Direction.HIGH else -1
    outer = calibrate_threshold(sign * draws, alpha=alpha, n=n).value
    threshold = sign * max(outer, sign * null_mean + RESOLUTION)
    return judge(value, null_mean, threshold, p)


def judge(value: float, null_mean: float, threshold: float, p: float) -> Decision:
    """Assemble a decision from a threshold on the alarming side of the null mean."""
    ratio = float(excess_ratio(value, null_mean, threshold))
    return Decision(null_mean, float(threshold), ratio, p, is_drifting=ratio > 1)
