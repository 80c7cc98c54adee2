"""What became of the images of exchanges in the log, as one number for each exchange."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from monitor.records import ImageState

Codes = npt.NDArray[np.int8]
STATES = tuple(ImageState)
NO_IMAGE = -1


def state_of(states: Iterable[ImageState]) -> int:
    """The state of the images of one exchange: of several the last in the order of ``ImageState``.

    They mostly share their fate. ``NO_IMAGE`` where it came without any.
    """
    return max((STATES.index(state) for state in states), default=NO_IMAGE)


def count_states(codes: Codes) -> npt.NDArray[np.int64]:
    """Exchanges in each of ``STATES``; those without an image are in none."""
    return np.bincount(codes[codes != NO_IMAGE], minlength=len(STATES))


def named_counts(codes: Codes) -> dict[str, int]:
    """Exchanges by state, for people; states that do not occur are left out."""
    counts = zip(STATES, count_states(codes).tolist(), strict=True)
    return {state.value: count for state, count in counts if count}
