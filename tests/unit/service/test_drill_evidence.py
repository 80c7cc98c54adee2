"""Runs of judged windows: when evidence and single windows notice what lasts."""

import numpy as np
import pytest

from monitor.records import Signal, Verdict
from monitor.reference.calibrate import Judgement
from monitor.service.drill_evidence import HORIZON, RUNS, Wait, draw_runs, wait
from monitor.stats.sequential import Evidence, accumulate

EMI, SHARE, VISUAL = Signal.EMI, Signal.IMAGE_SHARE, Signal.VISUAL_DISCREPANCY
THRESHOLD = 200.0


def judgement(*scores: float, drifting: bool = False) -> Judgement:
    verdict = Verdict.DRIFTING if drifting else Verdict.IN_CONTROL
    if not scores:
        return Judgement(n=3, verdict=Verdict.INSUFFICIENT, reason="too_few_events")
    return Judgement(n=100, verdict=verdict, value=0.0, scores=scores)


def windows(seed: int, centre: float) -> list[dict[Signal, Judgement]]:
    rng = np.random.default_rng(seed)
    scores = np.clip(centre + rng.uniform(-0.9, 0.9, (30, 3)), -1, 1).tolist()
    return [
        {EMI: judgement(one), SHARE: judgement(two, three), VISUAL: judgement()}
        for one, two, three in scores
    ]


def first_persistent(judged: list[dict[Signal, Judgement]], run: list[int], signal: Signal) -> int:
    evidence = Evidence()
    for t, row in enumerate(run, start=1):
        evidence = accumulate(evidence, judged[row][signal].scores, THRESHOLD)
        if evidence.is_persistent:
            return t
    return HORIZON + 1


@pytest.mark.parametrize("centre", [0.0, 0.25, 0.5])
def test_runs_become_persistent_when_the_daemon_would_say_so(centre: float) -> None:
    judged = windows(1, centre)
    judged[3][EMI] = judgement()  # too few events in one of them
    runs = draw_runs(len(judged), np.random.default_rng(2))
    waits = wait(judged, runs, THRESHOLD)
    for signal in (EMI, SHARE):
        times = [first_persistent(judged, run, signal) for run in runs.T.tolist()]
        assert waits.by_signal[signal] == Wait.of(np.array(times))


def test_a_signal_that_was_never_judged_has_no_wait() -> None:
    judged = windows(1, 0.5)
    waits = wait(judged, draw_runs(len(judged), np.random.default_rng(2)), THRESHOLD)
    assert waits.by_signal.keys() == {EMI, SHARE}


def test_whichever_comes_first_is_when_it_is_noticed() -> None:
    judged = windows(1, 0.5)
    runs = draw_runs(len(judged), np.random.default_rng(2))
    before = wait(judged, runs, THRESHOLD)
    assert before.noticed == before.persistent
    judged = [w | {VISUAL: judgement(0.0, drifting=True)} for w in judged]
    after = wait(judged, runs, THRESHOLD)
    assert (after.noticed, after.persistent) == (Wait(1.0, 1.0), before.persistent)


def test_what_is_noticed_in_fewer_than_half_of_the_runs_has_no_median() -> None:
    times = np.full(RUNS, HORIZON + 1)
    times[: RUNS // 4] = 7
    assert Wait.of(times) == Wait(0.25, None)
