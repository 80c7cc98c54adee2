"""A reference without some of its exchanges."""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.errors import ReferenceTooSmallError
from monitor.reference.artefact import is_enough
from monitor.reference.conditional import Progress, silent
from monitor.reference.embedded import Arrays, Embedded, Population, parts_of
from monitor.reference.recalibration import redrawn
from monitor.reference.stored_nulls import BURN_IN


def without(
    arrays: Arrays,
    positions: Collection[int],
    *,
    seed: int,
    workers: int,
    progress: Progress = silent,
) -> dict[str, npt.NDArray[Any]]:
    """The reference whose vectors at these positions are gone, with nulls drawn anew.

    Spectra and the neighbour index follow from the vectors that are left. The networks and the
    novelty thresholds, which no single exchange can be read from, stay as they were fitted to all,
    and so do windows of a burn-in.

    Raises:
        ReferenceTooSmallError: if too few exchanges are left to judge anything.
    """
    embedded = Embedded.from_arrays(arrays)
    stays = np.ones(len(embedded), dtype=np.bool_)
    stays[list(positions)] = False
    smallest = int(arrays["smallest_window"][0])
    left = {**arrays, **embedded.take(stays).to_arrays(), "part": arrays["part"][stays]}
    if not is_enough(Population.ALL, *parts_of(left), smallest):
        raise ReferenceTooSmallError(
            f"{int(stays.sum())} of {len(embedded)} exchanges would be left, too few to judge "
            "anything: activate another reference and delete this one first"
        )
    draws = next(a.shape[1] for name, a in arrays.items() if name.endswith("/draws"))
    calibrated = redrawn(
        left, draws=draws, seed=seed, smallest_window=smallest, workers=workers, progress=progress
    )
    past = {name: a for name, a in arrays.items() if name.startswith(f"{BURN_IN}/")}
    return calibrated | past
