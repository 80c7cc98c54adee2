"""Windows between false alarms of traffic whose exchanges depend on each other.

What an exchange is like is its rank along the main direction of the query texts. Every walk below
visits all ranks equally often in the long run, so nothing drifts; single windows see only some.
"""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from monitor.records import Signal
from monitor.reference.artefact import digest_of
from monitor.reference.embedded import Embedded, Ints
from monitor.reference.recalibration import with_burn_in
from monitor.stats.burn_in import WINDOWS_MIN
from tests import recorded
from tests.benchmarks.levels import (
    ALPHAS,
    PROCESSES,
    Alarms,
    Floats,
    Key,
    Level,
    built_and_rest,
    estimated,
    verdicts,
)
from tests.populations import ENCODER, loaded

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(5400)]

Walk = Callable[[int, np.random.Generator], npt.NDArray[np.float64]]

REFERENCES, REFERENCE, POPULATION = 6, 1000, 4000
N, WINDOWS_A_DAY = 128, 24
HEALTHY, JUDGED = 8 * WINDOWS_A_DAY, 5 * WINDOWS_A_DAY  # windows, one after the other
FACTOR = 2  # within which the realised run length of a burn-in must lie of the stated one
RESAMPLED, BURNT_IN = "resampled", "burn-in"
ALPHA = ALPHAS[0]
# A share of few events has few levels: how often it alarms is its law's, not the threshold's.
FEW_LEVELS = {Signal.NOVELTY_VISUAL, Signal.NOVELTY_TEXTUAL}
REPORTED = [
    s
    for s in Signal
    if "bound" not in s.value and s not in {Signal.EMID, Signal.IMAGE_LOGGING}  # all logged alike
]


def autoregressive(rho: float, kept_one_in: int = 1) -> Walk:
    """Ranks in [0, 1) of a Gaussian AR(1) process in event order, thinned as sampling thins."""

    def ranks(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        noise = rng.standard_normal(count * kept_one_in) * (1 - rho**2) ** 0.5
        noise[0] /= (1 - rho**2) ** 0.5
        walk = lfilter([1], [1, -rho], noise)
        kept = np.sort(rng.choice(len(walk), count, replace=False))
        return norm.cdf(walk[kept])

    return ranks


def daily(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The topic goes round once a day; at every hour a third of all topics are asked about."""
    hour = np.arange(count) / (N * WINDOWS_A_DAY)
    return (hour + rng.random() + rng.uniform(0, 1 / 3, count)) % 1


WALKS: Mapping[str, Walk] = {
    "independent": autoregressive(0.0),
    "AR(1), 0.5": autoregressive(0.5),
    "AR(1), 0.9": autoregressive(0.9),
    "AR(1), 0.9, one in ten sampled": autoregressive(0.9, kept_one_in=10),
    "daily rhythm": daily,
}


def windows_of(rest: Embedded, walk: Walk, seed: int) -> list[Embedded]:
    """Consecutive windows of a walk through the exchanges in the order of their main direction."""
    centred = rest.z_t - rest.z_t.mean(axis=0)
    main = np.linalg.svd(centred, full_matrices=False)[2][0]
    by_rank = np.argsort(centred @ main)
    windows = HEALTHY + JUDGED
    ranks = walk(windows * N, np.random.default_rng(seed))
    rows: Ints = by_rank[(ranks * len(rest)).astype(np.int64)]
    return [rest.take(row) for row in rows.reshape(windows, N)]


def verdicts_of(split: int) -> dict[str, dict[str, dict[Key, list[float]]]]:
    """Marks of one reference by walk and by what its thresholds are from."""
    events = recorded.simulated(POPULATION, seed=1)
    built, reference, rest = built_and_rest(events, REFERENCE, split)
    found = {}
    for name, walk in WALKS.items():
        estimates = estimated(reference, windows_of(rest, walk, seed=split))
        past, judged = estimates[:HEALTHY], estimates[HEALTHY:]
        arrays, _ = with_burn_in(built.arrays, past, needed=WINDOWS_MIN)
        burnt_in = loaded(replace(built, arrays=arrays, digest=digest_of(arrays, ENCODER)))
        found[name] = {
            RESAMPLED: verdicts(reference, judged),
            BURNT_IN: verdicts(burnt_in, judged),
        }
    return found


@pytest.fixture(scope="module")
def alarms() -> dict[tuple[str, str], Alarms]:
    """Tables of references and windows by walk and method."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as processes:
        found = list(processes.map(verdicts_of, range(REFERENCES)))
    return {
        (name, method): {
            key: np.array([f[name][method][key] for f in found]) for key in found[0][name][method]
        }
        for name in WALKS
        for method in (RESAMPLED, BURNT_IN)
    }


def test_resampling_keeps_its_promise_where_exchanges_are_independent(
    alarms: Mapping[tuple[str, str], Alarms],
) -> None:
    report(alarms)
    levels = {key: Level.of(table) for key, table in alarms["independent", RESAMPLED].items()}
    assert [key for key, level in levels.items() if level.low > key[1]] == []


@pytest.mark.parametrize("walk", WALKS)
def test_with_burn_in_run_lengths_are_within_a_factor_of_two(
    alarms: Mapping[tuple[str, str], Alarms], walk: str
) -> None:
    levels = {
        signal: Level.of(alarms[walk, BURNT_IN][signal, ALPHA])
        for signal in REPORTED
        if signal not in FEW_LEVELS
    }
    outside = {
        signal: level
        for signal, level in levels.items()
        if level.low > FACTOR * ALPHA or level.high < ALPHA / FACTOR
    }
    assert outside == {}


def report(alarms: Mapping[tuple[str, str], Alarms]) -> None:
    for alpha in ALPHAS:
        print(f"\n| windows between alarms, stated {1 / alpha:.0f} | {' | '.join(WALKS)} |")
        print("| --- |" + " --- |" * len(WALKS))
        for signal in REPORTED:
            cells = [
                " / ".join(
                    run_length(alarms[walk, method][signal, alpha])
                    for method in (RESAMPLED, BURNT_IN)
                )
                for walk in WALKS
            ]
            print(f"| `{signal}` | {' | '.join(cells)} |")


def run_length(table: Floats) -> str:
    hits = np.nansum(table)
    return f"{table.size / hits:.0f}" if hits else f"over {table.size}"
