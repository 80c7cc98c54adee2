"""A reference as it is used: frozen, with q networks, nulls and neighbours, and who it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

import numpy as np
import torch

from monitor.errors import ReferenceMismatchError
from monitor.records import Modality, ReferenceVersion, Signal
from monitor.reference.conditional import PAIRS_MIN, QNetwork
from monitor.reference.embedded import (
    CALIBRATION,
    DENSITY,
    PARTS,
    Arrays,
    Embedded,
    Floats,
    Ints,
    Population,
    Vectors,
    parts_of,
)
from monitor.reference.faiss_index import (
    NeighbourIndex,
    build_index,
    kth_distances,
    neighbours,
    open_index,
)
from monitor.reference.image_states import count_states
from monitor.reference.stored_nulls import children, null_from, share_from, states_from, under
from monitor.stats.burn_in import BurnIn, ShareBurnIn
from monitor.stats.club import MiEstimate
from monitor.stats.emi import emi
from monitor.stats.novelty import ShareNull
from monitor.stats.null import Null, null_sizes
from monitor.stats.rjsd import Spectrum, rjsd_from
from monitor.stats.states import StatesNull

# With what rooms above know from here and `embedded` holds.
__all__ = [
    "CALIBRATION",
    "DENSITY",
    "Arrays",
    "Embedded",
    "FrozenReference",
    "Ints",
    "Neighbourhood",
    "Network",
    "Reference",
    "Vectors",
    "digest_of",
    "is_enough",
    "spectrum",
]


class Network(StrEnum):
    """The two networks of a reference."""

    ANSWER = "answer"  # q(y | x), for responses and targets alike
    PAIRING = "pairing"  # q(x_t | x_v)


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
            network: QNetwork.from_arrays(under(arrays, f"q_{network}"))
            for network in Network
            if children(arrays, f"q_{network}")
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
                Modality(m): float(arrays[f"novelty/{m}"][0]) for m in children(arrays, "novelty")
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
            nulls={Signal(s): null_from(arrays, s) for s in children(arrays, "null")},
            share_nulls={Signal(s): share_from(arrays, s) for s in children(arrays, "share")},
            states_null=states_from(arrays, frozen.image_states),
            density=density,
            density_positions=np.flatnonzero(arrays["part"] == PARTS.index(DENSITY)),
        )

    def open_neighbourhood(self, folder: Path) -> Neighbourhood:
        """Neighbour indexes from their files below ``folder``, or built and written there."""
        return Neighbourhood.of(self.density, self.density_positions, folder / self.digest)


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


def _output_gap(events: Embedded) -> float:
    return rjsd_from(spectrum(events.z_y[events.has_target]), spectrum(events.z_target))


def _emi(q: QNetwork, events: Embedded) -> MiEstimate:
    paired = events.take(events.has_target)
    mu, logvar = q.at(paired.fused())
    return emi(torch.from_numpy(paired.z_y), torch.from_numpy(paired.z_target), mu, logvar)


def _lost_share(events: Embedded) -> float:
    carried = int(events.carries_image.sum())
    return 1 - len(events.z_v) / carried if carried else 0.0
