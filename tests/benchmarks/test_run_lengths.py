"""Windows between false alarms of traffic whose exchanges depend on each other.

What an exchange is like is its rank along the main direction of the query texts. Every walk below
visits all ranks equally often in the long run, so nothing drifts; single windows see only some.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from monitor.records import Signal
from monitor.reference.artefact import Embedded, Ints, Reference
from tests import recorded
from tests.benchmarks.levels import ALPHAS, Alarms, Level, reference_and_rest, verdicts

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

Walk = Callable[[int, np.random.Generator], npt.NDArray[np.float64]]

REFERENCES, REFERENCE, POPULATION = 3, 1000, 4000
WINDOWS, N = 60, 128
WINDOWS_A_DAY = 24
REPORTED = [s for s in Signal if "bound" not in s.value and s is not Signal.EMID]


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
    ranks = walk(WINDOWS * N, np.random.default_rng(seed))
    rows: Ints = by_rank[(ranks * len(rest)).astype(np.int64)]
    return [rest.take(row) for row in rows.reshape(WINDOWS, N)]


def count_alarms(references: list[tuple[Reference, Embedded]], walk: Walk) -> Alarms:
    found = [
        verdicts(reference, windows_of(rest, walk, seed))
        for seed, (reference, rest) in enumerate(references)
    ]
    return {key: np.array([alarms[key] for alarms in found]) for key in found[0]}


def test_windows_between_false_alarms_are_as_stated_where_exchanges_are_independent() -> None:
    events = recorded.simulated(POPULATION, seed=1)
    references = [reference_and_rest(events, REFERENCE, split) for split in range(REFERENCES)]
    alarms = {name: count_alarms(references, walk) for name, walk in WALKS.items()}
    report(alarms)
    levels = {key: Level.of(table) for key, table in alarms["independent"].items()}
    assert [key for key, level in levels.items() if level.low > key[1]] == []


def report(alarms: Mapping[str, Alarms]) -> None:
    for alpha in ALPHAS:
        print(f"\n| windows between alarms, stated {1 / alpha:.0f} | {' | '.join(alarms)} |")
        print("| --- |" + " --- |" * len(alarms))
        for signal in REPORTED:
            hits = [table[signal, alpha].sum() for table in alarms.values()]
            total = REFERENCES * WINDOWS
            cells = [f"{total / h:.0f}" if h else f"over {total}" for h in hits]
            print(f"| `{signal}` | {' | '.join(cells)} |")
