"""``calibrate``: thresholds drawn again, or taken from past healthy windows."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sqlalchemy.orm import Session

from monitor.commands.calibrate_report import Arrays, by_resampling, from_windows, show
from monitor.commands.reference import EVERY_STREAM, finished_feed, readable
from monitor.commands.replay import WHY_REFUSED, require_format, require_readable
from monitor.commands.terminal import Report, no_traffic_of, progress, say
from monitor.encoders.encoder import EncoderPair
from monitor.errors import CalibrationError, MonitorError, ReferenceNotFoundError
from monitor.records import ReferenceVersion, Signal
from monitor.reference.artefact import Reference, digest_of
from monitor.reference.quality import require_quality
from monitor.reference.signals import single_threaded
from monitor.service.calibration import Past, Promise, Span
from monitor.service.logs import configure_logs
from monitor.service.measure import Measurer
from monitor.service.replay import Replay
from monitor.service.wiring import (
    load_encoders,
    make_jobs,
    make_shelf,
    make_surroundings,
    measure_rules,
    opened_database,
    utc_now,
)
from monitor.settings import Settings
from monitor.stats.decision import alpha_per_test
from monitor.store.engine import Database
from monitor.store.references import (
    activate,
    active_references,
    copy_samples,
    find_reference,
    load_arrays,
    save_reference,
)
from monitor.store.streams import known_streams


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    files: Sequence[str]
    format_name: str
    reference: str | None
    stream: str | None
    from_windows: bool
    span: Span
    draws: int | None
    activate_it: bool
    as_json: bool


def run_calibrate(settings: Settings, wish: Wish) -> None:
    """Find thresholds, show them beside those in force, store and activate them."""
    require_format(wish.format_name)
    encoders = load_encoders(settings)
    with opened_database(settings, must_exist=True) as database:
        with database.read() as session:
            base = _base(session, wish)
            arrays = load_arrays(session, base.digest)
            in_force = set(active_references(session).values())
        shelf = make_shelf(settings, database, encoders)
        loaded = shelf.get(base.digest)
        if wish.activate_it and base.digest not in in_force:
            require_quality(loaded.reference)
        promise = _promise(settings)
        scope = wish.stream or EVERY_STREAM
        with progress() as report:
            if wish.files or wish.from_windows:
                with _history_of(settings, database, encoders, wish, report) as past:
                    scope = past.stream
                    history = past.history(loaded, wish.span, report)
                found = from_windows(arrays, history, promise, scope)
            else:
                found = by_resampling(settings, arrays, wish.draws, promise, report)
        version = ReferenceVersion(
            digest=digest_of(found.arrays, base.encoder_digest),
            name=base.name,
            created_at=utc_now(),
            encoder_digest=base.encoder_digest,
            facts={**base.facts, "calibrated_from": base.digest, "thresholds": found.facts},
        )
        with single_threaded():
            after = Reference.load(version, found.arrays)
        show(loaded.reference, after, found, promise, settings, as_json=wish.as_json)
        if wish.activate_it:
            _adopt(database, base, version, found.arrays, scope)
            say(
                f"{version.identity} judges {_named(scope)} from now on; back with "
                f"`mllm-monitor reference activate {base.identity} --stream '{scope}'`"
            )
        else:
            say("nothing was changed")


def _base(session: Session, wish: Wish) -> ReferenceVersion:
    if wish.reference is not None:
        return find_reference(session, wish.reference)
    active = active_references(session)
    digest = active.get(wish.stream or EVERY_STREAM) or active.get(EVERY_STREAM)
    if digest is None and len(active) == 1 and wish.stream is None:
        (digest,) = active.values()
    if digest is None:
        raise ReferenceNotFoundError(
            "no reference is active here; name one with --reference, or build one with "
            "`mllm-monitor reference build FILE`"
        )
    return find_reference(session, digest)


def _promise(settings: Settings) -> Promise:
    alerts, length = settings.alerts, settings.windows.length
    alpha = alpha_per_test(
        alerts.false_alarms_per_week,
        length,
        signals=len(Signal),
        slices=len(settings.slices.labels),
    )
    return Promise(alerts.false_alarms_per_week, length, alpha.overall)


@contextmanager
def _history_of(
    settings: Settings, database: Database, encoders: EncoderPair, wish: Wish, report: Report
) -> Iterator[Past]:
    """The stored past of a stream, or that of logs, which are read into a database of their own."""
    if not wish.files:
        yield _past(settings, database, encoders, wish)
        return
    with tempfile.TemporaryDirectory() as folder, readable(wish.files) as paths:
        url = f"sqlite:///{folder}/history.db"
        elsewhere = settings.model_copy(
            update={
                "database": settings.database.model_copy(update={"url": url}),
                "data_dir": Path(folder),
            }
        )
        with opened_database(elsewhere) as history:
            _read_logs(elsewhere, history, encoders, paths, wish.format_name, report)
            yield _past(elsewhere, history, encoders, wish)


def _read_logs(
    settings: Settings,
    database: Database,
    encoders: EncoderPair,
    paths: Sequence[str],
    format_name: str,
    report: Report,
) -> None:
    configure_logs(level="error", form=settings.logging.format)  # no reference is active there
    around = make_surroundings(settings, database, utc_now, Event())
    feed = finished_feed(settings, paths, format_name)
    with feed.source as source:
        require_readable(source)
        jobs = make_jobs(settings, around, encoders, [feed], follows_clock=False)
        Replay(
            database=database,
            jobs=jobs,
            source=source,
            length=settings.windows.length,
            lateness=settings.windows.lateness,
        ).run(should_stop=lambda: False, report=report)


def _past(settings: Settings, database: Database, encoders: EncoderPair, wish: Wish) -> Past:
    with database.read() as session:
        streams = known_streams(session)
    if not streams:
        raise CalibrationError(
            f"the files hold no exchange; {WHY_REFUSED}"
            if wish.files
            else "no traffic is stored yet; give the logs of a time known to be good: "
            "`mllm-monitor calibrate FILE`"
        )
    if wish.stream is None and len(streams) > 1:
        raise MonitorError(f"say with --stream whose windows are meant: {', '.join(streams)}")
    stream = wish.stream or streams[0]
    if stream not in streams:
        where = "the files hold" if wish.files else "the database holds"
        raise MonitorError(no_traffic_of(stream, streams, where))
    return Past(
        database=database,
        measurer=Measurer(measure_rules(settings, encoders)),
        stream=stream,
        length=settings.windows.length,
        lateness=settings.windows.lateness,
        per_pane=settings.sampling.per_pane,
    )


def _adopt(
    database: Database,
    base: ReferenceVersion,
    version: ReferenceVersion,
    arrays: Arrays,
    scope: str,
) -> None:
    with database.begin() as session:
        if save_reference(session, version, arrays):
            copy_samples(session, base.digest, version.digest)
        activate(session, version.digest, scope, utc_now())


def _named(scope: str) -> str:
    return "every stream without a reference of its own" if scope == EVERY_STREAM else scope
