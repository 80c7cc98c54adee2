"""``replay``: historical logs through the jobs of the daemon."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from monitor.commands.terminal import progress, put_json, put_measurements, say
from monitor.errors import MonitorError, SourceError
from monitor.records import ALL, Measurement, Verdict, WindowId
from monitor.service.daemon import stop_on_signals
from monitor.service.ingest_job import Feed, Source
from monitor.service.logs import configure_logs
from monitor.service.replay import Replay
from monitor.service.wiring import (
    forget_leftovers,
    load_encoders,
    make_jobs,
    make_surroundings,
    opened_database,
    reading_of,
    utc_now,
)
from monitor.settings import Settings
from monitor.store.counters import all_counts
from monitor.store.engine import Database
from monitor.store.references import active_references
from monitor.traffic.formats.detect import NAMES
from monitor.traffic.sources.jsonl import FileSource
from monitor.web.api.measurements import as_json as measurement_json

SOURCE = "replay"
WindowOf = tuple[str, WindowId]  # a stream and a window of it
WHY_REFUSED = "docs/formats.md has the formats and what each reason means"


def require_format(name: str) -> None:
    """Refuse an unknown format name, naming the known ones."""
    if name not in NAMES:
        raise MonitorError(f"--format must be one of {', '.join(NAMES)}; got {name!r}")


def require_readable(source: Source[Any]) -> None:
    """Refuse finished logs of which one is missing or cannot be opened.

    Raises:
        SourceError: naming each.
    """
    source.partitions()
    if problems := source.problems():
        raise SourceError("\n".join(problems))


@dataclass(slots=True)
class Found:
    """What was seen among the measurements that were printed."""

    is_judged: bool = False  # whether there was a verdict beside 'insufficient'
    out: set[WindowOf] = field(default_factory=set)  # windows in which a whole stream was out


def replay_files(
    settings: Settings, files: Sequence[str], format_name: str, *, as_json: bool, must_judge: bool
) -> bool:
    """Read the files to their end, measure every window in them, print the measurements.

    Whether a signal of a whole stream was out, in one window or by evidence over several.

    Raises:
        MonitorError: if it ``must_judge`` and no window could be judged.
    """
    configure_logs(level="warning", form=settings.logging.format)
    require_format(format_name)
    stop = Event()
    with ExitStack() as stack:
        stack.enter_context(stop_on_signals(stop))
        database = stack.enter_context(opened_database(settings, alone=True))
        around = make_surroundings(settings, database, utc_now, stop)
        source = FileSource(SOURCE, files, follow=False)
        feed = Feed(source, format_name, reading_of(settings))
        stack.enter_context(source)
        require_readable(source)
        encoders = load_encoders(settings)
        forget_leftovers(database, encoders)
        jobs = make_jobs(settings, around, encoders, [feed], follows_clock=False)
        jobs.measure.require_usable_references()
        before = _outcomes(database)
        replay = Replay(
            database=database,
            jobs=jobs,
            source=source,
            length=settings.windows.length,
            lateness=settings.windows.lateness,
        )
        with progress() as report:
            finished = replay.run(should_stop=stop.is_set, report=report)
        if not finished:
            raise MonitorError("stopped; start the same command again to go on")
        found = Found()
        _print(_noting(replay.measurements(), found), as_json=as_json)
        _remark(database, replay, _outcomes(database) - before)
        if must_judge and not found.is_judged:
            raise MonitorError("no window of the files was judged, so there may be drift or none")
        if found.out:
            streams = ", ".join(sorted({stream for stream, _ in found.out}))
            say(f"drifting: {len(found.out)} windows of {streams}")
        return bool(found.out)


def _noting(measurements: Iterable[Measurement], found: Found) -> Iterator[Measurement]:
    """The same, with what they say noted."""
    for m in measurements:
        found.is_judged |= m.verdict is not Verdict.INSUFFICIENT
        if m.slice_key == ALL and (m.verdict is Verdict.DRIFTING or m.persistent):
            found.out.add((m.stream, m.window))
        yield m


def _print(measurements: Iterator[Measurement], *, as_json: bool) -> None:
    if as_json:
        for measurement in measurements:
            put_json(measurement_json(measurement))
    else:
        put_measurements(_of_the_whole(measurements))


def _remark(database: Database, replay: Replay, read: Counter[str]) -> None:
    """What a person must know who sees fewer measurements than expected."""
    with database.read() as session:
        active = active_references(session)
    spans = replay.spans()
    for stream in spans:
        if stream not in active and "*" not in active:
            say(
                f"{stream}: not measured, no reference is active; build one from traffic known to "
                "be good: mllm-monitor reference build FILE"
            )
    said = ", ".join(f"{n} {name}" for name, n in read.items())
    say(f"read: {said or 'nothing that was not read before'}")
    if not spans:
        say(f"the files hold no exchange; {WHY_REFUSED}")


def _outcomes(database: Database) -> Counter[str]:
    """What became of the records of all replays so far."""
    outcomes: Counter[str] = Counter()
    with database.read() as session:
        for source, _, outcome, n in all_counts(session):
            if source == SOURCE:
                outcomes[outcome] += n
    return outcomes


def _of_the_whole(measurements: Iterator[Measurement]) -> Iterator[Measurement]:
    return (m for m in measurements if m.slice_key == ALL)
