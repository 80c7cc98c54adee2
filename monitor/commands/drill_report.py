"""What a drill found, as tables, JSON lines and sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from rich.table import Table

from monitor.commands.terminal import simple_table
from monitor.records import Signal
from monitor.service.drill import (
    FOUND,
    DrillRules,
    Outcome,
    smallest_fraction,
    windows_until_detected,
)
from monitor.stats.novelty import Share

SHOWN = 0.2  # signals of less power would hide the others; the JSON has them all


@dataclass(frozen=True, slots=True)
class Report:
    """A finished drill and what it was made with."""

    reference: str
    stream: str
    window_length: timedelta
    false_alarms_per_week: float
    rules: DrillRules
    events: int
    calibration_events: int  # of the events
    left_out: int
    outcomes: Sequence[Outcome]

    @property
    def undrifted(self) -> Outcome:
        """The windows without a shift."""
        return self.outcomes[0]

    def by_shift(self) -> Iterator[tuple[str, list[Outcome]]]:
        """Outcomes of each shift at each strength."""
        for shift, found in groupby(self.outcomes[1:], key=lambda o: o.shift):
            yield str(shift), list(found)


def power_table(report: Report) -> Table:
    """One row for each shift at each fraction, undrifted windows first."""
    columns = ("shift", "in", "power, any signal", "95 % interval", "windows until", "signals")
    return simple_table(columns, [_power_row(outcome) for outcome in report.outcomes])


def fractions_table(report: Report) -> Table:
    """The smallest fraction of the traffic in which each shift is found, and by what."""
    rows = []
    for shift, outcomes in report.by_shift():
        by_signal = {s: smallest_fraction(outcomes, s) for s in outcomes[0].alarms}
        found = sorted((f, s.value) for s, f in by_signal.items() if f is not None)
        rows.append(
            (
                shift,
                _percent(smallest_fraction(outcomes)),
                ", ".join(f"{name} {_percent(f)}" for f, name in found) or "-",
            )
        )
    return simple_table(("shift", "smallest fraction found", "by signal"), rows)


def as_json(report: Report) -> Iterator[dict[str, object]]:
    """One document for each shift at each strength, undrifted windows first."""
    for outcomes in [[report.undrifted], *(found for _, found in report.by_shift())]:
        shift = outcomes[0].shift
        signals = list(outcomes[0].alarms)
        yield {
            "shift": None if shift is None else shift.kind.value,
            "strength": None if shift is None else shift.strength or None,
            "reference": report.reference,
            "stream": report.stream,
            "n": report.rules.window,
            "trials": report.rules.trials,
            "alpha": report.rules.alpha,
            "seed": report.rules.seed,
            "events": report.events,
            "calibration_events": report.calibration_events,
            "window_seconds": report.window_length.total_seconds(),
            "smallest_fraction": smallest_fraction(outcomes),
            "smallest_fraction_by_signal": {
                s.value: smallest_fraction(outcomes, s) for s in signals
            },
            "outcomes": [_outcome_json(outcome) for outcome in outcomes],
        }


def in_words(report: Report) -> list[str]:
    """Would we have noticed? What was, what was not, and how often without any reason."""
    noticed, missed = _noticed(report)
    false_alarms = report.undrifted.power()
    sentences = [
        f"{report.events} exchanges supplied the windows, {report.calibration_events} of them from "
        f"the reference's calibration part; {report.left_out} of its density part were left out.",
        f"Would we have noticed? With windows of {report.rules.window} exchanges and "
        f"{report.false_alarms_per_week:g} accepted false alarm(s) a week, at least {FOUND:.0%} of "
        f"the windows would have alarmed at {', '.join(noticed) or 'no shift in any fraction'} of "
        "the traffic.",
    ]
    if missed:
        sentences.append(f"Not at any strength and fraction that was tried: {', '.join(missed)}.")
    sentences.append(
        f"Without any shift {report.undrifted.windows_with_alarm} of {report.rules.trials} windows "
        f"alarmed, a rate of {_interval(false_alarms)} at 95 % confidence."
    )
    return sentences


def _noticed(report: Report) -> tuple[list[str], list[str]]:
    """By kind: from which strength and in which fraction it is found; and the kinds never found."""
    noticed, missed = [], []
    shifted = report.outcomes[1:]
    for kind, found in groupby(shifted, key=lambda o: o.shift.kind if o.shift else None):
        hits = [o for o in found if o.is_found() and o.shift is not None]
        name = kind.value.replace("_", " ") if kind else ""
        if not hits:
            missed.append(name)
            continue
        weakest = min(o.shift.strength for o in hits if o.shift)
        fraction = min(o.fraction for o in hits if o.shift and o.shift.strength == weakest)
        degree = f" from strength {weakest}" if weakest else ""
        noticed.append(f"{name}{degree} in {_percent(fraction)}")
    return noticed, missed


def _power_row(outcome: Outcome) -> tuple[str, ...]:
    power = outcome.power()
    by_signal = {s: outcome.power(s).value for s in outcome.alarms}
    shown = sorted((-p, s.value) for s, p in by_signal.items() if p >= SHOWN)
    return (
        "none" if outcome.shift is None else str(outcome.shift),
        _percent(outcome.fraction),
        f"{power.value:.2f}",
        _interval(power),
        _delay(power),
        ", ".join(f"{name} {-p:.2f}" for p, name in shown) or "-",
    )


def _outcome_json(outcome: Outcome) -> dict[str, object]:
    return {
        "fraction": outcome.fraction,
        "any": _power_json(outcome, None),
        "signals": {signal.value: _power_json(outcome, signal) for signal in outcome.alarms},
    }


def _power_json(outcome: Outcome, signal: Signal | None) -> dict[str, object]:
    power = outcome.power(signal)
    return {
        "power": power.value,
        "low": power.low,
        "high": power.high,
        "windows_until_detected": windows_until_detected(power),
    }


def _delay(power: Share) -> str:
    expected = windows_until_detected(power)
    # No alarm in the trials still bounds the power, and with it the delay.
    return f"> {1 / power.high:.0f}" if expected is None else f"{expected:.1f}"


def _interval(power: Share) -> str:
    return f"{power.low:.2f} to {power.high:.2f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.3g} %"
