"""Published formulas of CLUB, EMI and its standard error, pair by pair."""

import math

import numpy as np
from torch import Tensor


def club(y: Tensor, mu: Tensor, logvar: Tensor) -> float:
    """mean_i Σ_d [-(mu_i - y_i)² + mean_j (y_j - mu_i)²] / (2 exp(logvar_i))."""
    n, dim = y.shape
    total = 0.0
    for i in range(n):
        for d in range(dim):
            own = float(mu[i, d] - y[i, d]) ** 2
            others = sum(float(y[j, d] - mu[i, d]) ** 2 for j in range(n)) / n
            total += (others - own) / (2 * math.exp(float(logvar[i, d])))
    return total / n


def jackknife_stderr(y: Tensor, mu: Tensor, logvar: Tensor) -> float:
    """Leave each event out in turn and estimate again."""
    n = y.shape[0]
    without = []
    for k in range(n):
        rest = [i for i in range(n) if i != k]
        without.append(club(y[rest], mu[rest], logvar[rest]))
    values = np.array(without)
    return math.sqrt((n - 1) / n * float(np.square(values - values.mean()).sum()))


def emi(response: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> float:
    """I(X; response) - I(X; target)."""
    return club(response, mu, logvar) - club(target, mu, logvar)
