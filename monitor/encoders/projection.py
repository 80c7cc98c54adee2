"""A fixed random projection between embeddings of different length."""

from functools import cache

import numpy as np
import numpy.typing as npt

from monitor.encoders.builtin import gaussian

Vectors = npt.NDArray[np.float32]
_STREAM = 4  # of the fixed random numbers; the built-in encoders use those before


def in_dimension(z: Vectors, dim: int) -> Vectors:
    """Unit rows brought to ``dim`` dimensions; as they are where they have them.

    Inner products are kept up to a noise of ``1 / sqrt(dim)`` (Johnson and Lindenstrauss, 1984).
    """
    if z.shape[1] == dim:
        return z
    projected = z @ _matrix(z.shape[1], dim)
    unit: Vectors = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    return unit


@cache
def _matrix(rows: int, columns: int) -> Vectors:
    matrix: Vectors = gaussian(stream=_STREAM, shape=(rows, columns)).numpy()
    return matrix
