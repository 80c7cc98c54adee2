"""How long a lasting shift takes to be noticed, by single windows and by evidence over windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.records import Signal, Verdict
from monitor.reference.calibrate import Judgement
from monitor.stats.sequential import STAKES

RUNS = 200
HORIZON = 100  # windows of a run; what takes longer is not told apart from what takes for ever
SIDES = 2  # that a signal is watched on at most

Times = npt.NDArray[np.int64]  # of each run; beyond HORIZON: not within it
Runs = npt.NDArray[np.int64]  # (HORIZON, RUNS), which of the judged windows comes when


@dataclass(frozen=True, slots=True)
class Wait:
    """Windows that do not overlap, from the first with a shift until it is noticed.

    ``share`` of the runs noticed it within ``HORIZON``; ``windows`` is the median, None where that
    lies beyond.
    """

    share: float
    windows: float | None

    @classmethod
    def of(cls, times: Times) -> "Wait":
        """From the time of each run."""
        median = float(np.median(times))
        return cls(float((times <= HORIZON).mean()), median if median <= HORIZON else None)


@dataclass(frozen=True, slots=True)
class Waits:
    """Until a signal is persistent, until any is, and until that or an alarm, whichever is first.

    ``by_signal`` has every signal that could be judged in at least one of the windows.
    """

    by_signal: Mapping[Signal, Wait]
    persistent: Wait
    noticed: Wait


def draw_runs(windows: int, rng: np.random.Generator) -> Runs:
    """Runs made of so many windows, drawn with replacement."""
    return rng.integers(windows, size=(HORIZON, RUNS))


def wait(windows: Sequence[Mapping[Signal, Judgement]], runs: Runs, threshold: float) -> Waits:
    """What the daemon would see in runs of these windows, each begun without evidence.

    ``threshold`` is that of the evidence.
    """
    known = [s for s in Signal if any(s in w and w[s].value is not None for w in windows)]
    gains = np.array([[_gains(window[s].scores) for s in known] for window in windows])
    gains = gains.reshape(len(windows), len(known), SIDES * len(STAKES))
    alarms = np.array([any(j.verdict is Verdict.DRIFTING for j in w.values()) for w in windows])
    capital = np.zeros((RUNS, *gains.shape[1:]))
    until = np.full((RUNS, len(known)), HORIZON + 1)
    for t, rows in enumerate(runs, start=1):
        # The recursion of `accumulate`, all runs at once; a window without a value adds nothing.
        gain = gains[rows]
        capital = np.where(np.isnan(gain), capital, (capital + 1) * gain)
        until[(capital.mean(axis=2) >= threshold) & (until > t)] = t
    persistent = until.min(axis=1, initial=HORIZON + 1)
    first = np.where(alarms[runs].any(axis=0), alarms[runs].argmax(axis=0) + 1, HORIZON + 1)
    return Waits(
        by_signal={s: Wait.of(until[:, k]) for k, s in enumerate(known)},
        persistent=Wait.of(persistent),
        noticed=Wait.of(np.minimum(persistent, first)),
    )


def _gains(scores: Sequence[float]) -> list[float]:
    """Growth of each bet; those of a signal watched on one side stand twice, for the same mean."""
    if not scores:
        return [np.nan] * (SIDES * len(STAKES))
    sides = tuple(scores) * (SIDES // len(scores))
    return [1 + stake * score for score in sides for stake in STAKES]
