"""What a drill found, as tables, JSON lines and sentences."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table

from monitor.records import Signal
from monitor.service.drill import (
    FOUND,
    DrillRules,
    Outcome,
    smallest_fraction,
    smallest_lasting_fraction,
    windows_until_detected,
)
from monitor.service.drill_evidence import HORIZON, Wait
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
    left_out: int  # because the reference was made from them
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
    columns = ("shift", "in", "power", "95 %", "alarm", "lasting", "signals alone")
    table = _table(columns, [_power_row(outcome) for outcome in report.outcomes])
    table.caption = (
        "power: share of windows that alarm; alarm: windows until the first does, on average; "
        "lasting: windows until evidence is persistent, the median, if the shift lasts"
    )
    return table


def fractions_table(report: Report) -> Table:
    """The smallest fraction in which each shift is found, at once and if it lasts; and by what."""
    rows = []
    for shift, outcomes in report.by_shift():
        by_signal = {s: smallest_fraction(outcomes, s) for s in outcomes[0].alarms}
        found = sorted((f, s.value) for s, f in by_signal.items() if f is not None)
        rows.append(
            (
                shift,
                _percent(smallest_fraction(outcomes)),
                _percent(smallest_lasting_fraction(outcomes)),
                ", ".join(f"{name} {_percent(f)}" for f, name in found) or "-",
            )
        )
    return _table(("shift", "found in", "if it lasts", "by one signal alone"), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Without lines between columns, which is what lets it fit into 80 characters."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption_justify="left")
    *narrow, last = columns
    for column in narrow:
        table.add_column(column, no_wrap=True)
    table.add_column(last, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


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
            "left_out": report.left_out,
            "window_seconds": report.window_length.total_seconds(),
            "smallest_fraction": smallest_fraction(outcomes),
            "smallest_fraction_by_signal": {
                s.value: smallest_fraction(outcomes, s) for s in signals
            },
            "smallest_lasting_fraction": smallest_lasting_fraction(outcomes),
            "smallest_lasting_fraction_by_signal": {
                s.value: smallest_lasting_fraction(outcomes, s) for s in signals
            },
            "outcomes": [_outcome_json(outcome) for outcome in outcomes],
        }


def in_words(report: Report) -> list[str]:
    """Would we have noticed? What was, what was not, and how often without any reason."""
    at_once = _noticed(report, Outcome.is_found)
    lasting = _noticed(report, Outcome.is_persistent)
    slowly = [f"{kind}{where}" for kind, where in lasting.items() if where != at_once.get(kind)]
    missed = [kind for kind in _kinds(report) if kind not in at_once | lasting]
    undrifted = report.undrifted
    false_alarms = undrifted.power()
    sentences = [
        f"{report.events} exchanges supplied the windows; {report.left_out} others were left out, "
        "because the reference was made from them.",
        f"Would we have noticed? With windows of {report.rules.window} exchanges and "
        f"{report.false_alarms_per_week:g} accepted false alarm(s) a week, at least {FOUND:.0%} of "
        f"the windows would have alarmed at {_listed(at_once) or 'no shift in any fraction'} of "
        "the traffic.",
    ]
    if slowly:
        sentences.append(
            f"If it lasts, evidence over up to {HORIZON} windows also shows: {', '.join(slowly)}."
        )
    if missed:
        sentences.append(f"Not at any strength and fraction that was tried: {', '.join(missed)}.")
    sentences.append(
        f"Without any shift {undrifted.windows_with_alarm} of {report.rules.trials} windows "
        f"alarmed, a rate of {_interval(false_alarms)} at 95 % confidence; evidence became "
        f"persistent in {undrifted.waits.persistent.share:.0%} of runs of {HORIZON} windows."
    )
    return sentences


def _listed(noticed: dict[str, str]) -> str:
    return ", ".join(f"{kind}{where}" for kind, where in noticed.items())


def _kinds(report: Report) -> list[str]:
    return list(dict.fromkeys(_kind(o) for o in report.outcomes[1:]))


def _kind(outcome: Outcome) -> str:
    return outcome.shift.kind.value.replace("_", " ") if outcome.shift else ""


def _noticed(report: Report, is_noticed: Callable[[Outcome], bool]) -> dict[str, str]:
    """By kind: from which strength on, and there in which fraction."""
    noticed = {}
    for kind, found in groupby(report.outcomes[1:], key=_kind):
        hits = [(o.shift.strength, o.fraction) for o in found if o.shift and is_noticed(o)]
        if hits:
            weakest, fraction = min(hits)
            degree = f" from strength {weakest}" if weakest else ""
            noticed[kind] = f"{degree} in {_percent(fraction)}"
    return noticed


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
        _patience(outcome.waits.persistent),
        ", ".join(f"{name} {-p:.2f}" for p, name in shown) or "-",
    )


def _outcome_json(outcome: Outcome) -> dict[str, object]:
    waits = outcome.waits
    return {
        "fraction": outcome.fraction,
        "any": _power_json(outcome, None, waits.persistent)
        | {"windows_until_noticed": waits.noticed.windows},
        "signals": {
            signal.value: _power_json(outcome, signal, waits.by_signal[signal])
            for signal in outcome.alarms
        },
    }


def _power_json(outcome: Outcome, signal: Signal | None, wait: Wait) -> dict[str, object]:
    power = outcome.power(signal)
    return {
        "power": power.value,
        "low": power.low,
        "high": power.high,
        "windows_until_detected": windows_until_detected(power),
        "persistent_share": wait.share,
        "windows_until_persistent": wait.windows,
    }


def _delay(power: Share) -> str:
    expected = windows_until_detected(power)
    # No alarm in the trials still bounds the power, and with it the delay.
    return f"> {1 / power.high:.0f}" if expected is None else f"{expected:.1f}"


def _patience(wait: Wait) -> str:
    return f"> {HORIZON}" if wait.windows is None else f"{wait.windows:.0f}"


def _interval(power: Share) -> str:
    return f"{power.low:.2f}-{power.high:.2f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.3g} %"
