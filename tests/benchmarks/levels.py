"""False alarms counted: many references, many drift-free windows each, and what they can say."""

import math
import multiprocessing
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom, t

from monitor.records import Modality, Signal, Verdict
from monitor.reference.artefact import Neighbourhood, Reference
from monitor.reference.build import BuiltReference
from monitor.reference.calibrate import judge
from monitor.reference.embedded import Embedded, Ints
from monitor.reference.signals import Estimate, evaluate, single_threaded
from monitor.stats.decision import DIRECTIONS, Direction
from monitor.stats.novelty import ShareNull
from tests.populations import built_from, loaded

ALPHAS = (0.05, 0.01)
PROCESSES = 2
SMALLEST_WINDOW, NULL_DRAWS = 30, 100
ENTROPY_FACTOR = 10.0
NEGLIGIBLE = 1e-7

Floats = npt.NDArray[np.float64]
Key = tuple[Signal, float]
Window = Mapping[Signal, Estimate]
Alarms = Mapping[Key, Floats]  # a row per split, a column per window; NaN without a verdict


@dataclass(frozen=True, slots=True)
class Splits:
    """How a population is cut, again and again: a reference, and windows of what is left."""

    splits: int
    reference: int  # exchanges
    windows: int  # of each split
    smallest: int = 32
    largest: int = 1024

    def sizes(self, split: int) -> Ints:
        """Exchanges of each window, even in log n."""
        low, high = math.log(self.smallest), math.log(self.largest + 1)
        return np.exp(np.random.default_rng([split, 1]).uniform(low, high, self.windows)).astype(
            np.int64
        )


@dataclass(frozen=True, slots=True)
class Level:
    """A rate of alarms with a 95 % interval and the extremes over the splits."""

    rate: float
    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, alarms: Floats) -> "Level":
        """From a table of splits and windows.

        Windows of a split share its reference, so the binomial interval of Clopper and Pearson is
        that of the effective number of windows, by the spread of the splits (Korn and Graubard,
        1998, "Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data").
        """
        rates, counts = np.nanmean(alarms, axis=1), np.isfinite(alarms).sum(axis=1)
        rate, windows, k = float(np.nanmean(alarms)), int(counts.sum()), len(rates)
        variance = k / (k - 1) * float(np.square(counts * (rates - rate)).sum()) / windows**2
        effective = float(windows)
        if variance > 0:
            by_freedom = (t.ppf(0.975, windows - 1) / t.ppf(0.975, k - 1)) ** 2
            effective = min(effective, rate * (1 - rate) / variance * by_freedom)
        hits = rate * effective
        low = float(beta.ppf(0.025, hits, effective - hits + 1)) if hits > 0 else 0.0
        high = float(beta.ppf(0.975, hits + 1, effective - hits)) if hits < effective else 1.0
        return cls(rate, low, high, float(rates.min()), float(rates.max()))


def count_alarms(events: Embedded, splits: Splits) -> tuple[Alarms, Mapping[Key, float]]:
    """Whether each window of each split alarmed, and how often one could at the most."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as processes:
        found = list(processes.map(partial(_of_split, events, splits), range(splits.splits)))
    keys = found[0][0]
    alarms = {key: np.array([of_split[key] for of_split, _ in found]) for key in keys}
    return alarms, {key: float(np.nanmean([most[key] for _, most in found])) for key in keys}


def estimated(reference: Reference, windows: Iterable[Embedded]) -> list[Window]:
    """Every signal of each window."""
    with single_threaded():
        return [
            evaluate(reference.frozen, window, entropy_factor=ENTROPY_FACTOR) for window in windows
        ]


def verdicts(reference: Reference, windows: Iterable[Window]) -> dict[Key, list[float]]:
    """1 for an alarm, 0 for none, NaN for no verdict, window by window."""
    found: dict[Key, list[float]] = {(s, alpha): [] for s in Signal for alpha in ALPHAS}
    marks = {Verdict.DRIFTING: 1.0, Verdict.IN_CONTROL: 0.0, Verdict.INSUFFICIENT: math.nan}
    for estimates in windows:
        for alpha in ALPHAS:
            judged = judge(reference, estimates, alpha, entropy_factor=ENTROPY_FACTOR)
            for signal, judgement in judged.items():
                found[signal, alpha].append(marks[judgement.verdict])
    return found


def searched(reference: Reference, events: Embedded) -> Embedded:
    """Exchanges with their distances to the reference, so that windows of them have novelty."""
    distances = Neighbourhood.of(reference.density, reference.density_positions, None).distances
    return replace(
        events,
        novelty_v=distances(Modality.VISUAL, events.z_v),
        novelty_t=distances(Modality.TEXTUAL, events.z_t),
    )


def built_and_rest(
    events: Embedded, size: int, split: int
) -> tuple[BuiltReference, Reference, Embedded]:
    """A reference of ``size`` exchanges picked by lot, and the others in their order."""
    order = np.random.default_rng([split, 0]).permutation(len(events))
    built = built_from(
        events.take(order[:size]),
        smallest_window=SMALLEST_WINDOW,
        null_draws=NULL_DRAWS,
        seed=split,
    )
    reference = loaded(built)
    return built, reference, searched(reference, events.take(np.sort(order[size:])))


def attainable(
    reference: Reference, rest: Embedded, windows: Iterable[Window]
) -> dict[Key, list[float]]:
    """How often a window may alarm by what its rule can do: alpha, for a share less.

    A share of few events has few levels, and how large it is has to be learned from few: at the
    share that the population has, the rate is what the rule gives over all references and windows.
    """
    found: dict[Key, list[float]] = {(s, alpha): [] for s in Signal for alpha in ALPHAS}
    true = _true_shares(reference, rest)
    for estimates in windows:
        for (signal, alpha), levels in found.items():
            law, estimate = reference.share_nulls.get(signal), estimates[signal]
            if isinstance(law, ShareNull) and estimate.value is not None:
                pool, direction = int(law.pool), DIRECTIONS[signal]
                levels.append(_level_of_share(pool, true[signal], estimate.n, direction, alpha))
            else:
                levels.append(alpha)
    return found


def _true_shares(reference: Reference, rest: Embedded) -> dict[Signal, float]:
    thresholds = reference.frozen.novelty_thresholds
    columns = {
        Signal.NOVELTY_VISUAL: (Modality.VISUAL, rest.novelty_v),
        Signal.NOVELTY_TEXTUAL: (Modality.TEXTUAL, rest.novelty_t),
    }
    novel = {
        signal: float((distances > thresholds[modality]).mean())
        for signal, (modality, distances) in columns.items()
        if distances is not None and modality in thresholds
    }
    return novel | {Signal.IMAGE_SHARE: float(rest.has_image.mean())}


@cache
def _level_of_share(pool: int, p: float, n: int, direction: Direction, alpha: float) -> float:
    counts = np.arange(pool + 1)
    weights = binom.pmf(counts, pool, p)
    of_window = binom.pmf(np.arange(n + 1), n, p)
    return sum(
        float(weight * of_window[_alarms(ShareNull(count, pool), n, direction, alpha)].sum())
        for count, weight in zip(counts.tolist(), weights.tolist(), strict=True)
        if weight > NEGLIGIBLE
    )


def _alarms(law: ShareNull, n: int, direction: Direction, alpha: float) -> npt.NDArray[np.bool_]:
    """Of 0..n events, which are an alarm."""
    mass = law.probabilities(n)
    tails = {Direction.HIGH: mass[::-1].cumsum()[::-1], Direction.LOW: mass.cumsum()}
    sides = [tails[direction]] if direction in tails else list(tails.values())
    return np.any([tail <= alpha / len(sides) for tail in sides], axis=0)


def _of_split(
    events: Embedded, splits: Splits, split: int
) -> tuple[dict[Key, list[float]], dict[Key, list[float]]]:
    _, reference, rest = built_and_rest(events, splits.reference, split)
    rng = np.random.default_rng([split, 2])
    windows = (rest.take(rng.choice(len(rest), n, replace=False)) for n in splits.sizes(split))
    estimates = estimated(reference, windows)
    return verdicts(reference, estimates), attainable(reference, rest, estimates)
