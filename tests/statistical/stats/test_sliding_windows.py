"""How often windows that slide begin to alarm, against windows that do not overlap.

The budget of false alarms is divided by windows that do not overlap. Rare alarms of overlapping
ones do not come together: of two that share three quarters one is usually just below.
"""

from datetime import timedelta

import numpy as np
import pytest
from scipy.stats import norm

from monitor.stats import alpha_per_test

pytestmark = pytest.mark.statistical

HOUR, WEEKS = timedelta(hours=1), 40_000


@pytest.mark.parametrize(("steps", "times"), [(1, 1.0), (2, 2.0), (4, 3.3)])
def test_runs_of_alarms_of_windows_that_slide_are_so_many_times_the_budget(
    steps: int, times: float
) -> None:
    rng, windows = np.random.default_rng(steps), WEEKS * 7 * 24
    alpha = alpha_per_test(1, HOUR, signals=16).overall
    panes = np.cumsum(rng.standard_normal(windows * steps + steps))
    sums = (panes[steps:] - panes[:-steps]) / steps**0.5
    alarms = np.flatnonzero(sums > norm.isf(alpha))
    # A calm window between two alarms ends none: see `keep_firing_for` in the shipped rules.
    runs = 1 + int((np.diff(alarms) > (1 if steps == 1 else 2)).sum())
    expected = times * WEEKS / 2 / 16
    # Four standard deviations of a Poisson count, and what `times` is rounded by.
    assert runs == pytest.approx(expected, abs=4 * expected**0.5 + 0.05 * WEEKS / 2 / 16)
