"""``reference promote``: past windows of a stream become what is normal."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from monitor.commands.terminal import (
    no_traffic_of,
    progress,
    put,
    put_json,
    put_table,
    say,
    simple_table,
    this_user,
)
from monitor.errors import MonitorError
from monitor.service.promotion import Promotion
from monitor.service.promotion_choice import PromotionWish
from monitor.service.wiring import load_encoders, make_promoter, opened_database
from monitor.settings import Settings
from monitor.store.streams import known_streams


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    past: PromotionWish
    is_dry: bool
    activate_it: bool
    as_json: bool


def promote_reference(settings: Settings, wish: Wish) -> None:
    """Build a version from stored samples, show what changes, store it, activate it if asked.

    Raises:
        NothingLearnedError: if it is stored but must not be activated.
    """
    encoders = load_encoders(settings)
    with opened_database(settings, must_exist=True) as database:
        with database.read() as session:
            known = known_streams(session)
        if wish.past.stream not in known:
            raise MonitorError(no_traffic_of(wish.past.stream, known, "the database holds"))
        promoter = make_promoter(settings, database, encoders, workers=os.cpu_count() or 1)
        with progress() as report:
            made = promoter.promote(wish.past, report)
        _show(made, as_json=wish.as_json)
        if wish.is_dry:
            say("nothing was changed")
            return
        promoter.store(made, who=this_user(), activate_it=wish.activate_it)
    if not wish.activate_it:
        say(f"it is stored and judges nothing yet; accept it with `{made.activation}`")
        return
    say(f"{made.version.identity} judges {wish.past.stream} from now on, windows not yet measured")
    if made.rollback:
        say(f"back with `{made.rollback}`")


def _show(made: Promotion, *, as_json: bool) -> None:
    if as_json:
        put_json(made.as_json())
        return
    diff = made.diff
    put(f"{diff.after} instead of {diff.before or 'nothing'}, from {made.taken}")
    counts = ", ".join(f"{n} {name}{_was(before)}" for name, (before, n) in diff.counts.items())
    put(counts)
    put(f"EMI of the reference itself: {_number(diff.emi[1])} nats{_was(_number(diff.emi[0]))}")
    if diff.signals:
        put_table(simple_table(_COLUMNS, [_row(asdict(s)) for s in diff.signals]))
    if diff.labels:
        rows = [(c.label, c.value, f"{c.before:.1%}", f"{c.after:.1%}") for c in diff.labels]
        put_table(simple_table(("label", "value", "before", "after"), rows))
    for note in diff.notes:
        say(f"note: {note}")


_COLUMNS = (
    "signal",
    "n",
    "new data",
    "x threshold",
    "normal before",
    "normal after",
    "threshold before",
    "threshold after",
)
_CELLS = (
    "signal",
    "n",
    "value",
    "excess_ratio",
    "normal_before",
    "normal_after",
    "threshold_before",
    "threshold_after",
)


def _row(signal: Mapping[str, object]) -> Sequence[str]:
    return [_number(signal[name]) for name in _CELLS]


def _number(value: object) -> str:
    if value is None:
        return "-"
    return f"{round(value, 9):.4g}" if isinstance(value, float) else str(value)


def _was(before: object) -> str:
    return "" if before in {None, "-"} else f" (before: {before})"
