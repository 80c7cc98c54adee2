"""Quantiles beyond what the draws of a null can resolve."""

import math

import numpy as np

from monitor.stats.null import Floats

TAIL_SHARE = 0.1


def tail_quantile(draws: Floats, alpha: float) -> float:
    """Upper ``alpha`` quantile of the law behind ``draws``, for ``alpha`` below ``1 / (m + 1)``."""
    k = max(2, int(TAIL_SHARE * len(draws)))
    top = np.sort(draws)[-k:]
    excess = float((top - top[0]).mean())
    return max(float(top[-1]), float(top[0]) + excess * math.log(k / len(draws) / alpha))
