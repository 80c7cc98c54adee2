"""Which samples of a stream's past a new reference is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from monitor.errors import ReferenceTooSmallError
from monitor.records import Sample, floor_time
from monitor.reference.build import exchanges_needed
from monitor.service.measure import MeasureRules
from monitor.service.reference_build import BuildRules
from monitor.store.engine import Database
from monitor.store.exemplars import Exemplar, exemplars
from monitor.store.panes import pane_states, pane_thresholds
from monitor.store.pending import pending_in_window
from monitor.store.samples import samples_by_id
from monitor.store.selection import drifting_windows, smallest_samples
from monitor.store.streams import watermarks
from monitor.traffic.sampling import uniform_threshold


@dataclass(frozen=True, slots=True)
class PromotionWish:
    """Which past of a stream is to be normal, in event time."""

    stream: str
    since: datetime
    until: datetime
    name: str | None = None  # that of the reference in force unless given
    include_drifting: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """The samples taken, in order of event time, and what the time they are of was like."""

    samples: Sequence[Sample]
    content: Mapping[int, Exemplar]
    panes: Sequence[datetime]  # starts, in order
    windows_left_out: int  # of which some signal was drifting
    pending: int  # samples that are not embedded yet, and so not among them
    usual: int  # samples of a window


def choose(
    database: Database, wish: PromotionWish, rules: MeasureRules, build: BuildRules, *, at_most: int
) -> Chosen:
    """A uniform draw of the traffic of that time: as windows take it, from all of it at once.

    Raises:
        ReferenceTooSmallError: with how many samples more are needed.
    """
    stream = wish.stream
    with database.read() as session:
        panes, left_out = _healthy_panes(session, wish, rules)
        dropped = pane_thresholds(session, stream, sorted(panes), rules.per_pane)
        ids = smallest_samples(
            session,
            stream,
            panes,
            encoder_digest=rules.encoder_digest,
            threshold=uniform_threshold(dropped.values()),
            at_most=at_most,
        )
        samples, content = samples_by_id(session, ids), exemplars(session, ids)
        pending = pending_in_window(session, stream, wish.since, wish.until)
    in_time = sorted(ids, key=lambda i: (content[i].time, content[i].exchange_id))
    chosen = Chosen(
        samples=[samples[i] for i in in_time],
        content=content,
        panes=sorted(panes),
        windows_left_out=left_out,
        pending=pending,
        usual=max(rules.min_samples, round(len(ids) * (rules.length / rules.pane) / len(panes))),
    )
    _require_enough(chosen, rules.pane, build)
    return chosen


def _healthy_panes(
    session: Session, wish: PromotionWish, rules: MeasureRules
) -> tuple[set[datetime], int]:
    """Starts of the closed panes within the time, and how many drifting windows took some away."""
    mark = watermarks(session).get(wish.stream)
    if mark is None:
        raise ReferenceTooSmallError(f"no traffic of stream {wish.stream!r} is stored")
    until = floor_time(min(wish.until, mark - rules.lateness), rules.pane)
    panes = {p.start for p in pane_states(session, wish.stream, wish.since, until)}
    drifting = (
        [] if wish.include_drifting else drifting_windows(session, wish.stream, wish.since, until)
    )
    for window in drifting:
        count = int((window.end - window.start) / rules.pane)
        panes -= {window.start + i * rules.pane for i in range(count)}
    if panes:
        return panes, len(drifting)
    why = "no traffic of that time is stored, or it is not closed yet"
    if drifting:
        why = f"all is in {_drifting(len(drifting))}; --include-drifting accepts them"
    raise ReferenceTooSmallError(
        f"nothing of {wish.stream} from {wish.since:%Y-%m-%d %H:%M} to "
        f"{wish.until:%Y-%m-%d %H:%M} UTC can be taken: {why}"
    )


def _require_enough(chosen: Chosen, pane: timedelta, build: BuildRules) -> None:
    n = len(chosen.samples)
    needed = exchanges_needed(build.calibration_share, build.smallest_window)
    if n >= needed:
        return
    span = len(chosen.panes) * pane
    said = f"{n} samples of {_plain(span)} are too few: {needed} are needed, {needed - n} more"
    if n:
        said += f", {_plain((needed - n) / n * span)} of such traffic"
    if chosen.windows_left_out:
        said += (
            f"; {_drifting(chosen.windows_left_out)} were left out, --include-drifting takes them"
        )
    if chosen.pending:
        said += f"; {chosen.pending} samples wait for their embeddings"
    raise ReferenceTooSmallError(said)


def _drifting(count: int) -> str:
    return f"{count} window{'' if count == 1 else 's'} with a signal that was drifting"


def _plain(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} h"  # noqa: PLR2004 - two days
