"""Embedded traffic drawn from a seed, with drift on demand and no encoder."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from monitor.records import Modality, ReferenceVersion, Signal
from monitor.reference.artefact import Neighbourhood, Reference
from monitor.reference.build import BuiltReference, build
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.embedded import Embedded, Vectors
from monitor.reference.signals import evaluate, single_threaded

ENCODER = "e" * 64  # digest
DIM = 32
TOPICS = 12


def traffic(
    n: int,
    seed: int,
    *,
    dim: int = DIM,
    skill: float = 1.0,
    text_shift: float = 0.0,
    image_shift: float = 0.0,
    image_share: float = 1.0,
    target_share: float = 1.0,
) -> Embedded:
    """n exchanges of one population; the maps from content to embeddings never change.

    An exchange has a topic vector u that its text shows and a scene v that its image shows and
    its text mentions; the right answer is about both. A response of skill 1 says the same as the
    target in other words, one without skill is about anything.
    """
    world, rng = np.random.default_rng(2024), np.random.default_rng([seed, 1])
    to_text, to_image, to_answer = (world.standard_normal((TOPICS, dim)) for _ in range(3))
    u, v = rng.standard_normal((2, n, TOPICS))
    answer = (u + v) / 2
    off_topic = rng.standard_normal((n, TOPICS))
    is_right = rng.random((n, 1)) < skill
    offset = world.standard_normal((3, dim))
    has_image, has_target = rng.random(n) < image_share, rng.random(n) < target_share
    noise = rng.standard_normal((4, n, dim))
    z_t = (u + v) @ to_text + 3 * offset[0] + noise[0]
    z_v = v @ to_image + 3 * offset[1] + noise[1]
    z_y = np.where(is_right, answer, off_topic) @ to_answer + 3 * offset[2] + noise[2]
    z_target = answer @ to_answer + 3 * offset[2] + noise[3]
    z_t[:, ::2] += text_shift * 3
    z_v[:, ::2] += image_shift * 3
    return Embedded(
        ids=tuple(f"{seed}-{i}" for i in range(n)),
        z_t=unit(z_t),
        z_y=unit(z_y),
        z_v=unit(z_v)[has_image],
        has_image=has_image,
        z_target=unit(z_target)[has_target],
        has_target=has_target,
        image_state=np.where(has_image, 0, -1).astype(np.int8),  # inline
    )


def wrongly_paired(events: Embedded, seed: int) -> Embedded:
    """The same exchanges with their images dealt out anew."""
    order = np.random.default_rng(seed).permutation(len(events.z_v))
    return replace(events, z_v=events.z_v[order])


def with_shuffled_answers(events: Embedded, seed: int) -> Embedded:
    """The same exchanges, each with another one's response."""
    order = np.random.default_rng(seed).permutation(len(events))
    return replace(events, z_y=events.z_y[order])


def unit(z: npt.NDArray[np.float64]) -> Vectors:
    """Rows of norm 1."""
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def built_from(
    embedded: Embedded, *, smallest_window: int = 20, null_draws: int = 30, seed: int = 0
) -> BuiltReference:
    """The reference built from these exchanges."""
    return build(
        embedded,
        name="normal",
        encoder_digest=ENCODER,
        smallest_window=smallest_window,
        null_draws=null_draws,
        seed=seed,
    )


def reference_of(
    embedded: Embedded, *, smallest_window: int = 20, null_draws: int = 30, seed: int = 0
) -> Reference:
    """The reference built from these exchanges, as it is after loading."""
    return loaded(
        built_from(embedded, smallest_window=smallest_window, null_draws=null_draws, seed=seed)
    )


def loaded(built: BuiltReference) -> Reference:
    """What a built reference is after it was stored and loaded."""
    version = ReferenceVersion(
        digest=built.digest,
        name=built.name,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        encoder_digest=built.encoder_digest,
        facts=built.facts,
    )
    with single_threaded():
        return Reference.load(version, built.arrays)


def near(reference: Reference, window: Embedded) -> Embedded:
    """The window with its distances to the reference."""
    distances = Neighbourhood.of(reference.density, reference.density_positions, None).distances
    return replace(
        window,
        novelty_v=distances(Modality.VISUAL, window.z_v),
        novelty_t=distances(Modality.TEXTUAL, window.z_t),
    )


def judged(reference: Reference, window: Embedded, alpha: float) -> dict[Signal, Judgement]:
    """The whole path from a window to its verdicts."""
    with single_threaded():
        estimates = evaluate(reference.frozen, near(reference, window), entropy_factor=10.0)
        return judge(reference, estimates, alpha, entropy_factor=10.0)
