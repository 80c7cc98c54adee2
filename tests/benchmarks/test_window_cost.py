"""One window with all signals, against the matrix products and eigenproblems it cannot avoid."""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

from monitor.records import EPOCH, Modality, ReferenceVersion, Signal
from monitor.reference.artefact import Neighbourhood, Reference
from monitor.reference.build import build
from monitor.reference.calibrate import judge
from monitor.reference.embedded import Embedded
from monitor.reference.signals import Estimate, evaluate, single_threaded
from monitor.reference.uncertainty import evaluate_with_errors

N, D, REFERENCE = 1_500, 768, 2_000
ENTROPY_FACTOR = 10.0
ROUNDS = 5


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    z = rng.standard_normal((n, D)) @ np.diag(1 / np.sqrt(1 + np.arange(D) / 16))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def events(rng: np.random.Generator, n: int) -> Embedded:
    every = np.ones(n, dtype=np.bool_)
    z_v, z_t, z_y, z_target = (unit(rng, n) for _ in range(4))
    ids = tuple(str(i) for i in range(n))
    return Embedded(
        ids=ids, z_t=z_t, z_y=z_y, z_v=z_v, has_image=every, z_target=z_target, has_target=every
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    built = build(
        events(np.random.default_rng(1), REFERENCE),
        name="benchmark",
        encoder_digest="none",
        null_draws=20,
        smallest_window=250,
    )
    version = ReferenceVersion(
        built.digest, built.name, EPOCH, built.encoder_digest, dict(built.facts)
    )
    with single_threaded():
        return Reference.load(version, built.arrays)


def unavoidable(reference: Reference, window: Embedded) -> None:
    """Densities, spectra with their vectors, the layers of the networks, the neighbours."""
    frozen = reference.frozen
    columns = [window.z_v, window.z_t, window.z_y, window.z_target]
    densities = [(z64 := torch.from_numpy(z).to(torch.float64)).T @ z64 / len(z) for z in columns]
    visual, textual, response, target = densities
    mixed = [
        frozen.spectra[modality].density + density
        for modality, density in zip(Modality, (visual, textual, response), strict=True)
    ]
    for matrix in [*densities, *mixed, response + target]:
        eigh(matrix.numpy(), overwrite_a=True, check_finite=False)
    with torch.no_grad():
        for network in frozen.networks.values():
            network(torch.from_numpy(window.z_t))
    for z, known in ((window.z_v, reference.density.z_v), (window.z_t, reference.density.z_t)):
        _ = z @ known.T


def fastest(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@pytest.mark.benchmark
def test_a_window_takes_at_most_half_more_than_its_linear_algebra(reference: Reference) -> None:
    window = events(np.random.default_rng(2), N)
    neighbourhood = Neighbourhood.of(reference.density, reference.density_positions, folder=None)

    def measure(
        evaluated: Callable[..., dict[Signal, Estimate]] = evaluate_with_errors,
    ) -> dict[Signal, object]:
        searched = Embedded(
            ids=window.ids,
            z_t=window.z_t,
            z_y=window.z_y,
            z_v=window.z_v,
            has_image=window.has_image,
            z_target=window.z_target,
            has_target=window.has_target,
            novelty_v=neighbourhood.distances(Modality.VISUAL, window.z_v),
            novelty_t=neighbourhood.distances(Modality.TEXTUAL, window.z_t),
        )
        estimates = evaluated(reference.frozen, searched, entropy_factor=ENTROPY_FACTOR)
        return dict(judge(reference, estimates, 1e-3, entropy_factor=ENTROPY_FACTOR))

    with single_threaded():
        judged = measure()
        floor = fastest(lambda: unavoidable(reference, window))
        whole = fastest(measure)
        without_errors = fastest(lambda: measure(evaluate))
        tracemalloc.start()
        measure()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    print(
        f"\nwindow of n={N}, d={D}: {whole:.2f} s, linear algebra alone {floor:.2f} s, "
        f"ratio {whole / floor:.2f} (at most 1.50); "
        f"without standard errors {without_errors:.2f} s; peak of numpy arrays {peak / 1e6:.0f} MB"
    )
    assert set(judged) == set(Signal)
    assert whole <= 1.5 * floor
