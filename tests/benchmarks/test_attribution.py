"""Do shares find the drifted events of a mixed window? ROC of every score, and where it fails."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from monitor.records import Modality, Signal
from monitor.reference.artefact import Reference
from monitor.reference.embedded import Embedded, Floats, Mask
from monitor.reference.shares import SignalShares, split_signals
from monitor.reference.signals import single_threaded
from monitor.simulate.traffic import Drift, DriftKind
from tests import recorded
from tests.populations import near, reference_of

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

REFERENCE, REST, WINDOW, WINDOWS = 1_000, 600, 200, 10
PHOTOGRAPHS_KNOWN = 240
FRACTIONS = (0.1, 0.3)
SEVERITY = 3
NAMES = ("share", "novelty", "I(X; response)", "EMI")
SHARE = {
    Modality.VISUAL: Signal.VISUAL_DISCREPANCY,
    Modality.TEXTUAL: Signal.TEXTUAL_DISCREPANCY,
    Modality.RESPONSE: Signal.RESPONSE_DISCREPANCY,
}
KINDS = {
    DriftKind.BLUR: Modality.VISUAL,
    DriftKind.NOISE: Modality.VISUAL,
    DriftKind.TYPOS: Modality.TEXTUAL,
    DriftKind.LANGUAGE: Modality.TEXTUAL,
    DriftKind.SHUFFLED_ANSWERS: Modality.RESPONSE,
}
Scores = Mapping[str, Floats]  # by name; one for each event of the window, NaN where it has none


@dataclass(frozen=True, slots=True)
class Traffic:
    """The same exchanges as they are and, in the same order, all of them with the drift."""

    clean: Embedded
    drifted: Embedded
    modality: Modality

    def mixed(self, rows: np.ndarray, fraction: float) -> tuple[Embedded, Mask]:
        """A window of which the first events are drifted, and which these are."""
        hit = np.arange(len(rows)) < round(fraction * len(rows))
        both = joined(self.clean, self.drifted)
        return both.take(np.where(hit, rows + len(self.clean), rows)), hit


def joined(first: Embedded, second: Embedded) -> Embedded:
    columns = ("z_t", "z_y", "z_v", "has_image", "z_target", "has_target")
    both = {c: np.concatenate((getattr(first, c), getattr(second, c))) for c in columns}
    return Embedded(ids=first.ids + second.ids, **both)


def scores(reference: Reference, window: Embedded, modality: Modality) -> Scores:
    """Higher is more suspicious."""
    found = split_signals(window, reference)
    near_to = near(reference, window)

    def towards_drift(split: SignalShares | None, sign: int) -> Floats:
        values = np.full(len(window), math.nan)
        if split is not None:
            values[split.events] = sign * split.shares
        return values

    novelty = np.full(len(window), math.nan)
    if modality is Modality.VISUAL:
        novelty[window.has_image] = near_to.novelty_v
    elif modality is Modality.TEXTUAL:
        novelty = np.asarray(near_to.novelty_t)
    values = (
        towards_drift(found.get(SHARE[modality]), 1),
        novelty,
        towards_drift(found.get(Signal.MI_QUERY_RESPONSE), -1),
        towards_drift(found.get(Signal.EMI), -1),
    )
    return dict(zip(NAMES, values, strict=True))


def areas(
    traffic: Traffic, reference: Reference, fraction: float, names: Collection[str]
) -> dict[str, list[float]]:
    """Area under the ROC of each score, window by window."""
    rng = np.random.default_rng(7)
    size = min(WINDOW, len(traffic.clean) // 2)
    found: dict[str, list[float]] = {}
    for _ in range(WINDOWS):
        rows = rng.choice(len(traffic.clean), size, replace=False)
        window, hit = traffic.mixed(rows, fraction)
        for name, values in scores(reference, window, traffic.modality).items():
            known = np.isfinite(values)
            if known.any() and name in names:
                area = float(roc_auc_score(hit[known], values[known]))
                found.setdefault(name, []).append(area)
    return found


def report(
    title: str, traffic: Traffic, reference: Reference, names: Collection[str] = NAMES
) -> dict[float, dict[str, float]]:
    """Prints a row for each fraction; the error is that of the mean over windows."""
    means = {}
    for fraction in FRACTIONS:
        with single_threaded():
            found = areas(traffic, reference, fraction, names)
        means[fraction] = {name: float(np.mean(a)) for name, a in found.items()}
        row = [
            f"{name} {np.mean(a):.3f} ± {np.std(a, ddof=1) / len(a) ** 0.5:.3f}"
            for name, a in found.items()
        ]
        print(f"\n| {title}, {fraction:.0%} | " + " | ".join(row) + " |", end="")
    return means


@pytest.fixture(scope="module")
def clean() -> Embedded:
    return recorded.simulated(REFERENCE + REST, seed=3)


@pytest.fixture(scope="module")
def reference(clean: Embedded) -> Reference:
    return reference_of(clean.take(np.arange(REFERENCE)), null_draws=2)


@pytest.mark.parametrize("kind", KINDS)
def test_drifted_exchanges_are_found_by_what_they_add(
    clean: Embedded, reference: Reference, kind: DriftKind
) -> None:
    drift = Drift(kind, severity=SEVERITY)
    rest = np.arange(REFERENCE, REFERENCE + REST)
    drifted = recorded.simulated(REFERENCE + REST, seed=3, drifts=[drift])
    traffic = Traffic(clean.take(rest), drifted.take(rest), KINDS[kind])
    if KINDS[kind] is Modality.VISUAL:
        traffic = replace(traffic, clean=pictured(traffic.clean), drifted=pictured(traffic.drifted))
    found = report(f"simulated {kind}", traffic, reference)
    assert max(found[0.3].values()) > 0.5


def pictured(events: Embedded) -> Embedded:
    return events.take(events.has_image)


@pytest.mark.parametrize("radius", [0.7, 2.0])
def test_blurred_photographs_are_found_by_what_they_add(shared_data: Path, radius: float) -> None:
    folder = shared_data / "photos"

    def blurred(image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(radius))

    plain = recorded.images_only(recorded.photographs(folder))
    changed = recorded.images_only(recorded.photographs(folder, blurred))
    order = np.random.default_rng(1).permutation(len(plain))
    known, rest = np.split(order, [PHOTOGRAPHS_KNOWN])
    traffic = Traffic(plain.take(rest), changed.take(rest), Modality.VISUAL)
    reference = reference_of(plain.take(known), null_draws=2)
    found = report(f"photographs blurred by {radius}", traffic, reference, NAMES[:2])
    assert found[0.3]["share"] > 0.5
