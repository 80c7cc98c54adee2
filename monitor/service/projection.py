"""Reference and window in one plane, for the map of a case."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plane:
    """Coordinates of two sets of vectors, and the portion of variance that each axis shows."""

    reference: Floats  # (n, 2)
    window: Floats  # (m, 2)
    explained: tuple[float, float]


def evenly(count: int, most: int) -> Ints:
    """At most so many positions out of ``count``, evenly spaced."""
    picked: Ints = np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
    return picked


def with_first(first: Ints, count: int, most: int) -> Ints:
    """At most so many positions out of ``count``: the given ones, and then from the start on."""
    rest = np.setdiff1d(np.arange(count, dtype=np.int64), first)
    taken: Ints = np.sort(np.concatenate((first[:most], rest[: max(0, most - len(first))])))
    return taken


def in_plane(reference: Vectors, window: Vectors) -> Plane:
    """The two principal components of both together, each set weighing the same.

    Distances on the map are never larger than those between the embeddings, and nothing is drawn
    together or apart that is not; what the axes leave out is not seen. The same vectors give the
    same map.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second that only cases should pay

    # A set of few points would not turn the axes towards itself.
    repeats = [max(1, round(len(other) / len(z))) for z, other in _pairs(reference, window)]
    known = np.concatenate([np.repeat(reference, repeats[0], 0), np.repeat(window, repeats[1], 0)])
    known = known.astype(np.float64)
    pca = PCA(2, svd_solver="covariance_eigh").fit(known)
    first, second = (float(r) for r in pca.explained_variance_ratio_)
    return Plane(
        pca.transform(reference.astype(np.float64)),
        pca.transform(window.astype(np.float64)),
        (first, second),
    )


def _pairs(reference: Vectors, window: Vectors) -> list[tuple[Vectors, Vectors]]:
    return [(reference, window), (window, reference)]
