"""False alarms of how images are logged, and of all other signals while the log loses images."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from monitor.records import ImageState, Signal, Verdict
from monitor.reference.artefact import Reference
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.comparable import comparable_estimates
from monitor.reference.embedded import Embedded
from monitor.reference.image_states import STATES
from monitor.reference.signals import evaluate, single_threaded
from monitor.stats import StatesNull, largest_change
from monitor.stats.novelty import share
from tests import recorded
from tests.benchmarks.levels import ENTROPY_FACTOR, built_and_rest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

ALPHA = 0.01
LOG_ALPHA = 1e-4  # at which it is decided that logging has changed, as in a running monitor
SPLITS, WINDOWS, N, REFERENCE = 6, 60, 150, 800
TRUNCATED = STATES.index(ImageState.TRUNCATED)
MIXES = {
    "all inline": [1.0],
    "inline, 3 % addresses": [0.97, 0.03],
    "half addresses": [0.5, 0.5],
    "six states": [0.4, 0.3, 0.1, 0.1, 0.05, 0.05],
}


def test_false_alarms_of_changed_logging_are_as_stated() -> None:
    pool, n, trials = 400, 150, 20_000
    print(
        f"\n| states | stated 5 % | 1 % | 0.1 % | ({trials} references of {pool}, windows of {n})"
    )
    print("| --- | --- | --- | --- |")
    for name, mix in MIXES.items():
        rng = np.random.default_rng(len(name))
        law = np.array([*mix, *[0.0] * (len(STATES) - len(mix))])
        pools, windows = (rng.multinomial(size, law, trials) for size in (pool, n))
        p = np.array([p_value(k, c) for k, c in zip(pools, windows, strict=True)])
        alarms = {alpha: int((p <= alpha).sum()) for alpha in (0.05, 0.01, 0.001)}
        print(
            f"| {name} | " + " | ".join(f"{100 * k / trials:.2f} %" for k in alarms.values()) + " |"
        )
        assert [a for a, k in alarms.items() if share(k, trials).low > a] == []


def p_value(known: np.ndarray, counts: np.ndarray) -> float:
    n = int(counts.sum())
    return StatesNull.of(known).decide(largest_change(counts, known), n, alpha=0.01).p_value


def losing(events: Embedded, lost: float, rng: np.random.Generator) -> Embedded:
    """The window, a share of whose images the log has truncated."""
    is_lost = events.has_image & (rng.random(len(events)) < lost)
    stays = ~is_lost[events.has_image]
    assert events.image_state is not None
    assert events.novelty_v is not None
    return replace(
        events,
        z_v=events.z_v[stays],
        novelty_v=events.novelty_v[stays],
        has_image=events.has_image & ~is_lost,
        image_state=np.where(is_lost, TRUNCATED, events.image_state).astype(np.int8),
    )


def judged(reference: Reference, events: Embedded, *, thins: bool) -> Mapping[Signal, Judgement]:
    known = comparable_estimates(reference, events, alpha=LOG_ALPHA) if thins else {}
    found = evaluate(reference.frozen, events, entropy_factor=ENTROPY_FACTOR, known=known)
    return judge(reference, found, ALPHA, entropy_factor=ENTROPY_FACTOR)


def test_the_alarms_of_other_signals_stay_as_rare_while_half_of_the_images_are_lost() -> None:
    events = recorded.simulated(3000, seed=1)
    events = replace(events, image_state=np.where(events.has_image, 0, -1).astype(np.int8))
    settings = {"none lost": (0.0, True), "half lost": (0.5, True), "not thinned": (0.5, False)}
    alarms = {name: dict.fromkeys(Signal, 0) for name in settings}
    windows = {name: dict.fromkeys(Signal, 0) for name in settings}
    for split in range(SPLITS):
        _, reference, rest = built_and_rest(events, REFERENCE, split)
        rng = np.random.default_rng([split, 7])
        for _ in range(WINDOWS):
            window = rest.take(rng.choice(len(rest), N, replace=False))
            for name, (lost, thins) in settings.items():
                with single_threaded():
                    found = judged(reference, losing(window, lost, rng), thins=thins)
                for signal, judgement in found.items():
                    windows[name][signal] += judgement.verdict is not Verdict.INSUFFICIENT
                    alarms[name][signal] += judgement.verdict is Verdict.DRIFTING
    print(f"\n| signal, stated 1 % | {' | '.join(settings)} |")
    print("| --- |" + " --- |" * len(settings))
    for signal in Signal:
        cells = (f"{alarms[s][signal]} of {windows[s][signal]}" for s in settings)
        print(f"| {signal.value} | {' | '.join(cells)} |")
    others = [s for s in Signal if s is not Signal.IMAGE_LOGGING]
    raised = [
        s
        for s in others
        if windows["half lost"][s]
        and share(alarms["half lost"][s], windows["half lost"][s], confidence=0.999).low
        > max(alarms["none lost"][s] / windows["none lost"][s], ALPHA)
    ]
    assert raised == []
    assert alarms["half lost"][Signal.IMAGE_LOGGING] == windows["half lost"][Signal.IMAGE_LOGGING]
