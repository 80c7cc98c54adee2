"""False alarms per window without drift, on recorded and simulated traffic, at any n."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from monitor.records import Signal
from monitor.reference.embedded import Embedded
from tests import recorded
from tests.benchmarks.levels import ALPHAS, Alarms, Key, Level, Splits, count_alarms

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

VISUAL = [Signal.VISUAL_DISCREPANCY, Signal.NOVELTY_VISUAL]
TEXTUAL = [
    Signal.TEXTUAL_DISCREPANCY,
    Signal.RESPONSE_DISCREPANCY,
    Signal.OUTPUT_GAP,
    Signal.MI_QUERY_RESPONSE,
    Signal.MI_QUERY_TARGET,
    Signal.EMI,
    Signal.EMID,
    Signal.EMID_BOUND_UNSCALED,
    Signal.EMID_BOUND,
    Signal.INPUT_BOUND,
    Signal.NOVELTY_TEXTUAL,
]
BANDS = ((32, 64), (64, 128), (128, 256), (256, 512), (512, 1025))

POPULATIONS: dict[str, tuple[Callable[[Path], Embedded], list[Signal], Splits]] = {
    "photographs": (
        lambda data: recorded.images_only(recorded.photographs(data / "photos")),
        VISUAL,
        Splits(splits=40, reference=240, windows=52, largest=150),
    ),
    "llava_bench": (
        lambda data: recorded.llava_bench(data / "llava_bench"),
        TEXTUAL,
        Splits(splits=10, reference=1000, windows=204),
    ),
    "simulated": (
        lambda data: recorded.simulated(4000, seed=1),
        [s for s in Signal if s is not Signal.IMAGE_LOGGING],  # all are logged alike
        Splits(splits=6, reference=1000, windows=340, largest=512),
    ),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_false_alarms_per_window_are_as_stated(shared_data: Path, name: str) -> None:
    events_of, signals, splits = POPULATIONS[name]
    alarms, most = count_alarms(events_of(shared_data), splits)
    levels = {key: Level.of(table) for key, table in alarms.items() if key[0] in signals}
    report(name, levels, alarms, splits, most)
    too_many = [key for key, level in levels.items() if level.low > key[1]]
    too_few = [key for key, level in levels.items() if level.high < most[key] / 3]
    assert (too_many, too_few) == ([], [])


def report(
    name: str,
    levels: Mapping[Key, Level],
    alarms: Alarms,
    splits: Splits,
    most: Mapping[Key, float],
) -> None:
    print(
        f"\n{name}: {splits.splits * splits.windows} windows of {splits.smallest} to "
        f"{splits.largest}, {splits.splits} references of {splits.reference}"
    )
    sizes = np.array([splits.sizes(split) for split in range(splits.splits)])
    for alpha in ALPHAS:
        print(
            f"\n| signal, stated {alpha:.0%} | attainable | observed | interval | splits | by n |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        for (signal, of_alpha), level in levels.items():
            if of_alpha != alpha:
                continue
            table = alarms[signal, alpha]
            bands = [table[(low <= sizes) & (sizes < high)] for low, high in BANDS]
            by_n = " ".join(f"{np.nanmean(b):.1%}" if len(b) else "-" for b in bands)
            print(
                f"| `{signal}` | {most[signal, alpha]:.1%} | {level.rate:.1%} "
                f"| {level.low:.1%} to {level.high:.1%} "
                f"| {level.least:.1%} to {level.most:.1%} | {by_n} |"
            )
