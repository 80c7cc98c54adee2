"""``run``: the daemon."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from monitor.commands.access import access_of
from monitor.errors import MonitorError
from monitor.service.acting import Actor
from monitor.service.daemon import scheduled, stop_on_signals
from monitor.service.intake import Batch, Receipt
from monitor.service.leadership import leading
from monitor.service.logs import configure_logs
from monitor.service.teaching import teaching
from monitor.service.wiring import (
    Clock,
    Surroundings,
    configured_feeds,
    forget_leftovers,
    load_encoders,
    make_investigator,
    make_jobs,
    make_surroundings,
    opened_database,
    reading_of,
    schedule,
    utc_now,
    work_of_pages,
)
from monitor.settings import Settings
from monitor.traffic.formats.wire import Format
from monitor.web.access import Tokens
from monitor.web.app import WebParts, create_app
from monitor.web.ingest import Door
from monitor.web.server import serve
from monitor.web.setup import Setup, register_process, register_setup

log = structlog.get_logger()
BUILTIN_NOTE = (
    "the builtin encoders are untrained: they see surface change (blur, typos, language), less of "
    "what things mean; the published results used CLIP and XLM-RoBERTa"
)


def run_daemon(settings: Settings) -> None:
    """Run until SIGTERM or Ctrl-C; the unit of work in progress is finished first."""
    configure_logs(level=settings.logging.level, form=settings.logging.format)
    stop = Event()
    with stop_on_signals(stop), running(settings, clock=utc_now, stop=stop):
        stop.wait()
        log.info("daemon_stopping")
    log.info("daemon_stopped")
    gc.freeze()  # else all that torch and others have loaded is looked through once more: 2 s


@contextmanager
def running(settings: Settings, *, clock: Clock, stop: Event) -> Iterator[tuple[str, Surroundings]]:
    """A running daemon; yields its address and its parts, and has stopped when left."""
    with ExitStack() as stack:
        database = stack.enter_context(opened_database(settings, alone=True))
        leads = stack.enter_context(leading(database, utc_now))
        around = make_surroundings(settings, database, clock, stop, asks_teacher=True, leads=leads)
        waiting_for = ["the encoders are loading"]
        around.publisher.refresh()
        actor = Actor(database, settings.data_dir, utc_now)
        address = stack.enter_context(_serving(settings, around, actor, waiting_for))
        log.info("http_listening", address=address, database=database.url_for_people)
        encoders = load_encoders(settings)
        log.info("encoders_loaded", name=encoders.name, digest=encoders.digest[:12])
        if settings.encoders.preset == "builtin":
            log.warning("encoders_untrained", note=BUILTIN_NOTE)
        forget_leftovers(database, encoders)
        feeds = configured_feeds(settings)
        for feed in feeds:
            stack.enter_context(feed.source)
        jobs = make_jobs(settings, around, encoders, feeds, follows_clock=True)
        jobs.measure.require_usable_references()
        actor.encoder_digest = encoders.digest
        lesson = stack.enter_context(teaching(settings, around))
        tasks = work_of_pages(settings, around, encoders)
        stack.enter_context(scheduled({**schedule(settings, jobs, around), **lesson, **tasks}))
        stack.callback(stop.set)  # first of all, so that the jobs end after the unit at hand
        _keep_what_is_loaded_from_collections(stack)
        waiting_for.clear()
        log.info("daemon_ready", sources=len(settings.sources))
        yield address, around


def _keep_what_is_loaded_from_collections(stack: ExitStack) -> None:
    """Looking through all that torch and others have loaded stops every page for 0.3 s."""
    gc.collect()
    gc.freeze()
    stack.callback(gc.unfreeze)


@contextmanager
def _serving(
    settings: Settings, around: Surroundings, actor: Actor, waiting_for: Sequence[str]
) -> Iterator[str]:
    http = settings.http

    def admit(path: str, lines: Sequence[bytes], form: Format) -> Receipt:
        # One partition for all paths, so that a late target is known by the exchanges' times.
        return around.intake.admit(Batch("http", "", lines, counted_as=path), form)

    parts = WebParts(
        registry=around.telemetry.registry,
        latest=around.publisher.latest,
        database=around.database,
        not_ready=lambda: [*waiting_for, *_database_trouble(around)],
        investigator=make_investigator(settings, around.database, around.clock),
        actor=actor,
        slide=settings.windows.slide,
        access=access_of(settings),
        home=http.external_url,
        door=Door(
            admit=admit,
            tokens=Tokens(http.tokens_file, http.given_tokens),
            reading=reading_of(settings),
            max_body_bytes=http.max_body_bytes,
            max_requests_per_second=http.max_requests_per_second,
        ),
    )
    if not http.is_guarded and not http.is_loopback:
        log.warning("http_unguarded", listen=http.listen, note="anybody there may post traffic")
    if not http.is_loopback and http.read_tokens_file is None:
        who = "anybody there reads them" if http.allow_unauthenticated else "nobody reads them"
        log.warning("pages_without_tokens", note=who, remedy="set http.read_tokens_file")
    with serve(create_app(parts), host=http.host, port=http.port) as address:
        register_setup(around.telemetry.registry, _setup(settings, address))
        register_process(around.telemetry.registry)
        yield address


def _setup(settings: Settings, address: str) -> Setup:
    windows = settings.windows
    return Setup(
        external_url=settings.http.external_url or address,
        grafana_url=settings.http.grafana_url,
        window_length_seconds=windows.length.total_seconds(),
        window_lateness_seconds=windows.lateness.total_seconds(),
        window_min_samples=windows.min_samples,
        reference_max_age_seconds=settings.reference.max_age.total_seconds(),
    )


def _database_trouble(around: Surroundings) -> list[str]:
    try:
        with around.database.read() as session:
            session.execute(select(1))
    except (MonitorError, SQLAlchemyError) as exc:
        return [str(exc).partition("\n")[0]]
    return []
