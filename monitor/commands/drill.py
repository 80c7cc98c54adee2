"""``drill``: known shifts put on good traffic; would they have been noticed?"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

from sqlalchemy.orm import Session

from monitor.commands import drill_report
from monitor.commands.drill_picture import require_picture, write_picture
from monitor.commands.drill_report import Report
from monitor.commands.reference import (
    EVERY_STREAM,
    finished_feed,
    readable,
    require_exchanges,
)
from monitor.commands.replay import require_format
from monitor.commands.terminal import progress, put_json, put_table, say
from monitor.encoders.encoder import EncoderPair
from monitor.errors import MonitorError, ReferenceNotFoundError
from monitor.records import ALL, Modality, Signal
from monitor.service.drill import DrillRules, drill
from monitor.service.drill_events import (
    KINDS,
    Pool,
    Shift,
    Spoiling,
    UnseenLogs,
    shifts_of,
)
from monitor.service.embedding import Embedder
from monitor.service.reference_build import Embedding, Selection, select
from monitor.service.wiring import (
    image_files,
    image_limits,
    load_encoders,
    make_shelf,
    opened_database,
    privacy_of,
    utc_now,
)
from monitor.settings import Settings
from monitor.simulate.corruptions import SEVERITIES
from monitor.simulate.traffic import DriftKind
from monitor.stats.decision import alpha_per_test
from monitor.store.references import active_references, find_reference, reference_positions
from monitor.store.windows import latest_windows, measurements_between

# Events by window. With fewer than needed, windows are so alike that they show little of chance.
WANTED, NEEDED = 4, 2
RECENT = timedelta(days=7)
RECENT_WINDOWS = 10_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for; no kinds are all of them, lists are parted by commas."""

    files: Sequence[str]
    format_name: str
    stream: str | None
    window: int | None
    kinds: Sequence[str]
    strengths: str
    fractions: str
    trials: int
    seed: int
    picture: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Judge:
    """The reference that judges the stream, and what is usual there."""

    scope: str
    digest: str
    made_from: frozenset[str]  # ids of its exchanges
    usual_window: int


def run_drill(settings: Settings, wish: Wish) -> None:
    """Inject shifts, judge windows, and print what was noticed."""
    require_format(wish.format_name)
    shifts, fractions = parse_shifts(wish.kinds, wish.strengths), parse_fractions(wish.fractions)
    if wish.picture is not None:
        require_picture(wish.picture)
    encoders = load_encoders(settings)
    with (
        opened_database(settings, must_exist=True) as database,
        readable(wish.files) as paths,
        progress() as report,
    ):
        with database.read() as session:
            judge = _judge(session, settings, wish.stream)
        shelf = make_shelf(settings, database, encoders)
        loaded = shelf.get(judge.digest)
        reader = UnseenLogs(
            lambda: finished_feed(settings, paths, wish.format_name),
            None if judge.scope == EVERY_STREAM else judge.scope,
            utc_now,
            judge.made_from,
        )
        wanted = wish.window or judge.usual_window
        kept = min(WANTED * wanted, settings.reference.max_samples)
        selection = select(
            reader, seed=wish.seed, at_most=max(kept, NEEDED * wanted), report=report
        )
        if not reader.met:
            require_exchanges(selection, reader.stream)
        rules = DrillRules(
            window=_window(settings, wish, wanted, selection, left_out=len(reader.met)),
            trials=wish.trials,
            fractions=fractions,
            alpha=alpha_per_test(
                settings.alerts.false_alarms_per_week,
                settings.windows.length,
                signals=len(Signal),
                slices=len(settings.slices.labels),
            ).overall,
            entropy_factor=settings.alerts.entropy_factor,
            seed=wish.seed,
        )
        spoiling = _spoiling(settings, encoders, shifts, wish.seed)
        pool = spoiling.pool(reader, selection, loaded.neighbourhood, report)
        outcomes = drill(pool, _possible(shifts, pool), loaded.reference, rules, report)
    _print(
        Report(
            reference=loaded.reference.identity,
            stream=judge.scope,
            window_length=settings.windows.length,
            false_alarms_per_week=settings.alerts.false_alarms_per_week,
            rules=rules,
            events=len(pool.clean),
            left_out=len(reader.met),
            outcomes=outcomes,
        ),
        wish,
    )


def parse_shifts(kinds: Sequence[str], strengths: str) -> list[Shift]:
    """Each kind, all if none is named, at each strength.

    Raises:
        MonitorError: with what was expected.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise MonitorError(f"--shift takes one of {', '.join(KINDS)}; got {kind!r}")
    found = _numbers(strengths)
    if not found or not all(s in SEVERITIES for s in found):
        raise MonitorError(f"--strengths takes whole numbers from 1 to 5, got {strengths!r}")
    return shifts_of([DriftKind(kind) for kind in kinds or KINDS], [int(s) for s in found])


def parse_fractions(text: str) -> list[float]:
    """Fractions of the traffic, ascending, each once.

    Raises:
        MonitorError: with what was expected.
    """
    found = _numbers(text)
    if not found or not all(0 < f <= 1 for f in found):
        raise MonitorError(f"--fractions takes numbers above 0 and up to 1, got {text!r}")
    return sorted(set(found))


def _numbers(text: str) -> list[float]:
    """Numbers between commas; none where one of them is no number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


def _judge(session: Session, settings: Settings, stream: str | None) -> _Judge:
    active = active_references(session)
    if stream is None and len(active) > 1:
        raise MonitorError(
            f"references are active for {', '.join(sorted(active))}; say with --stream which of "
            "these streams is meant"
        )
    scope = stream if stream is not None else next(iter(active), EVERY_STREAM)
    digest = active.get(scope) or active.get(EVERY_STREAM)
    if digest is None:
        raise ReferenceNotFoundError(
            f"no reference is active{f' for {stream}' if stream else ''}; build one with "
            "`mllm-monitor reference build FILE`"
        )
    made_from = frozenset(reference_positions(session, digest))
    if not made_from:
        raise MonitorError(
            f"{find_reference(session, digest).identity} does not know the ids of its exchanges, "
            "so they cannot be told from others; build it again with `mllm-monitor reference build`"
        )
    return _Judge(scope, digest, made_from, _usual_window(session, settings, scope))


def _usual_window(session: Session, settings: Settings, scope: str) -> int:
    """Median size of the windows of the last week that has some, else what a full one holds."""
    stream = None if scope == EVERY_STREAM else scope
    ends = [w.window.end for w in latest_windows(session) if stream in {None, w.stream}]
    if ends:
        measured = measurements_between(
            session,
            stream,
            max(ends) - RECENT,
            max(ends) + timedelta(microseconds=1),
            slice_key=ALL,
            signal=Signal.TEXTUAL_DISCREPANCY,
            limit=RECENT_WINDOWS,
        )
        if sizes := [m.n for m in measured if m.n >= settings.windows.min_samples]:
            return round(median(sizes))
    windows = settings.windows
    return settings.sampling.per_pane * int(windows.length / windows.pane)


def _window(
    settings: Settings, wish: Wish, wanted: int, selection: Selection, *, left_out: int
) -> int:
    """Events of a window: as wanted, or as many as the files allow where nothing was asked for."""
    events, least = len(selection.chosen), settings.windows.min_samples
    window = wanted if wish.window else min(wanted, events // NEEDED)
    if window < least or events < NEEDED * window:
        need = NEEDED * max(window, least)
        raise MonitorError(
            f"windows of {max(window, least)} exchanges need at least {need} that the reference "
            f"was not made from; the files hold {events} ({left_out} others were left out, because "
            "no window is judged against its own exchanges); give logs of another day"
        )
    if window < wanted:
        say(f"windows usually hold {wanted} exchanges; the files allow {window}, which show less")
    return window


def _spoiling(
    settings: Settings, encoders: EncoderPair, shifts: Sequence[Shift], seed: int
) -> Spoiling:
    embedder = Embedder(encoders, image_limits(settings), with_thumbnails=False)
    embedding = Embedding(embedder, image_files(settings), privacy_of(settings))
    return Spoiling(embedding, shifts, seed, os.cpu_count() or 1)


def _possible(shifts: Sequence[Shift], pool: Pool) -> list[Shift]:
    if len(pool.clean.z_v):
        return list(shifts)
    say("none of the exchanges has an image: shifts of images are left out")
    return [shift for shift in shifts if shift.modality is not Modality.VISUAL]


def _print(report: Report, wish: Wish) -> None:
    if wish.as_json:
        for document in drill_report.as_json(report):
            put_json(document)
    else:
        put_table(drill_report.power_table(report))
        put_table(drill_report.fractions_table(report))
    if wish.picture is not None:
        write_picture(report, wish.picture)
    for sentence in drill_report.in_words(report):
        say(sentence)
