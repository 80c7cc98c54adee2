"""Would it have been noticed? Windows with known shifts, judged as the daemon judges windows."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.records import Modality, Signal, Verdict
from monitor.reference.artefact import Embedded, Ints, Reference
from monitor.reference.calibrate import Judgement, judge
from monitor.reference.signals import Estimate, evaluate, limit_thread, single_threaded
from monitor.service.drill_events import Pool, Shift
from monitor.service.drill_evidence import Waits, draw_runs, wait
from monitor.service.reference_build import Report
from monitor.stats.novelty import Share, share

FOUND = 0.8  # power from which a shift counts as detected
# What the eigenvalue problems read; they are not solved again where it has not changed.
_READS = {
    Signal.VISUAL_DISCREPANCY: Modality.VISUAL,
    Signal.TEXTUAL_DISCREPANCY: Modality.TEXTUAL,
    Signal.RESPONSE_DISCREPANCY: Modality.RESPONSE,
    Signal.OUTPUT_GAP: Modality.RESPONSE,
}

Column = npt.NDArray[Any] | None
Judged = Mapping[Signal, Judgement]


@dataclass(frozen=True, slots=True)
class DrillRules:
    """How windows are drawn and judged; ``alpha`` as for one signal of a real window."""

    window: int
    trials: int
    fractions: Sequence[float]
    alpha: float
    entropy_factor: float
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found in windows of which a fraction has one shift; no shift is fraction 0.

    ``alarms`` has every signal that could be judged in at least one of the windows.
    """

    shift: Shift | None
    fraction: float
    trials: int
    alarms: Mapping[Signal, int]
    windows_with_alarm: int
    waits: Waits

    def power(self, signal: Signal | None = None) -> Share:
        """Share of the windows in which a signal, or any of them, alarmed, with its interval."""
        alarms = self.windows_with_alarm if signal is None else self.alarms.get(signal, 0)
        return share(alarms, self.trials)

    def is_found(self, signal: Signal | None = None) -> bool:
        """Whether it would usually be noticed in the first window."""
        return self.power(signal).value >= FOUND

    def is_persistent(self, signal: Signal | None = None) -> bool:
        """Whether evidence would usually show it in the end, if it lasted."""
        waits = self.waits
        found = waits.persistent if signal is None else waits.by_signal.get(signal)
        return found is not None and found.share >= FOUND


def windows_until_detected(power: Share) -> float | None:
    """Expected number of windows that do not overlap; None where no window has alarmed."""
    return 1 / power.value if power.value > 0 else None


def smallest_fraction(outcomes: Sequence[Outcome], signal: Signal | None = None) -> float | None:
    """The smallest fraction of one shift that is found in one window; None if none was."""
    return min((o.fraction for o in outcomes if o.is_found(signal)), default=None)


def smallest_lasting_fraction(
    outcomes: Sequence[Outcome], signal: Signal | None = None
) -> float | None:
    """The smallest fraction of one shift that evidence shows if it lasts; None if none was."""
    return min((o.fraction for o in outcomes if o.is_persistent(signal)), default=None)


def mixed(both: Embedded, rows: Ints, fraction: float) -> Embedded:
    """A window of the events ``rows`` whose first fraction, at least one of them, is shifted.

    ``both`` holds all clean events and then, in the same order, all shifted ones.
    """
    hit = max(1, round(fraction * len(rows)))
    shifted = rows.copy()
    shifted[:hit] += len(both) // 2
    return both.take(shifted)


def drill(
    pool: Pool,
    shifts: Sequence[Shift],
    reference: Reference,
    rules: DrillRules,
    report: Report,
) -> list[Outcome]:
    """Undrifted windows first, then every shift at every fraction.

    All are made from the same draws of events, a larger fraction from those of a smaller one, and
    follow each other in the same runs, so that they differ in what was done to them and in nothing
    else.
    """
    rng = np.random.default_rng(rules.seed)
    windows = [rng.permutation(len(pool.clean))[: rules.window] for _ in range(rules.trials)]
    runs = draw_runs(rules.trials, rng)
    judgement = _Judgement(reference, rules)
    total = len(windows) * (1 + len(shifts) * len(rules.fractions))
    outcomes: list[Outcome] = []

    def tally(shift: Shift | None, fraction: float, judged: Sequence[Judged]) -> None:
        waits = wait(judged, runs, 1 / rules.alpha)
        outcomes.append(_outcome(shift, fraction, judged, waits))
        report("drill", len(outcomes) * len(windows), total)

    with (
        ThreadPoolExecutor(os.cpu_count(), initializer=limit_thread) as threads,
        single_threaded(),
    ):
        undrifted = list(threads.map(lambda rows: judgement.of(pool.clean.take(rows)), windows))
        estimates = [found for found, _ in undrifted]
        tally(None, 0.0, [judged for _, judged in undrifted])
        for shift in shifts:
            both = _joined(pool.clean, pool.shifted(shift))
            for fraction in sorted(rules.fractions):
                judge_one = partial(judgement.of_mixed, both, fraction, shift.modality)
                tally(shift, fraction, list(threads.map(judge_one, windows, estimates)))
    return outcomes


@dataclass(frozen=True, slots=True)
class _Judgement:
    reference: Reference
    rules: DrillRules

    def of(
        self, window: Embedded, known: Mapping[Signal, Estimate] | None = None
    ) -> tuple[Mapping[Signal, Estimate], Judged]:
        factor = self.rules.entropy_factor
        estimates = evaluate(self.reference.frozen, window, entropy_factor=factor, known=known)
        judged = judge(self.reference, estimates, self.rules.alpha, entropy_factor=factor)
        return estimates, judged

    def of_mixed(
        self,
        both: Embedded,
        fraction: float,
        changed: Modality,
        rows: Ints,
        undrifted: Mapping[Signal, Estimate],
    ) -> Judged:
        known = {s: undrifted[s] for s, reads in _READS.items() if reads is not changed}
        return self.of(mixed(both, rows, fraction), known)[1]


def _outcome(
    shift: Shift | None, fraction: float, windows: Sequence[Judged], waits: Waits
) -> Outcome:
    alarms: Counter[Signal] = Counter()
    any_alarm = 0
    for judged in windows:
        known = {s: j.verdict for s, j in judged.items() if j.verdict is not Verdict.INSUFFICIENT}
        alarms.update({s: int(verdict is Verdict.DRIFTING) for s, verdict in known.items()})
        any_alarm += Verdict.DRIFTING in known.values()
    return Outcome(shift, fraction, len(windows), dict(alarms), any_alarm, waits)


def _joined(first: Embedded, second: Embedded) -> Embedded:
    return Embedded(
        ids=first.ids + second.ids,
        z_t=np.concatenate((first.z_t, second.z_t)),
        z_y=np.concatenate((first.z_y, second.z_y)),
        z_v=np.concatenate((first.z_v, second.z_v)),
        has_image=np.concatenate((first.has_image, second.has_image)),
        z_target=np.concatenate((first.z_target, second.z_target)),
        has_target=np.concatenate((first.has_target, second.has_target)),
        novelty_v=_both(first.novelty_v, second.novelty_v),
        novelty_t=_both(first.novelty_t, second.novelty_t),
        image_state=_both(first.image_state, second.image_state),
    )


def _both(first: Column, second: Column) -> Column:
    return None if first is None or second is None else np.concatenate((first, second))
