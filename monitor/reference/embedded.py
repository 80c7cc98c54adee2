"""Embedded exchanges as columns, and the parts that a reference divides them into."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from monitor.encoders.projection import in_dimension
from monitor.reference.image_states import NO_IMAGE, Codes

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]

PARTS = DENSITY, CALIBRATION = "density", "calibration"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Columns of n embedded exchanges.

    ``z_v`` and ``z_target`` have a row only for the exchanges that have one, in their order.
    ``novelty_v`` and ``novelty_t`` are the distances to the reference's k-th nearest embedding,
    row by row beside ``z_v`` and ``z_t``, where they are known. ``image_state`` says what became of
    each exchange's image in the log, as ``state_of`` does; None where that was not recorded.
    """

    ids: tuple[str, ...]
    z_t: Vectors
    z_y: Vectors
    z_v: Vectors
    has_image: Mask
    z_target: Vectors
    has_target: Mask
    novelty_v: Floats | None = None
    novelty_t: Floats | None = None
    image_state: Codes | None = None

    def __post_init__(self) -> None:
        n, images, targets = len(self.ids), int(self.has_image.sum()), int(self.has_target.sum())
        columns = {
            "z_t": (self.z_t, n),
            "z_y": (self.z_y, n),
            "z_v": (self.z_v, images),
            "z_target": (self.z_target, targets),
            "has_image": (self.has_image, n),
            "has_target": (self.has_target, n),
            "novelty_v": (self.novelty_v, images),
            "novelty_t": (self.novelty_t, n),
            "image_state": (self.image_state, n),
        }
        for name, (column, rows) in columns.items():
            if column is not None and len(column) != rows:
                raise ValueError(f"{name} must have {rows} rows, got {len(column)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def z_t_of_images(self) -> Vectors:
        """Query texts of the exchanges that have an image, row by row beside ``z_v``."""
        return self.z_t[self.has_image]

    @property
    def carries_image(self) -> Mask:
        """The exchanges that came with an image, be it lost on its way into the log."""
        return self.has_image if self.image_state is None else self.image_state != NO_IMAGE

    def take(self, index: Ints | Mask) -> Self:
        """The exchanges at these positions or under this mask, in that order."""
        if index.dtype == np.bool_ and index.all():
            return self
        at: Ints = np.arange(len(self))[index]
        of_image = _rows_of(self.has_image, at)
        return type(self)(
            ids=tuple(self.ids[i] for i in at),
            z_t=self.z_t[at],
            z_y=self.z_y[at],
            z_v=self.z_v[of_image],
            has_image=self.has_image[at],
            z_target=self.z_target[_rows_of(self.has_target, at)],
            has_target=self.has_target[at],
            novelty_v=None if self.novelty_v is None else self.novelty_v[of_image],
            novelty_t=None if self.novelty_t is None else self.novelty_t[at],
            image_state=None if self.image_state is None else self.image_state[at],
        )

    def fused(self) -> Vectors:
        """Query embeddings ``(n, d)``: ``(z_v + z_t) / 2``, not renormalised; else ``z_t``.

        Images of other encoders than the texts' may have another dimension, and are projected.
        """
        x = self.z_t.copy()
        x[self.has_image] = (in_dimension(self.z_v, x.shape[1]) + self.z_t_of_images) / 2
        return x

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Vectors in float16, as samples are stored; ids and novelty stay behind."""
        vectors = {"z_t": self.z_t, "z_y": self.z_y, "z_v": self.z_v, "z_target": self.z_target}
        masks = {"has_image": self.has_image, "has_target": self.has_target}
        states = {} if self.image_state is None else {"image_state": self.image_state}
        return {
            **{key: z.astype("<f2") for key, z in vectors.items()},
            **{key: mask.astype(np.uint8) for key, mask in masks.items()},
            **states,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, at: Ints | None = None) -> Self:
        """Inverse of ``to_arrays``, of all or of those at some positions; ids are positions."""
        has_image, has_target = (
            arrays[mask].astype(np.bool_) for mask in ("has_image", "has_target")
        )
        at = np.arange(len(has_image)) if at is None else at
        states = arrays.get("image_state")
        return cls(
            ids=tuple(map(str, at.tolist())),
            z_t=arrays["z_t"][at].astype(np.float32),
            z_y=arrays["z_y"][at].astype(np.float32),
            z_v=arrays["z_v"][_rows_of(has_image, at)].astype(np.float32),
            has_image=has_image[at],
            z_target=arrays["z_target"][_rows_of(has_target, at)].astype(np.float32),
            has_target=has_target[at],
            image_state=None if states is None else states[at],
        )


class Population(StrEnum):
    """Which exchanges a signal is computed from."""

    ALL = "all"
    IMAGES = "images"
    TARGETS = "targets"

    def of(self, events: Embedded) -> Mask:
        """The exchanges that belong to it."""
        masks = {Population.IMAGES: events.has_image, Population.TARGETS: events.has_target}
        return masks.get(self, np.ones(len(events), dtype=np.bool_))


def parts_of(arrays: Arrays) -> tuple[Embedded, Embedded]:
    """Density and calibration part of the stored vectors."""
    density, calibration = (
        Embedded.from_arrays(arrays, np.flatnonzero(arrays["part"] == i)) for i in range(len(PARTS))
    )
    return density, calibration


def _rows_of(mask: Mask, index: Ints) -> Ints:
    """Rows, in a column that holds only the marked exchanges, of those among ``index``."""
    rows: Ints = (np.cumsum(mask) - 1)[index[mask[index]]]
    return rows
