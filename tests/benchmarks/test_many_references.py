"""The level of the informations over many references: what few references are too noisy to show.

Under one q an information of any set of events is the mean of a block of one matrix, so a
reference costs a second, not a minute.
"""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from monitor.reference.conditional import train_q
from monitor.reference.embedded import Ints
from monitor.reference.signals import single_threaded
from monitor.stats.club import Prediction
from monitor.stats.decision import Direction, decide
from monitor.stats.null import Null, null_sizes, pseudo_windows
from tests import recorded
from tests.benchmarks.levels import ALPHAS, Level

Floats = npt.NDArray[np.float64]

TRAINED, POOL = 500, 500
REFERENCES, DRAWS, WINDOWS = 120, 60, 3
SIZES = (40, 80, 128, 250, 500)


def terms(q: Prediction, answers: npt.NDArray[np.float32]) -> Floats:
    """How much better q explains event i by its own answer than by that of event j."""
    y = torch.from_numpy(answers).to(torch.float64)
    misfit = q.w @ y.square().T - 2 * (q.w_mu @ y.T)
    table: Floats = (misfit - misfit.diagonal()[:, None]).numpy()
    return table


def alarms_of_one_reference(table: Floats, rng: np.random.Generator) -> list[list[bool]]:
    order = rng.permutation(len(table))
    pool, rest = order[:POOL], order[POOL:]

    def value(rows: Ints) -> float:
        return float(table[np.ix_(rows, rows)].mean())

    sizes = np.append(null_sizes(POOL, 30), POOL // 2)
    rows = [pseudo_windows(POOL, int(n), DRAWS, rng) for n in sizes]
    draws = np.array([[value(pool[row]) for row in of_size] for of_size in rows])
    null = Null.of(sizes, draws, pool=POOL, whole=value(pool))
    found: list[list[bool]] = [[] for _ in ALPHAS]
    for n in SIZES:
        at_n = null.at(n)
        assert at_n is not None
        for _ in range(WINDOWS):
            drawn = value(rng.choice(rest, n, replace=False))
            for alarms, alpha in zip(found, ALPHAS, strict=True):
                decision = decide(drawn, at_n, direction=Direction.LOW, alpha=alpha, n=n)
                alarms.append(decision.is_drifting)
    return found


@pytest.mark.benchmark
def test_informations_alarm_as_often_as_stated_over_many_references() -> None:
    events = recorded.simulated(TRAINED + 3500, seed=1)
    with single_threaded():
        known, fresh = (events.take(rows) for rows in np.split(np.arange(len(events)), [TRAINED]))
        network = train_q(known.fused(), known.z_y, seed=0).network
        q = Prediction.of(*network.at(fresh.fused()))
        response, target = terms(q, fresh.z_y), terms(q, fresh.z_target)
    levels = {}
    print("\n| signal | stated | observed | interval | by n of " + ", ".join(map(str, SIZES)))
    for name, table in {"mi_query_response": response, "emi": response - target}.items():
        drawn = [
            alarms_of_one_reference(table, np.random.default_rng(r)) for r in range(REFERENCES)
        ]
        for alpha, alarms in zip(ALPHAS, np.array(drawn, np.float64).swapaxes(0, 1), strict=True):
            level = levels[name, alpha] = Level.of(alarms)
            by_n = alarms.reshape(REFERENCES, len(SIZES), WINDOWS).mean(axis=(0, 2))
            print(
                f"| `{name}` | {alpha:.0%} | {level.rate:.1%} | {level.low:.1%} to "
                f"{level.high:.1%} | {' '.join(f'{rate:.1%}' for rate in by_n)} |"
            )
    assert [key for key, level in levels.items() if level.low > key[1]] == []
    assert [key for key, level in levels.items() if level.high < key[1] / 3] == []
