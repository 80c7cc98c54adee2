"""How often a whole stream begins to be out without drift, of the false alarms that are accepted.

What an operator states is one number for a stream. Its signals depend on each other, which makes
alarms rarer; its windows overlap, which makes them more frequent: only a stream as a whole shows
what both come to. Windows are those of the defaults, an hour every 15 minutes.
"""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import t

from monitor.records import Signal, Verdict
from monitor.reference.calibrate import judge
from monitor.reference.signals import evaluate, single_threaded
from monitor.stats import alpha_per_test
from monitor.stats.sequential import Evidence, accumulate
from tests.benchmarks.levels import ENTROPY_FACTOR, PROCESSES
from tests.populations import near, reference_of, traffic

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(5400)]

HOUR, WEEK_HOURS = timedelta(hours=1), 168
SLIDES = 4  # of a window's length
ACCEPTED = 20.0  # a week: as many as make a measurement of some weeks
REFERENCES, REFERENCE, HOURS, PER_SLIDE = 12, 2_000, 340, 50
ALONE, OVER_WINDOWS, EITHER = "one window alone", "evidence over windows", "either"

Flags = npt.NDArray[np.bool_]


def test_a_stream_begins_to_be_out_no_more_often_than_is_accepted() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as processes:
        found = list(processes.map(begun_of, range(REFERENCES)))
    accepted = ACCEPTED * HOURS / WEEK_HOURS
    print(f"\n| begun, of {accepted:.0f} accepted | any signal | 95 % interval | all signals |")
    print("| --- | --- | --- | --- |")
    low = {}
    for kind in (ALONE, OVER_WINDOWS, EITHER):
        of_stream = np.array([f[kind][0] for f in found]) / accepted
        of_signals = np.mean([f[kind][1] for f in found]) / accepted
        mean = float(of_stream.mean())
        by = float(t.ppf(0.975, REFERENCES - 1) * of_stream.std(ddof=1) / REFERENCES**0.5)
        low[kind] = mean - by
        print(f"| {kind} | {mean:.2f} | {mean - by:.2f} to {mean + by:.2f} | {of_signals:.2f} |")
    assert low[EITHER] <= 1


def begun_of(seed: int) -> Mapping[str, tuple[int, int]]:
    """How often the stream of one reference begins to be out, and how often each of its signals."""
    alpha = alpha_per_test(ACCEPTED, HOUR, signals=len(Signal)).overall
    reference = reference_of(
        traffic(REFERENCE, 1_000 + seed), smallest_window=30, null_draws=400, seed=seed
    )
    events = near(reference, traffic(HOURS * SLIDES * PER_SLIDE, 5_000 + seed))
    windows = (HOURS - 1) * SLIDES + 1
    alone, together = np.zeros((2, len(Signal), windows), dtype=np.bool_)
    evidence = dict.fromkeys(Signal, Evidence())
    for window in range(windows):
        rows = np.arange(window * PER_SLIDE, (window + SLIDES) * PER_SLIDE)
        with single_threaded():
            estimates = evaluate(reference.frozen, events.take(rows), entropy_factor=ENTROPY_FACTOR)
            judged = judge(reference, estimates, alpha, entropy_factor=ENTROPY_FACTOR)
        for at, signal in enumerate(Signal):
            alone[at, window] = judged[signal].verdict is Verdict.DRIFTING
            if window % SLIDES == 0:
                evidence[signal] = accumulate(evidence[signal], judged[signal].scores, 1 / alpha)
            together[at, window] = evidence[signal].is_persistent
    out = {ALONE: alone, OVER_WINDOWS: together, EITHER: alone | together}
    return {kind: (begun(m.any(axis=0)), sum(map(begun, m))) for kind, m in out.items()}


def begun(out: Flags) -> int:
    """Runs of windows that are out; one calm window ends none: ``keep_firing_for`` in the rules."""
    at = np.flatnonzero(out)
    return int((np.diff(at) > 2).sum()) + int(len(at) > 0)
