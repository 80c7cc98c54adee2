"""How nulls lie among the named arrays of a stored reference, and their way back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.records import Signal
from monitor.reference.embedded import Arrays, Ints
from monitor.stats.burn_in import BurnIn, ShareBurnIn
from monitor.stats.novelty import ShareNull
from monitor.stats.null import Null
from monitor.stats.states import StatesNull

BURN_IN = "burn_in"  # arrays of past healthy windows; they take the place of what was drawn


def null_arrays(nulls: Mapping[Signal, Null]) -> dict[str, npt.NDArray[Any]]:
    """Nulls as arrays: sizes, draws, and the pool with its own value."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for signal, null in nulls.items():
        arrays[f"null/{signal}/sizes"] = null.sizes
        arrays[f"null/{signal}/draws"] = null.draws
        arrays[f"null/{signal}/pool"] = np.array([null.pool, null.whole])
    return arrays


def share_arrays(shares: Mapping[Signal, ShareNull]) -> dict[str, npt.NDArray[Any]]:
    """Laws of shares as arrays."""
    return {f"share/{signal}": np.array([law.count, law.pool]) for signal, law in shares.items()}


def null_sizes_in(arrays: Arrays) -> dict[str, list[int]]:
    """Sizes of the windows that were drawn, by signal."""
    return {
        name.split("/")[0]: sizes.tolist()
        for name, sizes in under(arrays, "null").items()
        if name.endswith("/sizes")
    }


def resampled_null(arrays: Arrays, signal: str) -> Null:
    """The null that was drawn from the calibration part."""
    sizes, draws, pool = (arrays[f"null/{signal}/{part}"] for part in ("sizes", "draws", "pool"))
    return Null.of(sizes, draws, pool=int(pool[0]), whole=float(pool[1]))


def null_from(arrays: Arrays, signal: str) -> Null | BurnIn:
    """What a signal is judged by: past windows where there are any, else what was drawn."""
    null, windows = resampled_null(arrays, signal), under(arrays, f"{BURN_IN}/{signal}")
    return BurnIn.of(null, windows["sizes"], windows["values"]) if windows else null


def share_from(arrays: Arrays, signal: str) -> ShareNull | ShareBurnIn:
    """The same of a share."""
    if windows := under(arrays, f"{BURN_IN}/{signal}"):
        return ShareBurnIn.of(windows["sizes"], windows["values"])
    return ShareNull(*arrays[f"share/{signal}"].tolist())


def states_from(arrays: Arrays, known: Ints | None) -> StatesNull | None:
    """The same of how images were logged; None where that was not recorded."""
    if known is None or not known.any():
        return None
    windows = arrays.get(f"{BURN_IN}/{Signal.IMAGE_LOGGING}/counts")
    return StatesNull.of(known) if windows is None else StatesNull.of_windows(known, windows)


def under(arrays: Arrays, room: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with the room, without it."""
    prefix = f"{room}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def children(arrays: Arrays, room: str) -> list[str]:
    """What the names of a room's arrays go on with."""
    return sorted({key.split("/")[0] for key in under(arrays, room)})
