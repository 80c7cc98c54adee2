"""Whether embeddings that follow each other are more alike than chance makes them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32] | npt.NDArray[np.float64]

BLOCKS_MIN = 8  # fewer say little about how blocks differ


@dataclass(frozen=True, slots=True)
class BlockDispersion:
    """How much consecutive blocks of ``size`` events differ.

    ``ratio`` is the variance of their means in units of what random blocks have, ``z_score`` how
    many standard errors that is above 1.
    """

    size: int
    ratio: float
    z_score: float


def block_dispersion(z: Vectors) -> list[BlockDispersion]:
    """``B Σ_b |mean of block b|² / (K mean |z|²)`` of centred rows, for blocks of 2, 4, 8, ...

    Small blocks see that neighbours are alike, as in bursts and autoregressive traffic; large ones
    see rhythm and slow change. Under exchangeability the expectation is ``(n - B) / (n - 1)`` and
    the variance ``2 (1 - 1/B) tr(C²) / (K tr(C)²)`` with ``C`` the covariance: many directions
    of similar weight make a sure ratio.

    Args:
        z: ``(n, d)`` in order of time.

    Returns:
        One for each size that makes ``BLOCKS_MIN`` blocks or more, in order of size; none where
        all rows are equal.

    Source:
        One-way analysis of variance with the trace of the covariance in the place of variance.
    """
    n = len(z)
    if n < 2 * BLOCKS_MIN:
        return []
    centred = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64)
    total = float(np.square(centred).sum()) / n
    if total <= 0:
        return []
    smaller = centred.T @ centred if n >= z.shape[1] else centred @ centred.T
    concentration = float(np.square(smaller / n).sum()) / total**2
    found, sums = [], centred
    size = 1
    while len(sums) // 2 >= BLOCKS_MIN:
        k = len(sums) // 2
        sums = sums[: 2 * k : 2] + sums[1 : 2 * k : 2]
        size *= 2
        ratio = float(np.square(sums).sum()) / (k * size * total) * (n - 1) / (n - size)
        error = (2 * (1 - 1 / size) * concentration / k) ** 0.5
        found.append(BlockDispersion(size, ratio, (ratio - 1) / error))
    return found
