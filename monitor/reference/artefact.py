"""A reference as it is used and stored: vectors, q networks, nulls, and who it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from monitor.encoders.projection import in_dimension
from monitor.errors import ReferenceMismatchError
from monitor.records import Modality, ReferenceVersion, Signal
from monitor.reference.conditional import PAIRS_MIN, QNetwork
from monitor.reference.faiss_index import (
    NeighbourIndex,
    build_index,
    kth_distances,
    neighbours,
    open_index,
)
from monitor.reference.image_states import NO_IMAGE, Codes, count_states
from monitor.stats.burn_in import BurnIn, ShareBurnIn
from monitor.stats.club import MiEstimate
from monitor.stats.emi import emi
from monitor.stats.novelty import ShareNull
from monitor.stats.null import Null, null_sizes
from monitor.stats.rjsd import Spectrum, rjsd_from
from monitor.stats.states import StatesNull

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]

BURN_IN = "burn_in"  # arrays of past healthy windows; they take the place of what was drawn
PARTS = DENSITY, CALIBRATION = "density", "calibration"


class Network(StrEnum):
    """The two networks of a reference."""

    ANSWER = "answer"  # q(y | x), for responses and targets alike
    PAIRING = "pairing"  # q(x_t | x_v)


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


@dataclass(frozen=True, slots=True)
class FrozenReference:
    """What a window is compared with; what the reference's traffic could not give is absent.

    A network that has learned nothing is among what it could not give.

    Densities, output gap, novelty thresholds and networks come from the density part, so every
    divergence is from one and the same P. The reference's own EMI comes from the calibration
    part, because a q flatters the pairs that it was trained on.
    """

    spectra: Mapping[Modality, Spectrum]
    networks: Mapping[Network, QNetwork]
    output_gap: float | None  # nats
    emi: MiEstimate | None
    novelty_thresholds: Mapping[Modality, float]
    smallest_window: int  # events below which no signal has a value
    image_states: Ints | None = None  # exchanges of the calibration part in each of ``STATES``
    lost_share: float = 0.0  # of its exchanges that came with an image, those without a vector

    @classmethod
    def of(cls, arrays: Arrays, density: Embedded, calibration: Embedded) -> Self:
        """From the stored arrays and their parts: what is quick to compute is computed again."""
        smallest = int(arrays["smallest_window"][0])
        known = {p for p in Population if is_enough(p, density, calibration, smallest)}
        spectra = {
            Modality.TEXTUAL: spectrum(density.z_t),
            Modality.RESPONSE: spectrum(density.z_y),
        }
        if Population.IMAGES in known:
            spectra[Modality.VISUAL] = spectrum(density.z_v)
        networks = {
            network: QNetwork.from_arrays(_under(arrays, f"q_{network}"))
            for network in Network
            if _children(arrays, f"q_{network}")
        }
        has_targets = Population.TARGETS in known
        return cls(
            spectra=spectra,
            networks=networks,
            output_gap=_output_gap(density) if has_targets else None,
            emi=_emi(networks[Network.ANSWER], calibration)
            if has_targets and Network.ANSWER in networks
            else None,
            novelty_thresholds={
                Modality(m): float(arrays[f"novelty/{m}"][0]) for m in _children(arrays, "novelty")
            },
            smallest_window=smallest,
            image_states=None
            if calibration.image_state is None
            else count_states(calibration.image_state),
            lost_share=_lost_share(calibration),
        )


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


@dataclass(frozen=True, slots=True)
class Reference:
    """One immutable version: what windows are compared with, and what is normal at every n."""

    name: str
    digest: str
    encoder_digest: str
    facts: Mapping[str, object]
    frozen: FrozenReference
    nulls: Mapping[Signal, Null | BurnIn]
    share_nulls: Mapping[Signal, ShareNull | ShareBurnIn]
    states_null: StatesNull | None  # of image_logging; None where states were not recorded
    density: Embedded
    density_positions: Ints  # of the density part in the whole reference

    @property
    def identity(self) -> str:
        """``name@digest``, as measurements carry it."""
        return f"{self.name}@{self.digest[:12]}"

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.density.z_t.shape[1])

    def origin_of(self, stream: str, start: datetime) -> str | None:
        """Digest of the version whose nulls hold no window of the stream that starts then.

        None where that is this one: only a burn-in is made from windows.
        """
        match self.facts:
            case {"calibrated_from": str(origin), "thresholds": {"stream": of, "last": str(last)}}:
                is_inside = of == stream and start < datetime.fromisoformat(last)
                return origin if is_inside else None
        return None

    @classmethod
    def load(cls, version: ReferenceVersion, arrays: Arrays) -> Self:
        """Reference from the arrays that ``build`` made. The caller sets one BLAS thread.

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
        density, calibration = parts_of(arrays)
        frozen = FrozenReference.of(arrays, density, calibration)
        return cls(
            name=version.name,
            digest=digest,
            encoder_digest=version.encoder_digest,
            facts=version.facts,
            frozen=frozen,
            nulls={Signal(s): _null_from(arrays, s) for s in _children(arrays, "null")},
            share_nulls={Signal(s): _share_from(arrays, s) for s in _children(arrays, "share")},
            states_null=_states_from(arrays, frozen.image_states),
            density=density,
            density_positions=np.flatnonzero(arrays["part"] == PARTS.index(DENSITY)),
        )

    def open_neighbourhood(self, folder: Path) -> Neighbourhood:
        """Neighbour indexes from their files below ``folder``, or built and written there."""
        return Neighbourhood.of(self.density, self.density_positions, folder / self.digest)


def parts_of(arrays: Arrays) -> tuple[Embedded, Embedded]:
    """Density and calibration part of the stored vectors."""
    density, calibration = (
        Embedded.from_arrays(arrays, np.flatnonzero(arrays["part"] == i)) for i in range(len(PARTS))
    )
    return density, calibration


def is_enough(
    population: Population, density: Embedded, calibration: Embedded, smallest: int
) -> bool:
    """Whether both parts hold enough of a population for its signals to be judged."""
    known, spare = (int(population.of(part).sum()) for part in (density, calibration))
    return known >= max(PAIRS_MIN, smallest) and len(null_sizes(spare, smallest)) > 0


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


def _output_gap(events: Embedded) -> float:
    return rjsd_from(spectrum(events.z_y[events.has_target]), spectrum(events.z_target))


def _emi(q: QNetwork, events: Embedded) -> MiEstimate:
    paired = events.take(events.has_target)
    mu, logvar = q.at(paired.fused())
    return emi(torch.from_numpy(paired.z_y), torch.from_numpy(paired.z_target), mu, logvar)


def share_arrays(shares: Mapping[Signal, ShareNull]) -> dict[str, npt.NDArray[Any]]:
    """Laws of shares as arrays."""
    return {f"share/{signal}": np.array([law.count, law.pool]) for signal, law in shares.items()}


def resampled_null(arrays: Arrays, signal: str) -> Null:
    """The null that was drawn from the calibration part."""
    sizes, draws, pool = (arrays[f"null/{signal}/{part}"] for part in ("sizes", "draws", "pool"))
    return Null.of(sizes, draws, pool=int(pool[0]), whole=float(pool[1]))


def _null_from(arrays: Arrays, signal: str) -> Null | BurnIn:
    null, windows = resampled_null(arrays, signal), _under(arrays, f"{BURN_IN}/{signal}")
    return BurnIn.of(null, windows["sizes"], windows["values"]) if windows else null


def _share_from(arrays: Arrays, signal: str) -> ShareNull | ShareBurnIn:
    if windows := _under(arrays, f"{BURN_IN}/{signal}"):
        return ShareBurnIn.of(windows["sizes"], windows["values"])
    return ShareNull(*arrays[f"share/{signal}"].tolist())


def _states_from(arrays: Arrays, known: Ints | None) -> StatesNull | None:
    if known is None or not known.any():
        return None
    windows = arrays.get(f"{BURN_IN}/{Signal.IMAGE_LOGGING}/counts")
    return StatesNull.of(known) if windows is None else StatesNull.of_windows(known, windows)


def _lost_share(events: Embedded) -> float:
    carried = int(events.carries_image.sum())
    return 1 - len(events.z_v) / carried if carried else 0.0


def _under(arrays: Arrays, room: str) -> dict[str, npt.NDArray[Any]]:
    prefix = f"{room}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _children(arrays: Arrays, room: str) -> list[str]:
    return sorted({key.split("/")[0] for key in _under(arrays, room)})


def _rows_of(mask: Mask, index: Ints) -> Ints:
    """Rows, in a column that holds only the marked exchanges, of those among ``index``."""
    rows: Ints = (np.cumsum(mask) - 1)[index[mask[index]]]
    return rows
