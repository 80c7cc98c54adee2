"""The stream page: every signal over time, thinned, with what happened meanwhile."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from markupsafe import Markup
from sqlalchemy.orm import Session

from monitor.records import Activation, Signal, Verdict, WindowId
from monitor.store.acknowledgements import Acknowledgement, acknowledgements
from monitor.store.references import EVERY_STREAM, activations_between
from monitor.store.timeline import (
    TimelinePoint,
    drifting_starts,
    persistent_starts,
    points_of,
    starts_between,
)
from monitor.web.drawing import Frame, Range, sparkline

SPANS = {
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
MAX_WINDOWS = 96  # in a chart: a day of the usual slide; many more cannot be told apart
MAX_SPANS = 20  # of drift, whose first and last windows are among those in any case
MAX_LISTED = 48  # spans and windows in tables


@dataclass(frozen=True, slots=True)
class Span:
    """Successive windows of one kind, as the time that they cover."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """One signal over time, oldest first."""

    signal: Signal
    points: tuple[TimelinePoint, ...]

    @property
    def newest(self) -> TimelinePoint:
        return self.points[-1]

    @property
    def spark(self) -> Markup:
        """What is seen without script: excess over time."""
        said = f"{len(self.points)} windows, excess over time; the newest in the caption"
        return sparkline([(p.window.end.timestamp(), p.excess_ratio) for p in self.points], said)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stream within ``[start, end)``; ``left_out`` windows lie between those shown."""

    start: datetime
    end: datetime
    windows: tuple[WindowId, ...]
    left_out: int
    lines: tuple[Line, ...]
    drifting: tuple[Span, ...]
    persistent: tuple[Span, ...]
    activations: tuple[Activation, ...]
    acknowledgements: tuple[Acknowledgement, ...]


def read_timeline(
    session: Session, stream: str, slice_key: str, start: datetime, end: datetime
) -> Timeline:
    """Of many windows an even choice is shown, and the first and last of every drift with it."""
    starts, length = starts_between(session, stream, start, end)
    drifting = _runs(starts, drifting_starts(session, stream, slice_key, start, end))
    persistent = _runs(starts, persistent_starts(session, stream, slice_key, start, end))
    points = points_of(session, stream, slice_key, _thinned(starts, drifting))
    windows = sorted({p.window for p in points})
    activations = [
        *activations_between(session, stream, start, end),
        *activations_between(session, EVERY_STREAM, start, end),
    ]
    notes = acknowledgements(session, stream=stream, start=start, end=end, limit=MAX_LISTED)
    return Timeline(
        start=start,
        end=end,
        windows=tuple(windows),
        left_out=max(len(starts) - len(windows), 0),
        lines=tuple(
            Line(signal, tuple(of_signal))
            for signal, of_signal in groupby(points, key=lambda p: p.signal)
        ),
        drifting=tuple(_span(starts, length, a, b) for a, b in drifting),
        persistent=tuple(Span(starts[a], starts[b] + length) for a, b in persistent),
        activations=tuple(sorted(activations, key=lambda a: a.activated_at)),
        acknowledgements=tuple(notes),
    )


def as_columns(timeline: Timeline) -> dict[str, object]:
    """For the charts: one list per number, all as long as ``end``."""
    place = {window: i for i, window in enumerate(timeline.windows)}
    signals = {}
    for line in timeline.lines:
        columns: dict[str, list[float | None]] = {
            name: [None] * len(place)
            for name in ("value", "low", "high", "normal", "threshold", "excess", "drifting")
        }
        for p in line.points:
            i = place[p.window]
            columns["value"][i] = p.value
            columns["low"][i], columns["high"][i] = p.low, p.high
            columns["normal"][i], columns["threshold"][i] = p.null_mean, p.threshold
            columns["excess"][i] = p.excess_ratio
            columns["drifting"][i] = p.value if p.verdict is Verdict.DRIFTING else None
        signals[line.signal.value] = columns
    # A stream that has just begun fills its charts, and not their right edge.
    begun = timeline.windows[0].start if timeline.windows else timeline.start
    return {
        "start": max(timeline.start, begun).timestamp(),
        "end": timeline.end.timestamp(),
        "window_end": [w.end.timestamp() for w in timeline.windows],
        "left_out": timeline.left_out,
        "signals": signals,
        "references": [a.activated_at.timestamp() for a in timeline.activations],
    }


def lane(timeline: Timeline) -> Markup:
    """A band of the whole time: where anything drifted, and what people did meanwhile."""
    moments = [("reference", a.activated_at) for a in timeline.activations]
    moments += [("acknowledged", max(a.since, timeline.start)) for a in timeline.acknowledgements]
    frame, axis = Frame(1000, 34, 0), Range(timeline.start.timestamp(), timeline.end.timestamp())
    parts = [Markup('<rect class="track" x="0" y="4" width="1000" height="26" rx="3"/>')]
    for kind, spans, top, height in (
        ("persistent", timeline.persistent, 22, 8),
        ("drifting", timeline.drifting, 4, 18),
    ):
        for s in _merged(spans, (axis.high - axis.low) / 500):
            left, right = (axis.part(t.timestamp()) * frame.width for t in (s.start, s.end))
            parts.append(
                Markup('<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                    kind, left, top, max(right - left, 2), height
                )
            )
    for kind, moment in moments:
        x = axis.part(moment.timestamp()) * frame.width
        parts.append(Markup('<path class="{}" d="M{:.1f} 0V34"/>').format(kind, x))
    said = f"{len(timeline.drifting)} spans of drift, {len(moments)} events; listed below"
    return Markup(
        '<svg class="lane" viewBox="0 0 1000 34" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(said, Markup("").join(parts))


def _runs(starts: Sequence[datetime], marked: Sequence[datetime]) -> list[tuple[int, int]]:
    """First and last place of successive windows that are all marked."""
    wanted, found, place = set(marked), list[tuple[int, int]](), 0
    for is_in, run in groupby(starts, key=wanted.__contains__):
        count = len(list(run))
        if is_in:
            found.append((place, place + count - 1))
        place += count
    return found


def _span(starts: Sequence[datetime], length: timedelta, first: int, last: int) -> Span:
    """From where what is new in the first window begins, as pages say of a drift "since"."""
    calm_until = starts[first - 1] + length if first else starts[first]
    return Span(max(starts[first], calm_until), starts[last] + length)


def _merged(spans: Iterable[Span], gap_seconds: float) -> list[Span]:
    """Those too near to be told apart as one, so that a picture has few parts."""
    found: list[Span] = []
    for s in spans:
        if found and (s.start - found[-1].end).total_seconds() < gap_seconds:
            found[-1] = Span(found[-1].start, max(s.end, found[-1].end))
        else:
            found.append(s)
    return found


def _thinned(starts: Sequence[datetime], drifting: Sequence[tuple[int, int]]) -> list[datetime]:
    if len(starts) <= MAX_WINDOWS:
        return list(starts)
    step = -(-len(starts) // MAX_WINDOWS)
    chosen = set(range(len(starts) - 1, -1, -step))
    for run in drifting[-MAX_SPANS:]:
        chosen.update(run)
    return [starts[i] for i in sorted(chosen)]
