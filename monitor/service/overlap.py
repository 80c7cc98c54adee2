"""What a reference was made from: no window is judged against its own exchanges."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from monitor.records import Sample

Halves = npt.NDArray[np.float16]

# Cosine. Rounding to half precision and the batch that a text was embedded in take 1e-6 of it, one
# letter of a long text takes 1e-3.
SAME = 1 - 1e-4


def _none() -> Halves:
    return np.empty((0, 0), dtype=np.float16)


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """The exchanges of a reference by their ids; nothing where its ids are not known."""

    positions: Mapping[str, int] = field(default_factory=dict)
    z_t: Halves = field(default_factory=_none)
    z_y: Halves = field(default_factory=_none)

    def holds(self, sample: Sample) -> bool:
        """Whether this very exchange is among them: its id, and what was asked and answered.

        An id alone proves nothing, because some logs count anew every day.
        """
        position = self.positions.get(sample.exchange_id)
        if position is None or sample.z_t is None or sample.z_y is None:
            return False
        return _is_same(self.z_t[position], sample.z_t) and _is_same(self.z_y[position], sample.z_y)


def _is_same(known: Halves, stored: bytes) -> bool:
    a, b = known.astype(np.float32), np.frombuffer(stored, dtype="<f2").astype(np.float32)
    return len(a) == len(b) and float(a @ b) > SAME * float(a @ a * (b @ b)) ** 0.5
