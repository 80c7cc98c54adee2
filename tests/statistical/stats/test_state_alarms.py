"""How often the shares of image states alarm where nothing has changed."""

import numpy as np
import pytest
from scipy.stats import binom

from monitor.stats import StatesNull, largest_change

pytestmark = pytest.mark.statistical
POOL, TRIALS = 300, 2000
LAWS = {
    "one state": [1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "a rare one": [0.97, 0.03, 0, 0, 0, 0, 0, 0, 0, 0],
    "two": [0.5, 0, 0.5, 0, 0, 0, 0, 0, 0, 0],
    "several": [0.4, 0.3, 0, 0, 0.1, 0.1, 0, 0.05, 0.03, 0.02],
}


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("name", LAWS)
def test_without_a_change_it_alarms_at_most_as_often_as_stated(
    name: str, n: int, alpha: float
) -> None:
    rng = np.random.default_rng([n, len(name)])
    pools, windows = (rng.multinomial(size, LAWS[name], TRIALS) for size in (POOL, n))
    alarms = sum(
        StatesNull.of(known).decide(largest_change(counts, known), n, alpha=alpha).is_drifting
        for known, counts in zip(pools, windows, strict=True)
    )
    assert alarms <= binom.ppf(1 - 1e-6, TRIALS, alpha)
