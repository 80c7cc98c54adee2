"""A reference as it is used and stored: vectors, q networks, nulls, and who it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from monitor.errors import ReferenceMismatchError
from monitor.records import Modality, Signal
from monitor.reference.conditional import QNetwork
from monitor.reference.faiss_index import (
    NeighbourIndex,
    build_index,
    kth_distances,
    neighbours,
    open_index,
)
from monitor.stats.club import MiEstimate
from monitor.stats.novelty import ShareNull
from monitor.stats.null import Null
from monitor.stats.rjsd import Spectrum, rjsd_from

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
    row by row beside ``z_v`` and ``z_t``, where they are known.
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
        )

    def fused(self) -> Vectors:
        """Query embeddings ``(n, d)``: ``(z_v + z_t) / 2``, not renormalised; else ``z_t``."""
        x = self.z_t.copy()
        x[self.has_image] = (self.z_v + self.z_t_of_images) / 2
        return x

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Vectors in float16, as samples are stored; ids and novelty stay behind."""
        vectors = {"z_t": self.z_t, "z_y": self.z_y, "z_v": self.z_v, "z_target": self.z_target}
        masks = {"has_image": self.has_image, "has_target": self.has_target}
        return {key: z.astype("<f2") for key, z in vectors.items()} | {
            key: mask.astype(np.uint8) for key, mask in masks.items()
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Inverse of ``to_arrays``; ids are positions."""
        return cls(
            ids=tuple(str(i) for i in range(len(arrays["z_t"]))),
            z_t=arrays["z_t"].astype(np.float32),
            z_y=arrays["z_y"].astype(np.float32),
            z_v=arrays["z_v"].astype(np.float32),
            has_image=arrays["has_image"].astype(np.bool_),
            z_target=arrays["z_target"].astype(np.float32),
            has_target=arrays["has_target"].astype(np.bool_),
        )


@dataclass(frozen=True, slots=True)
class FrozenReference:
    """What a window is compared with. Whatever the reference's traffic could not give is absent.

    Densities, output gap and novelty come from the density part, and so does the training of the
    networks. The reference's own EMI comes from the calibration part: a q flatters the pairs that
    it was trained on.
    """

    spectra: Mapping[Modality, Spectrum]
    q_answer: QNetwork
    q_pairing: QNetwork | None
    output_gap: float | None  # nats
    emi: MiEstimate | None
    novelty_thresholds: Mapping[Modality, float]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The reference's nearest embeddings of an event, by modality; text always, images if any."""

    indexes: Mapping[Modality, NeighbourIndex]

    @classmethod
    def of(cls, density: Embedded, positions: Ints, folder: Path | None) -> Self:
        """Indexes of the density part, from their files in ``folder`` or built and written there.

        Without a folder they live in memory only.
        """
        indexed = {
            Modality.VISUAL: (density.z_v, positions[density.has_image]),
            Modality.TEXTUAL: (density.z_t, positions),
        }
        return cls(
            {
                modality: build_index(z, rows)
                if folder is None
                else open_index(folder / f"{modality}.faiss", z, rows)
                for modality, (z, rows) in indexed.items()
                if len(z)
            }
        )

    def distances(self, modality: Modality, z: Vectors) -> Floats | None:
        """Distance of each row to its k-th nearest reference embedding; None without an index."""
        index = self.indexes.get(modality)
        return None if index is None else kth_distances(index, z)

    def nearest(self, modality: Modality, z: Vectors, k: int) -> tuple[Ints, Floats]:
        """Positions in the reference and distances of the k nearest, ``(n, k)`` each."""
        return neighbours(self.indexes[modality], z, k)


class Version(Protocol):
    """What a stored reference says about itself."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def encoder_digest(self) -> str: ...
    @property
    def facts(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class Reference:
    """One immutable version: what windows are compared with, and what is normal at every n."""

    name: str
    digest: str
    encoder_digest: str
    facts: Mapping[str, object]
    frozen: FrozenReference
    nulls: Mapping[Signal, Null]
    share_nulls: Mapping[Signal, ShareNull]
    neighbourhood: Neighbourhood

    @property
    def identity(self) -> str:
        """``name@digest``, as measurements carry it."""
        return f"{self.name}@{self.digest[:12]}"

    @classmethod
    def load(cls, version: Version, arrays: Arrays, folder: Path | None) -> Self:
        """Reference from the arrays that ``build`` made; its neighbour indexes are in ``folder``.

        Raises:
            ReferenceMismatchError: if the arrays are not those of the version.
        """
        digest = digest_of(arrays, version.encoder_digest)
        if digest != version.digest:
            raise ReferenceMismatchError(
                what=f"the digest of the stored arrays of reference {version.name}",
                expected=version.digest,
                got=digest,
                remedy="build the reference again",
            )
        positions = np.flatnonzero(arrays["part"] == PARTS.index(DENSITY))
        density = Embedded.from_arrays(arrays).take(positions)
        return cls(
            name=version.name,
            digest=digest,
            encoder_digest=version.encoder_digest,
            facts=version.facts,
            frozen=frozen_from(density, arrays),
            nulls={Signal(s): _null_from(arrays, s) for s in _children(arrays, "null")},
            share_nulls={
                Signal(s): ShareNull(*(int(k) for k in arrays[f"share/{s}"]))
                for s in _children(arrays, "share")
            },
            neighbourhood=Neighbourhood.of(density, positions, folder),
        )


def frozen_from(density: Embedded, arrays: Arrays) -> FrozenReference:
    """Recompute from the stored vectors what is quick to compute, and read the rest."""
    spectra = {Modality.TEXTUAL: spectrum(density.z_t), Modality.RESPONSE: spectrum(density.z_y)}
    if "novelty/visual" in arrays:
        spectra[Modality.VISUAL] = spectrum(density.z_v)
    emi = arrays.get("emi")
    return FrozenReference(
        spectra=spectra,
        q_answer=QNetwork.from_arrays(_under(arrays, "q_answer")),
        q_pairing=QNetwork.from_arrays(_under(arrays, "q_pairing"))
        if _children(arrays, "q_pairing")
        else None,
        output_gap=None
        if emi is None
        else rjsd_from(spectrum(density.z_y[density.has_target]), spectrum(density.z_target)),
        emi=None if emi is None else MiEstimate(float(emi[0]), float(emi[1]), int(emi[2])),
        novelty_thresholds={
            Modality(m): float(arrays[f"novelty/{m}"][0]) for m in _children(arrays, "novelty")
        },
    )


def spectrum(z: Vectors) -> Spectrum:
    """Density and entropy of unit rows."""
    return Spectrum.of_rows(torch.from_numpy(z))


def digest_of(arrays: Arrays, encoder_digest: str) -> str:
    """Hash over every number of a reference and the encoder that its vectors come from."""
    hasher = hashlib.sha256(encoder_digest.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def null_arrays(nulls: Mapping[Signal, Null]) -> dict[str, npt.NDArray[Any]]:
    """Nulls as arrays: sizes, draws, and the pool with its own value."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for signal, null in nulls.items():
        arrays[f"null/{signal}/sizes"] = null.sizes
        arrays[f"null/{signal}/draws"] = null.draws
        arrays[f"null/{signal}/pool"] = np.array([null.pool, null.whole])
    return arrays


def _null_from(arrays: Arrays, signal: str) -> Null:
    sizes, draws, pool = (arrays[f"null/{signal}/{part}"] for part in ("sizes", "draws", "pool"))
    return Null.of(sizes, draws, pool=int(pool[0]), whole=float(pool[1]))


def _under(arrays: Arrays, room: str) -> dict[str, npt.NDArray[Any]]:
    prefix = f"{room}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _children(arrays: Arrays, room: str) -> list[str]:
    return sorted({key.split("/")[0] for key in _under(arrays, room)})


def _rows_of(mask: Mask, index: Ints) -> Ints:
    """Rows, in a column that holds only the marked exchanges, of those among ``index``."""
    rows: Ints = (np.cumsum(mask) - 1)[index[mask[index]]]
    return rows
