"""Values that a run of the official program gave; tests/fixtures/golden_768.json.

The inputs are rebuilt from seeds: samples ``base + a · noise`` with unit rows, four of spread 0.8
for the reference, four of spread 1.1 for the window, in the order visual, textual, response,
target. The official functions work in float32.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monitor.stats import Spectrum, emid_bound, emid_bound_unscaled, mutual_information, rjsd_from

SETS = [(1, 90), (2, 200)]
Samples = list[Tensor]


def inputs(seed: int, n: int) -> tuple[Samples, Samples]:
    r = np.random.default_rng(seed)
    base = r.standard_normal((1, 768))

    def sample(spread: float) -> Tensor:
        z = base + spread * r.standard_normal((n, 768))
        return torch.from_numpy((z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32))

    return [sample(0.8) for _ in range(4)], [sample(1.1) for _ in range(4)]


def golden(fixtures: Path, seed: int, n: int) -> dict[str, float]:
    values: dict[str, dict[str, float]] = json.loads((fixtures / "golden_768.json").read_text())
    return values[f"seed{seed}_n{n}"]


def divergences(seed: int, n: int) -> dict[str, float]:
    p, q = ([Spectrum.of_rows(z) for z in side] for side in inputs(seed, n))
    return {
        "jsd_v": rjsd_from(p[0], q[0]),
        "jsd_t": rjsd_from(p[1], q[1]),
        "jsd_p": rjsd_from(p[2], p[3]),
        "jsd_q": rjsd_from(q[2], q[3]),
    }


@pytest.mark.parametrize(("seed", "n"), SETS)
def test_divergences_agree_with_the_official_program(fixtures: Path, seed: int, n: int) -> None:
    expected = golden(fixtures, seed, n)
    ours = divergences(seed, n)
    assert ours == pytest.approx({key: expected[key] for key in ours}, abs=1e-4)


@pytest.mark.parametrize(("seed", "n"), SETS)
def test_bounds_agree_with_the_official_program(fixtures: Path, seed: int, n: int) -> None:
    expected = golden(fixtures, seed, n)
    d = divergences(seed, n)
    unscaled = emid_bound_unscaled(
        visual=d["jsd_v"], textual=d["jsd_t"], gap_reference=d["jsd_p"], gap_window=d["jsd_q"]
    )
    scaled = emid_bound(
        visual=d["jsd_v"],
        textual=d["jsd_t"],
        gap_reference=d["jsd_p"],
        gap_window=d["jsd_q"],
        entropy_factor=10,
    )
    official = (expected["emid_ub"], expected["emid_ub_entropy_10"])
    assert (unscaled.value, scaled.value) == pytest.approx(official, rel=1e-4)


@pytest.mark.parametrize(("seed", "n"), SETS)
def test_information_agrees_with_the_official_program(
    fixtures: Path, shared_data: Path, seed: int, n: int
) -> None:
    weights = torch.load(
        shared_data / "mllmshift_emi" / "CLUB_global.pt", weights_only=True, map_location="cpu"
    )
    mean, logvar = head(weights, "p_mu"), head(weights, "p_logvar").append(nn.Tanh())
    ours = {}
    for side, (visual, textual, response, target) in zip("pq", inputs(seed, n), strict=True):
        x = (visual + textual) / 2
        with torch.no_grad():
            prediction = mean(x), logvar(x)
        ours[f"mi_response_{side}"] = mutual_information(response, *prediction).value
        ours[f"mi_target_{side}"] = mutual_information(target, *prediction).value
    expected = golden(fixtures, seed, n)
    assert ours == pytest.approx({key: expected[key] for key in ours}, abs=1e-6)


def head(weights: dict[str, Tensor], name: str) -> nn.Sequential:
    hidden, dim = weights[f"{name}.0.weight"].shape
    layers = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))
    prefix = f"{name}."
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    layers.load_state_dict(own)
    return layers
