"""RJSD beside other two-sample statistics: power at equal false alarms, time and memory."""

import io
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from geomloss import SamplesLoss
from PIL import Image, ImageFilter
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from monitor.reference.embedded import Vectors
from monitor.reference.signals import single_threaded
from monitor.simulate.traffic import Drift, DriftKind
from monitor.stats.rjsd import Spectrum, rjsd_from
from tests import recorded

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

Statistic = Callable[[Vectors], float]

ALPHA = 0.05
SPLITS, WINDOWS = 4, 25  # windows of each split, quiet and drifted
SHARES = (0.1, 0.3, 1.0)


def rjsd(p: Vectors) -> Statistic:
    reference = Spectrum.of_rows(torch.from_numpy(p))
    return lambda q: rjsd_from(reference, Spectrum.of_rows(torch.from_numpy(q)))


def mmd(p: Vectors) -> Statistic:
    rows = torch.from_numpy(p).double()
    bandwidth = float(torch.pdist(rows[:500]).median()) / 2**0.5
    return geomloss(SamplesLoss("gaussian", blur=bandwidth, backend="tensorized"), rows)


def energy(p: Vectors) -> Statistic:
    loss = SamplesLoss("energy", backend="tensorized")
    return geomloss(loss, torch.from_numpy(p).double())


def geomloss(loss: SamplesLoss, p: torch.Tensor) -> Statistic:
    return lambda q: float(loss(p, torch.from_numpy(q).double()))


def classifier(p: Vectors) -> Statistic:
    """How well a linear classifier tells window from reference, out of fold."""

    def statistic(q: Vectors) -> float:
        rows, label = np.concatenate((p, q)), np.repeat([0, 1], [len(p), len(q)])
        model = RidgeClassifier(class_weight="balanced")
        scores = cross_val_predict(model, rows, label, cv=3, method="decision_function")
        return float(roc_auc_score(label, scores))

    return statistic


STATISTICS: Mapping[str, Callable[[Vectors], Statistic]] = {
    "RJSD (ours)": rjsd,
    "MMD, Gaussian (GeomLoss)": mmd,
    "energy distance (GeomLoss)": energy,
    "classifier (scikit-learn)": classifier,
}


def power(
    clean: Vectors, drifted: Vectors, *, n: int, reference: int
) -> dict[str, dict[float, float]]:
    """Share of windows beyond all but ``ALPHA`` of the quiet ones, by share of drifted events."""
    values: dict[str, dict[float, list[float]]] = {
        name: {share: [] for share in (0.0, *SHARES)} for name in STATISTICS
    }
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        order = rng.permutation(len(clean))
        rest = order[reference:]
        statistics = {name: of(clean[order[:reference]]) for name, of in STATISTICS.items()}
        for _ in range(WINDOWS):
            rows = rng.choice(rest, n, replace=False)
            for share in (0.0, *SHARES):
                window = clean[rows].copy()
                hit = rng.random(n) < share
                window[hit] = drifted[rows[hit]]
                for name, statistic in statistics.items():
                    values[name][share].append(statistic(window))
    return {name: _beyond_quiet(by_share) for name, by_share in values.items()}


def _beyond_quiet(by_share: Mapping[float, list[float]]) -> dict[float, float]:
    edge = np.quantile(by_share[0.0], 1 - ALPHA, method="higher")
    return {share: float(np.mean(np.array(by_share[share]) > edge)) for share in SHARES}


def report(title: str, found: Mapping[str, Mapping[float, float]]) -> None:
    print(f"\n| {title} | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |")
    print("| --- |" + " --- |" * len(SHARES))
    for name, by_share in found.items():
        print(f"| {name} | " + " | ".join(f"{rate:.0%}" for rate in by_share.values()) + " |")


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.7))


def recompressed(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=40)
    return Image.open(out)


@pytest.mark.parametrize("kind", [DriftKind.BLUR, DriftKind.TYPOS, DriftKind.SYNONYMS])
def test_a_shift_of_all_simulated_traffic_is_seen_more_often_than_by_chance(
    kind: DriftKind,
) -> None:
    count = 900
    clean = recorded.simulated(count, seed=3)
    drifted = recorded.simulated(count, seed=3, drifts=[Drift(kind, severity=2)])
    modality = "z_v" if kind is DriftKind.BLUR else "z_t"
    with single_threaded():
        found = power(getattr(clean, modality), getattr(drifted, modality), n=64, reference=400)
    report(f"simulated, {kind} of severity 2, share of a window of 64", found)
    assert found["RJSD (ours)"][1.0] > ALPHA


@pytest.mark.parametrize("change", [blurred, recompressed], ids=lambda f: f.__name__)
def test_a_shift_of_all_photographs_is_seen_more_often_than_by_chance(
    shared_data: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    folder = shared_data / "photos"
    clean, drifted = recorded.photographs(folder), recorded.photographs(folder, change)
    with single_threaded():
        found = power(clean, drifted, n=48, reference=200)
    report(f"photographs, {change.__name__}, share of a window of 48", found)
    assert found["RJSD (ours)"][1.0] > ALPHA


def cost(name: str) -> tuple[float, float]:
    """Seconds and extra megabytes of one window of 1,000 against 2,000, in a fresh process."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 768)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with single_threaded():
        statistic = STATISTICS[name](rows[:2000])
        statistic(rows[2000:2100])
        Path("/proc/self/clear_refs").write_text("5")  # peak memory starts anew
        before, started = kilobytes("VmRSS"), time.process_time()
        statistic(rows[2000:])
        return time.process_time() - started, (kilobytes("VmHWM") - before) / 1024


def kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def test_a_window_costs_less_than_a_test_by_ninety_nine_permutations() -> None:
    spawn = multiprocessing.get_context("spawn")
    costs = {}
    for name in STATISTICS:
        with ProcessPoolExecutor(1, mp_context=spawn) as fresh:
            costs[name] = fresh.submit(cost, name).result()
    print("\n| window of 1,000, reference of 2,000, d = 768 | processor time | memory |")
    print("| --- | --- | --- |")
    for name, (seconds, megabytes) in costs.items():
        print(f"| {name} | {seconds:.2f} s | {megabytes:.0f} MB |")
    assert costs["RJSD (ours)"][0] < 99 * costs["MMD, Gaussian (GeomLoss)"][0]
