"""What is new in a window, in a few groups of events that are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_EVENTS = 400  # that are grouped
LEAST_EVENTS = 5  # of a group
LEAST_SPLIT = 8  # events that are worth looking for groups in
DIMENSIONS = 10


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of events that are alike, those in the middle first."""

    rows: Ints


def worth_grouping(is_novel: Mask, towards: Floats) -> Ints:
    """Rows of what is to be grouped, those that add most first.

    The novel events where they add half of all that pushes towards drift, or more; else the fewest
    events that do.
    """
    order = np.argsort(-towards, kind="stable")
    pushes = np.clip(towards[order], 0, None)
    half = pushes.sum() / 2
    novel = order[is_novel[order]]
    if half > 0 and np.clip(towards[novel], 0, None).sum() >= half:
        return novel[:MOST_EVENTS]
    enough = int(np.searchsorted(pushes.cumsum(), half)) + 1
    return order[: min(max(enough, LEAST_SPLIT), MOST_EVENTS)]


def group(z: npt.NDArray[np.float32], rows: Ints, most: int) -> list[Group]:
    """The rows in up to ``most`` groups by their directions, the largest first.

    HDBSCAN in the directions of largest variance: it decides by itself how many groups there are
    and leaves out what belongs to none. Where there is no structure everything is one group. The
    same rows give the same groups.
    """
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415 - a second that only cases should pay

    if len(rows) < LEAST_EVENTS:
        return []
    flat = _flattened(z[rows].astype(np.float64))
    labels = HDBSCAN(min_cluster_size=LEAST_EVENTS, copy=True).fit_predict(flat)
    if labels.max() < 0:
        labels = np.zeros(len(rows), dtype=np.int64)
    found = [_from_the_middle(flat, rows, labels == k) for k in range(int(labels.max()) + 1)]
    return sorted(found, key=lambda g: (-len(g.rows), int(g.rows[0])))[:most]


def _flattened(z: Floats) -> Floats:
    """The rows in the directions of their largest variance."""
    centred = z - z.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(DIMENSIONS, int((s > s[0] * 1e-6).sum()) or 1)
    flat: Floats = u[:, :kept] * s[:kept]
    return flat


def _from_the_middle(flat: Floats, rows: Ints, inside: Mask) -> Group:
    middle = flat[inside].mean(axis=0)
    far = np.linalg.norm(flat[inside] - middle, axis=1)
    return Group(rows[inside][np.argsort(far, kind="stable")])


def portion(part: float, whole: Sequence[float] | Floats) -> float:
    """Of what is positive in the whole, in [0, 1]; 0 where nothing is."""
    total = float(np.clip(np.asarray(whole, dtype=np.float64), 0, None).sum())
    return min(max(part, 0.0) / total, 1.0) if total > 0 else 0.0
