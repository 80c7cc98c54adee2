"""The overview as rows: how every stream stands, worst first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from markupsafe import Markup

from monitor.records import Measurement, WindowSummary
from monitor.service.snapshot import Snapshot, StreamState
from monitor.web.drawing import sparkline
from monitor.web.trends import Trend
from monitor.web.words import QUESTIONS, Question, State, of_question, state_of, worst_of

_FRESH_STEPS = 4  # windows that may be missing before a stream counts as silent


class Standing(StrEnum):
    """How a stream stands as a whole. Worst first."""

    WORSE = "answers worse"
    CHANGED = "traffic changed"
    LARGE = "bound large"
    LOGGING = "logging changed"
    SLOW = "slow drift"
    SILENT = "silent"
    UNWATCHED = "not watched"
    UNKNOWN = "too little data"
    CALM = "calm"


_OF_QUESTION = {
    Question.ANSWERS: Standing.WORSE,
    Question.TRAFFIC: Standing.CHANGED,
    Question.BOUND: Standing.LARGE,
    Question.LOGGING: Standing.LOGGING,
}
_ORDER = list(Standing)


@dataclass(frozen=True, slots=True)
class Row:
    """One stream on the overview."""

    stream: str
    standing: Standing
    look: State
    questions: Mapping[Question, State]
    worst: Measurement | None
    since: datetime | None
    is_since_cut: bool
    summary: WindowSummary | None
    spark: Markup
    why: str = ""


SORTS = {"state": "State", "stream": "Stream", "worst": "Worst signal", "window": "Newest window"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What of the overview is asked for, and in which order."""

    sort: str = "state"
    text: str = ""
    standing: str = ""

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that are meant."""
        text = self.text.casefold()
        found = (
            row
            for row in rows
            if text in row.stream.casefold() and self.standing in {"", row.standing.value}
        )
        return sorted(found, key=lambda row: _sort_key(row, self.sort))


def overview_rows(snapshot: Snapshot, trends: Mapping[str, Trend], slide: timedelta) -> list[Row]:
    """Every stream, in no order."""
    return [
        _row(name, state, trends.get(name, Trend()), snapshot.taken_at, slide)
        for name, state in snapshot.streams.items()
    ]


def standing_counts(rows: Sequence[Row]) -> dict[Standing, int]:
    """How many streams stand how, worst first; those that none does are left out."""
    return {s: n for s in Standing if (n := sum(row.standing is s for row in rows))}


def stream_standing(
    state: StreamState, now: datetime, slide: timedelta
) -> tuple[Standing, State, str]:
    """How one stream stands, how that looks, and why where no signal says it."""
    if state.reference is None:
        return Standing.UNWATCHED, State.UNKNOWN, "no reference is active"
    if state.summary is None or not state.measurements:
        why = "no window has been measured yet" if state.summary is None else "nothing new for long"
        return Standing.UNKNOWN, State.UNKNOWN, why
    length = state.summary.window.end - state.summary.window.start
    is_silent = now - state.summary.measured_at > _FRESH_STEPS * slide + length
    why = "no new window for a while" if is_silent else ""
    for question, standing in _OF_QUESTION.items():
        if state_of(of_question(state.measurements, question)) is State.DRIFTING:
            return standing, State.DRIFTING, why
    look = state_of(state.measurements)
    if look is State.PERSISTENT:
        return Standing.SLOW, look, why
    if is_silent:
        return Standing.SILENT, State.UNKNOWN, why
    return (Standing.CALM if look is State.CALM else Standing.UNKNOWN), look, ""


def _row(name: str, state: StreamState, trend: Trend, now: datetime, slide: timedelta) -> Row:
    standing, look, why = stream_standing(state, now, slide)
    worst = worst_of(state.measurements)
    return Row(
        stream=name,
        standing=standing,
        look=look,
        questions={q: state_of(of_question(state.measurements, q)) for q in QUESTIONS},
        worst=worst,
        since=_since(look, trend, state.measurements),
        is_since_cut=trend.is_cut,
        summary=state.summary,
        spark=_spark(trend),
        why=why,
    )


def _since(look: State, trend: Trend, measurements: Sequence[Measurement]) -> datetime | None:
    if look is State.DRIFTING:
        return trend.since
    if look is State.PERSISTENT:
        begun = [m.evidence_since for m in measurements if m.persistent and m.evidence_since]
        return min(begun, default=None)
    return None


def _spark(trend: Trend) -> Markup:
    points = [(w.window.end.timestamp(), w.excess_ratio) for w in trend.windows]
    known = [y for _, y in points if y is not None]
    if not known:
        return Markup("")
    label = (
        f"worst excess of {len(points)} windows: {known[0]:.1f} first, at most {max(known):.1f}, "
        f"{known[-1]:.1f} now; 1 is the threshold"
    )
    return sparkline(points, label)


def _sort_key(row: Row, sort: str) -> tuple[object, ...]:
    excess = row.worst.excess_ratio if row.worst and row.worst.excess_ratio else 0.0
    by_name = row.stream.casefold()
    if sort == "stream":
        return (by_name, row.stream)
    if sort == "worst":
        return (-excess, by_name)
    if sort == "window":
        end = row.summary.window.end.timestamp() if row.summary else 0.0
        return (-end, by_name)
    return (_ORDER.index(row.standing), -excess, by_name)
