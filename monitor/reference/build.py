"""A reference from known-good traffic: split, train, calibrate, freeze."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.errors import ReferenceTooSmallError
from monitor.records import Modality
from monitor.reference.artefact import Neighbourhood, Network, digest_of, is_enough
from monitor.reference.chance import ANSWER, PAIRING, SPLIT, seed_for
from monitor.reference.conditional import (
    PAIRS_MIN,
    Pairs,
    Progress,
    QNetwork,
    QReport,
    TrainedQ,
    assess,
    require_fit,
    silent,
    train_q,
)
from monitor.reference.embedded import (
    CALIBRATION,
    DENSITY,
    Arrays,
    Embedded,
    Mask,
    Population,
    parts_of,
)
from monitor.reference.faiss_index import leave_one_out_distances
from monitor.reference.image_states import named_counts
from monitor.reference.recalibration import redrawn
from monitor.reference.signals import single_threaded
from monitor.reference.stored_nulls import null_sizes_in
from monitor.stats.blocks import BlockDispersion, block_dispersion
from monitor.stats.novelty import novelty_threshold
from monitor.stats.null import SHARE_OF_POOL

WINDOWS_PER_REFERENCE = 10
DEPENDENT = 5.0  # standard errors; some thirty sizes and modalities are looked at
_ROLES = {Network.ANSWER: "the q of answers", Network.PAIRING: "the q of image and text"}
_LOSSES = {
    Network.ANSWER: "whether answers get worse cannot be measured",
    Network.PAIRING: "image_text_agreement cannot be measured",
}


@dataclass(frozen=True, slots=True)
class AssessedQ:
    """A q of the density part and what it was found to have learned, on the calibration part."""

    network: QNetwork
    report: QReport


@dataclass(frozen=True, slots=True)
class BuiltReference:
    """A finished version, ready to be stored: who it is, its arrays, the part of each exchange."""

    name: str
    digest: str
    encoder_digest: str
    facts: Mapping[str, object]
    arrays: Mapping[str, npt.NDArray[Any]]
    parts: tuple[str, ...]


def build(  # noqa: PLR0913 - each is a setting that changes the reference
    embedded: Embedded,
    *,
    name: str,
    encoder_digest: str,
    seed: int = 0,
    calibration_share: float = 0.5,
    smallest_window: int = 30,
    usual_window: int | None = None,
    null_draws: int = 200,
    conditional: QNetwork | None = None,
    workers: int = 2,
    progress: Progress = silent,
) -> BuiltReference:
    """Freeze traffic, in order of time, as the reference.

    Equal input gives an equal digest on one machine.

    Densities, novelty thresholds and networks come from the density part alone; EMI and all nulls
    from the calibration part alone, and so does whether a network has learned anything: one that
    has not is left out, and its report says why. ``conditional`` is used instead of a trained q of
    answers and judged alike.
    ``smallest_window`` is the number of events below which nothing is judged; ``usual_window``
    only serves to say that the reference is small for it.

    Raises:
        ReferenceTooSmallError: with the number of exchanges that are needed.
        ConditionalError: if ``conditional`` does not fit the embeddings.
    """
    in_calibration = _split(len(embedded), calibration_share, smallest_window, seed)
    vectors: dict[str, npt.NDArray[Any]] = {
        **embedded.to_arrays(),
        "part": in_calibration.astype(np.uint8),
        "smallest_window": np.array([smallest_window]),
    }
    # From here on the numbers are those that will be stored and loaded, float16 and all.
    density, calibration = parts_of(vectors)
    has_images = is_enough(Population.IMAGES, density, calibration, smallest_window)
    with single_threaded():
        assessed = {Network.ANSWER: _answers(density, calibration, conditional, seed, progress)}
        if has_images:
            assessed[Network.PAIRING] = _pairing(density, calibration, seed, progress)
        neighbourhood = Neighbourhood.of(density, np.flatnonzero(~in_calibration), folder=None)
        arrays = vectors | _network_arrays(assessed)
        arrays |= _novelty_arrays(density, neighbourhood, has_images=has_images)
    arrays = redrawn(
        arrays,
        draws=null_draws,
        seed=seed,
        smallest_window=smallest_window,
        workers=workers,
        progress=progress,
    )
    dependent = _dependent(embedded)
    return BuiltReference(
        name=name,
        digest=digest_of(arrays, encoder_digest),
        encoder_digest=encoder_digest,
        facts={
            "seed": seed,
            "smallest_window": smallest_window,
            "null_draws": null_draws,
            "density": _counts(density),
            "calibration": _counts(calibration),
            "image_states": states_of(vectors),
            "null_sizes": null_sizes_in(arrays),
            "networks": {
                network.value: asdict(q.report) | {"has_learned": q.report.has_learned}
                for network, q in assessed.items()
            },
            "is_conditional_imported": conditional is not None,
            "dependence": {m.value: asdict(blocks) for m, blocks in dependent.items()},
            "notes": [
                *_notes(len(embedded), usual_window or smallest_window, assessed),
                *map(_dependence_note, dependent, dependent.values()),
            ],
        },
        arrays=arrays,
        parts=tuple(CALIBRATION if held else DENSITY for held in in_calibration),
    )


def exchanges_needed(calibration_share: float, smallest_window: int) -> int:
    """Fewer exchanges than these make no reference."""
    least_held, least_rest = _least(smallest_window)
    return math.ceil(max(least_held / calibration_share, least_rest / (1 - calibration_share)))


def _least(smallest_window: int) -> tuple[int, int]:
    """The fewest exchanges of the calibration part and of the density part."""
    return SHARE_OF_POOL * smallest_window, max(PAIRS_MIN, smallest_window)


def _split(n: int, calibration_share: float, smallest_window: int, seed: int) -> Mask:
    """Which exchanges are for calibration: a number fixed by the share, drawn by the seed."""
    held = round(n * calibration_share)
    least_held, least_rest = _least(smallest_window)
    if held < least_held or n - held < least_rest:
        needed = exchanges_needed(calibration_share, smallest_window)
        raise ReferenceTooSmallError(
            f"{n} exchanges are too few for windows of {smallest_window} at a calibration share "
            f"of {calibration_share:g}; at least {needed} are needed, {WINDOWS_PER_REFERENCE} "
            "times the usual window is advised"
        )
    in_calibration = np.zeros(n, dtype=np.bool_)
    in_calibration[np.random.default_rng(seed_for(seed, SPLIT)).permutation(n)[:held]] = True
    return in_calibration


def _answers(
    density: Embedded,
    calibration: Embedded,
    conditional: QNetwork | None,
    seed: int,
    progress: Progress,
) -> AssessedQ:
    """q(y | x) on responses and targets pooled."""
    known, unseen = _answered(density), _answered(calibration)
    if conditional is not None:
        require_fit(conditional, known.x.shape[1])
    trained = (
        train_q(
            known.x,
            known.y,
            seed=seed_for(seed, ANSWER),
            groups=known.groups,
            stage="q of answers",
            progress=progress,
        )
        if conditional is None
        else TrainedQ(conditional, epochs=0)
    )
    return _assessed(trained, known, unseen)


def _pairing(density: Embedded, calibration: Embedded, seed: int, progress: Progress) -> AssessedQ:
    """q(x_t | x_v) on the exchanges that have an image."""
    known, unseen = (
        Pairs(part.z_v, part.z_t_of_images, np.arange(len(part.z_v)))
        for part in (density, calibration)
    )
    trained = train_q(
        known.x,
        known.y,
        seed=seed_for(seed, PAIRING),
        stage="q of image and text",
        progress=progress,
    )
    return _assessed(trained, known, unseen)


def _answered(part: Embedded) -> Pairs:
    x, exchange, has = part.fused(), np.arange(len(part)), part.has_target
    return Pairs(
        x=np.concatenate((x, x[has])),
        y=np.concatenate((part.z_y, part.z_target)),
        groups=np.concatenate((exchange, exchange[has])),
    )


def _assessed(q: TrainedQ, known: Pairs, unseen: Pairs) -> AssessedQ:
    report = assess(q.network, made_from=known, unseen=unseen, epochs=q.epochs)
    return AssessedQ(q.network, report)


def _network_arrays(assessed: Mapping[Network, AssessedQ]) -> dict[str, npt.NDArray[Any]]:
    return {
        f"q_{network}/{key}": weights
        for network, q in assessed.items()
        if q.report.has_learned
        for key, weights in q.network.to_arrays().items()
    }


def _novelty_arrays(
    density: Embedded, neighbourhood: Neighbourhood, *, has_images: bool
) -> dict[str, npt.NDArray[Any]]:
    vectors = {Modality.TEXTUAL: density.z_t}
    if has_images:
        vectors[Modality.VISUAL] = density.z_v
    return {
        f"novelty/{m}": np.array(
            [novelty_threshold(leave_one_out_distances(neighbourhood.indexes[m], z))]
        )
        for m, z in vectors.items()
    }


def states_of(arrays: Arrays) -> dict[str, int] | None:
    """Exchanges by the state of their images; None where that was not recorded."""
    codes = arrays.get("image_state")
    return None if codes is None else named_counts(codes)


def _counts(part: Embedded) -> dict[str, int]:
    return {
        "exchanges": len(part),
        "images": int(part.has_image.sum()),
        "targets": int(part.has_target.sum()),
    }


def _notes(n: int, usual_window: int, assessed: Mapping[Network, AssessedQ]) -> list[str]:
    notes = [
        f"{_ROLES[network]} has not learned to tell matching pairs from others: {_LOSSES[network]}"
        for network, q in assessed.items()
        if not q.report.has_learned
    ]
    if n < WINDOWS_PER_REFERENCE * usual_window:
        notes.append(
            f"{n} exchanges are fewer than {WINDOWS_PER_REFERENCE} windows of {usual_window}: "
            "thresholds beyond half of the calibration part are extrapolated"
        )
    return notes


def _dependent(embedded: Embedded) -> dict[Modality, BlockDispersion]:
    """What tells most of each modality whose exchanges are not exchangeable in time."""
    columns = {
        Modality.VISUAL: embedded.z_v,
        Modality.TEXTUAL: embedded.z_t,
        Modality.RESPONSE: embedded.z_y,
    }
    found = {m: block_dispersion(z) for m, z in columns.items()}
    plainest = {m: max(blocks, key=lambda b: b.z_score) for m, blocks in found.items() if blocks}
    return {m: blocks for m, blocks in plainest.items() if blocks.z_score > DEPENDENT}


def _dependence_note(modality: Modality, blocks: BlockDispersion) -> str:
    return (
        f"{modality} embeddings that follow each other are alike: blocks of {blocks.size} differ "
        f"{blocks.ratio:.2f} times as much as random ones. Thresholds by resampling may alarm more "
        "often than stated; `mllm-monitor calibrate --burn-in` takes them from whole windows"
    )
