"""Shares of several states at once: how far any of them moved, and the exact null of that."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from scipy.special import betaincinv, ndtr
from scipy.stats import binom

from monitor.stats.burn_in import share_of_windows
from monitor.stats.decision import Decision, judge
from monitor.stats.novelty import JEFFREYS, ShareNull
from monitor.stats.null import Floats, Ints

DECIMALS = 12  # of a change of shares; equal ones of two states must not differ by rounding


def largest_change(counts: Ints, known: Ints) -> float:
    """``max_s |k_s / n - c_s / N|``: the change of the share of the state that moved most.

    Where events move from one state to another it is the share of events that moved, and the total
    variation distance of the two.

    Args:
        counts: ``(S,)`` events of the window in each state, at least one in all.
        known: ``(S,)`` the same of the reference.

    Returns:
        Change in ``[0, 1]``, a share. Biased upwards at finite ``n``: read it with ``StatesNull``.

    Raises:
        ValueError: unless both count the same states, and at least one event each.
    """
    if counts.shape != known.shape or counts.ndim != 1:
        raise ValueError(f"expected the same states, got {counts.shape} and {known.shape}")
    if counts.sum() < 1 or known.sum() < 1 or min(counts.min(), known.min()) < 0:
        raise ValueError("expected counts of at least one event on either side")
    change = np.abs(counts / counts.sum() - known / known.sum())
    return float(change.round(DECIMALS).max())


@dataclass(frozen=True, slots=True)
class StatesNull:
    """Predictive law of ``largest_change``, given how often each state is in the reference.

    ``P(V >= v) <= sum_s P(|K_s / n - p_s| >= v)`` with ``K_s`` beta-binomial as ``ShareNull`` has
    it: the finite reference is in it, every level is reached, and nothing is drawn. The sum over
    states holds for any dependence between them; with two states in use it is twice too careful.
    """

    shares: tuple[float, ...]  # p_s of the reference
    laws: tuple[ShareNull, ...]  # of the number of events in each state
    seen: float = 0.0  # largest change among windows that are known to be healthy

    @classmethod
    def of(cls, known: Ints) -> Self:
        """From the reference alone.

        Args:
            known: ``(S,)`` events of the calibration part in each state, at least one in all.

        Raises:
            ValueError: if there is no event.
        """
        pool = int(known.sum())
        if pool < 1:
            raise ValueError("expected at least one event of the reference")
        return cls(
            tuple((known / pool).tolist()), tuple(ShareNull(float(c), pool) for c in known.tolist())
        )

    @classmethod
    def of_windows(cls, known: Ints, windows: Ints) -> Self:
        """From past healthy windows: their shares, with what those differ by beyond chance.

        Changes are still those from the reference. No window that was seen is an alarm.

        Args:
            known: ``(S,)`` events of the calibration part in each state.
            windows: ``(k, S)`` events of each window in each state, at least one in each row.
        """
        shares, sizes = known / known.sum(), windows.sum(axis=1)
        return cls(
            tuple(shares.tolist()),
            tuple(share_of_windows(counts, sizes) for counts in windows.T),
            seen=max(largest_change(row, known) for row in windows),
        )

    def mean(self, n: int) -> float:
        """Expected change in a window of ``n`` events without drift, rather too large."""
        values, tail = _tail(*self._points(n, _predicted))
        levels, first = np.unique(values, return_index=True)
        return float(np.diff(levels, prepend=0.0) @ tail[first])

    def decide(self, value: float, n: int, *, alpha: float) -> Decision:
        """Judge a change of a window of ``n`` events; only a large one is evidence.

        The threshold is the largest change that is no alarm, so the probability of an alarm is at
        most ``alpha``. Where no change can be an alarm it is one event beyond the largest.

        Args:
            value: as from ``largest_change``.
            n: events in the window, >= 1.
            alpha: accepted false-alarm probability, in (0, 1).

        Returns:
            Decision in shares; the p-value is an upper bound and never 0.

        Raises:
            ValueError: unless ``0 <= value <= 1``, ``n >= 1`` and ``0 < alpha < 1``.
        """
        _check(value, n)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
        values, tail = _tail(*self._points(n, _predicted))
        threshold = float(values[tail > alpha][-1])
        if threshold >= values[-1]:
            threshold += 1 / n
        mean = self.mean(n)
        threshold = max(threshold, self.seen, math.nextafter(mean, math.inf))
        at_least = np.searchsorted(values, round(value, DECIMALS), side="left")
        p = float(tail[at_least]) if at_least < len(tail) else 0.0
        return judge(value, mean, threshold, max(p, sys.float_info.min))

    def score(self, value: float, n: int, *, tolerance: float) -> float:
        """Evidence of drift: ``1 - P(V >= v) - P(V > v)``, shares as far off as the pool allows.

        Args:
            value: as from ``largest_change``.
            n: events in the window, >= 1.
            tolerance: standard errors of the pool's shares, as quantiles of their posteriors, by
                which each is moved away from the reference's, up for more and down for fewer.

        Returns:
            Score in [-1, 1], of expectation at most 0 while no true share is beyond the moved one.
        """
        _check(value, n)
        values, tail = _tail(*self._points(n, partial(_moved, tolerance=tolerance)))
        v = round(value, DECIMALS)
        at_least, more = (np.searchsorted(values, v, side=side) for side in ("left", "right"))
        return 1.0 - sum(float(tail[i]) if i < len(tail) else 0.0 for i in (at_least, more))

    def _points(
        self, n: int, probabilities: Callable[[ShareNull, int, float], Floats]
    ) -> tuple[Floats, Floats]:
        """Change and probability of every number of events in every state."""
        k = np.arange(n + 1) / n
        changes = [np.abs(k - share).round(DECIMALS) for share in self.shares]
        masses = [
            probabilities(law, n, share) for law, share in zip(self.laws, self.shares, strict=True)
        ]
        return np.concatenate(changes), np.concatenate(masses)


def _predicted(law: ShareNull, n: int, _: float) -> Floats:
    return law.probabilities(n)


def _moved(law: ShareNull, n: int, share: float, *, tolerance: float) -> Floats:
    """Chances of 0..n events, each side of the reference's share at the share moved to that side.

    They add up to more than 1.
    """
    a, b = law.count + JEFFREYS, law.pool - law.count + JEFFREYS
    fewer, more = (float(betaincinv(a, b, ndtr(side * tolerance))) for side in (-1, 1))
    k = np.arange(n + 1)
    chances: Floats = np.where(k / n >= share, binom.pmf(k, n, more), binom.pmf(k, n, fewer))
    return chances


def _tail(values: Floats, masses: Floats) -> tuple[Floats, Floats]:
    """Values in order and, for each, at most 1, the mass at it and beyond."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    beyond = masses[order][::-1].cumsum()[::-1]
    # Equal values share the mass of all of them.
    first = np.searchsorted(ordered, ordered, side="left")
    tail: Floats = np.minimum(beyond[first], 1.0)
    return ordered, tail


def _check(value: float, n: int) -> None:
    if n < 1 or not 0 <= value <= 1:
        raise ValueError(f"expected a change in [0, 1] of n >= 1 events, got {value} of {n}")
