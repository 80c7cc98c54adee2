"""What each simulated drift does to embeddings of untrained encoders and to a q network."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import hypot

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from monitor.encoders.builtin import builtin_encoders
from monitor.encoders.images import ImageLimits, decode_image
from monitor.records import Exchange
from monitor.reference.artefact import spectrum
from monitor.reference.conditional import QNetwork, train_q
from monitor.reference.embedded import Embedded, Vectors
from monitor.reference.signals import single_threaded
from monitor.simulate.corruptions import shuffle_answers, swap_images
from monitor.simulate.traffic import Drift, DriftKind, simulate
from monitor.stats.club import MiEstimate, mutual_information
from monitor.stats.emi import emi
from monitor.stats.rjsd import Spectrum, rjsd_from

pytestmark = pytest.mark.statistical

START = datetime(2026, 3, 1, tzinfo=UTC)
REFERENCE, WINDOW, EVENTS = 600, 100, 300
CLEAN_WINDOWS = 12
BEYOND = float(stats.t.ppf(1 - 1e-5, CLEAN_WINDOWS - 1)) * (1 + 1 / CLEAN_WINDOWS) ** 0.5
FIVE_SIGMA = 5
CLEARLY = 3  # standard errors

ENCODERS = builtin_encoders()


def embedded(exchanges: Iterable[Exchange]) -> Embedded:
    kept = list(exchanges)
    images = [i.data for e in kept for i in e.images if i.data is not None]
    targets = [e.target for e in kept if e.target is not None]
    decoded = [decode_image(data, ImageLimits()) for data in images]
    return Embedded(
        ids=tuple(e.id for e in kept),
        z_t=ENCODERS.textual.encode([e.text for e in kept]).numpy(),
        z_y=ENCODERS.textual.encode([e.response for e in kept]).numpy(),
        z_v=ENCODERS.visual.encode(decoded).numpy(),
        has_image=np.array([bool(e.images) for e in kept]),
        z_target=ENCODERS.textual.encode(targets).numpy(),
        has_target=np.array([e.target is not None for e in kept]),
    )


def traffic(seed: int, count: int, *drifts: Drift) -> list[Exchange]:
    return list(simulate(seed, start=START, count=count, drifts=drifts))


@dataclass(frozen=True)
class Reference:
    """What 600 clean exchanges taught."""

    visual: Spectrum
    textual: Spectrum
    answers: QNetwork
    pairing: QNetwork

    def discrepancies(self, window: Embedded) -> tuple[float, float]:
        return (
            rjsd_from(self.visual, spectrum(window.z_v)),
            rjsd_from(self.textual, spectrum(window.z_t)),
        )

    def information(self, window: Embedded, answers: Vectors) -> MiEstimate:
        return mutual_information(torch.from_numpy(answers), *self.answers.at(window.fused()))

    def emi(self, window: Embedded) -> MiEstimate:
        response, target = torch.from_numpy(window.z_y), torch.from_numpy(window.z_target)
        return emi(response, target, *self.answers.at(window.fused()))

    def agreement(self, window: Embedded) -> MiEstimate:
        texts = torch.from_numpy(window.z_t_of_images)
        return mutual_information(texts, *self.pairing.at(window.z_v))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterable[None]:
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def reference() -> Reference:
    good = embedded(traffic(1, REFERENCE))
    x = good.fused()
    exchange = np.arange(REFERENCE)
    answers = train_q(
        np.concatenate((x, x)),
        np.concatenate((good.z_y, good.z_target)),
        seed=1,
        groups=np.concatenate((exchange, exchange)),
    )
    pairing = train_q(good.z_v, good.z_t_of_images, seed=2)
    return Reference(spectrum(good.z_v), spectrum(good.z_t), answers.network, pairing.network)


@pytest.fixture(scope="module")
def clean() -> Embedded:
    """Events that the reference has not seen."""
    return embedded(traffic(2, EVENTS))


@pytest.fixture(scope="module")
def fresh_windows(reference: Reference) -> npt.NDArray[np.float64]:
    """Visual and textual discrepancies of clean windows, each of a seed of its own."""
    windows = [embedded(traffic(100 + i, WINDOW)) for i in range(CLEAN_WINDOWS)]
    return np.array([reference.discrepancies(window) for window in windows])


def test_successive_clean_exchanges_differ_no_more_than_any_clean_exchanges(
    reference: Reference, clean: Embedded, fresh_windows: npt.NDArray[np.float64]
) -> None:
    rng = np.random.default_rng(5)
    picked = [rng.permutation(EVENTS)[:WINDOW] for _ in range(CLEAN_WINDOWS)]
    at_random = np.array([reference.discrepancies(clean.take(rows)) for rows in picked])
    for fresh, drawn in zip(fresh_windows.T, at_random.T, strict=True):
        assert stats.ttest_ind(fresh, drawn, equal_var=False).pvalue > 1e-4


@pytest.mark.parametrize(
    "kind", ["blur", "noise", "frost", "contrast", "jpeg", "sketch", "texture"]
)
def test_changed_images_move_the_visual_discrepancy(
    kind: str, reference: Reference, fresh_windows: npt.NDArray[np.float64]
) -> None:
    window = embedded(traffic(100, WINDOW, Drift(DriftKind(kind))))
    visual, textual = reference.discrepancies(window)
    assert visual > beyond(fresh_windows[:, 0])
    assert textual == fresh_windows[0, 1]


@pytest.mark.parametrize("kind", ["typos", "synonyms", "truncation", "code_switching", "language"])
def test_changed_texts_move_the_textual_discrepancy(
    kind: str, reference: Reference, fresh_windows: npt.NDArray[np.float64]
) -> None:
    window = embedded(traffic(100, WINDOW, Drift(DriftKind(kind))))
    visual, textual = reference.discrepancies(window)
    assert textual > beyond(fresh_windows[:, 1])
    assert visual == fresh_windows[0, 0]


@pytest.mark.parametrize(
    ("kind", "severity"), [("worse_responder", 3), ("blur", 4), ("frost", 4), ("typos", 5)]
)
def test_emi_falls_with_the_quality_of_the_answers(
    kind: str, severity: int, reference: Reference, clean: Embedded
) -> None:
    drifted = embedded(traffic(2, EVENTS, Drift(DriftKind(kind), severity)))
    before, after = reference.emi(clean), reference.emi(drifted)
    assert before.value - after.value > CLEARLY * hypot(before.stderr, after.stderr)


def test_emi_of_two_clean_samples_is_the_same(reference: Reference, clean: Embedded) -> None:
    one, other = reference.emi(clean), reference.emi(embedded(traffic(3, EVENTS)))
    assert abs(one.value - other.value) < FIVE_SIGMA * hypot(one.stderr, other.stderr)


def test_shuffled_answers_share_no_information_with_the_query(
    reference: Reference, clean: Embedded
) -> None:
    shuffled = embedded(shuffle_answers(traffic(2, EVENTS), np.random.default_rng(0)))
    right = reference.information(clean, clean.z_y)
    wrong = reference.information(shuffled, shuffled.z_y)
    assert abs(wrong.value) < FIVE_SIGMA * wrong.stderr
    assert wrong.value < right.value / 10


def test_swapped_images_break_the_agreement_of_image_and_text_and_no_marginal(
    reference: Reference, clean: Embedded
) -> None:
    swapped = embedded(swap_images(traffic(2, EVENTS), np.random.default_rng(0)))
    right, wrong = reference.agreement(clean), reference.agreement(swapped)
    assert right.value - wrong.value > FIVE_SIGMA * hypot(right.stderr, wrong.stderr)
    assert abs(wrong.value) < FIVE_SIGMA * wrong.stderr
    assert reference.discrepancies(swapped) == pytest.approx(reference.discrepancies(clean))


def beyond(values: npt.NDArray[np.float64]) -> float:
    """What one more clean value exceeds once in 100,000 times, were they normal."""
    return float(values.mean() + BEYOND * values.std(ddof=1))
