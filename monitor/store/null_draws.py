"""What a reference's nulls were drawn as, without the vectors that take most of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from monitor.store.tables import ReferenceArrayRow

_NULL, _BURN_IN = "null/", "burn_in/"


@dataclass(frozen=True, slots=True)
class NullDraws:
    """Values of one signal where nothing had drifted, by size of the pseudo-windows.

    ``past`` are those of past healthy windows, where thresholds were taken from such; then each has
    a size of its own.
    """

    signal: str
    sizes: tuple[int, ...]
    draws: tuple[npt.NDArray[np.float64], ...]  # one row a size
    past: npt.NDArray[np.float64] | None = None


def null_draws(session: Session, digest: str) -> list[NullDraws]:
    """Of every signal that has draws, by name."""
    row = ReferenceArrayRow
    rows = session.execute(
        select(row.name, row.dtype, row.shape, row.data)
        .where(row.digest == digest, or_(row.name.startswith(_NULL), row.name.startswith(_BURN_IN)))
        .order_by(row.name)
    )
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape)
        for name, dtype, shape, data in rows
    }
    signals = sorted({name.split("/")[1] for name in arrays if name.startswith(_NULL)})
    return [
        NullDraws(
            signal=signal,
            sizes=tuple(int(n) for n in arrays[f"{_NULL}{signal}/sizes"]),
            draws=tuple(arrays[f"{_NULL}{signal}/draws"]),
            past=arrays.get(f"{_BURN_IN}{signal}/values"),
        )
        for signal in signals
    ]
