"""Unpacks the settings tree into plain values and puts the parts of the program together."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Event

from prometheus_client import CollectorRegistry

from monitor.encoders.builtin import builtin_encoders
from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import ImageLimits
from monitor.encoders.presets import Execution, ModelChoice, pretrained_encoders
from monitor.encoders.vision import LONGEST_SIDE
from monitor.errors import EncoderError
from monitor.service.daemon import Job, guarded
from monitor.service.derived import DERIVED
from monitor.service.embed_job import EmbedJob
from monitor.service.embedding import THUMBNAIL_SIDE, Embedder, ImageFiles
from monitor.service.forget import Forgetter
from monitor.service.ingest_job import Feed, IngestJob
from monitor.service.intake import Intake, SamplingRules
from monitor.service.investigation import Investigator
from monitor.service.measure import MeasureRules
from monitor.service.measure_job import MeasureJob
from monitor.service.privacy import Privacy
from monitor.service.promotion import Promoter, PromotionRules
from monitor.service.reference_build import BuildRules
from monitor.service.retain_job import RetainJob, RetentionRules
from monitor.service.shelf import ReferenceShelf
from monitor.service.snapshot import Publisher
from monitor.service.task_job import TaskJob
from monitor.service.telemetry import Telemetry
from monitor.settings import Settings, SourceSettings
from monitor.store.engine import Database, open_database
from monitor.store.lock import hold_embedded_lock
from monitor.store.migrations import (
    current_revision,
    expected_revision,
    require_current,
    require_made,
    upgrade,
)
from monitor.store.pending import forget_other_encoders, release_claims
from monitor.store.tasks import give_up_abandoned
from monitor.traffic.formats.answers import AnswerPaths
from monitor.traffic.formats.reading import Reading
from monitor.traffic.formats.streams import StreamRule
from monitor.traffic.formats.uploads import Uploads
from monitor.traffic.sources.folder import FolderSource
from monitor.traffic.sources.jsonl import FileSource
from monitor.traffic.sources.kafka import KafkaSource, read_properties
from monitor.traffic.sources.table import TableSource, read_url

Clock = Callable[[], datetime]
TASKS_EVERY = timedelta(seconds=2)
Configured = FileSource | FolderSource | KafkaSource | TableSource


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@contextmanager
def opened_database(
    settings: Settings, *, alone: bool = False, must_exist: bool = False
) -> Iterator[Database]:
    """The database at the revision this program needs.

    An embedded one is brought there; a PostgreSQL is refused where it is not, because others may be
    using it. ``alone`` holds the lock of an embedded one: a second daemon is refused.
    ``must_exist`` is for who asks of what is stored: a file made by the way would answer nothing.
    """
    with ExitStack() as stack:
        database = stack.enter_context(open_database(settings.database.url))
        if must_exist:
            require_made(database)
        if alone:
            stack.enter_context(hold_embedded_lock(database))
        # Asked first, because an upgrade waits until nobody else writes.
        if database.is_embedded and current_revision(database) != expected_revision():
            upgrade(database)
        require_current(database)
        yield database


def load_encoders(settings: Settings) -> EncoderPair:
    """The encoders that the settings name; takes seconds, and minutes where models are downloaded.

    Raises:
        EncoderError: in one line with the remedy.
    """
    chosen = settings.encoders
    if chosen.preset == "builtin":
        return builtin_encoders()
    pair = pretrained_encoders(
        chosen.preset,
        ModelChoice(chosen.visual.model, chosen.visual.pooling),
        ModelChoice(chosen.textual.model, chosen.textual.pooling),
        Execution(chosen.offline, chosen.device, chosen.precision),
    )
    if pair.visual.dim != pair.textual.dim and not chosen.projection:
        raise EncoderError(
            f"images have {pair.visual.dim} dimensions and texts {pair.textual.dim}, and a fused "
            "query needs one: set encoders.projection: true for a fixed random projection of the "
            "images where both are fused, or choose models of one dimension"
        )
    return pair


def forget_leftovers(database: Database, encoders: EncoderPair) -> None:
    """What an earlier process left and this one must not take over; before any job runs."""
    with database.begin() as session:
        forget_other_encoders(session, encoders.digest)
        if database.is_embedded:
            release_claims(session)  # nobody else is at work, so they are of one that was killed
            give_up_abandoned(session, utc_now(), all_of_them=True)


def image_limits(settings: Settings) -> ImageLimits:
    """What one image may cost."""
    limits = ImageLimits(max_bytes=settings.images.max_bytes, max_pixels=settings.images.max_pixels)
    is_builtin = settings.encoders.preset == "builtin"
    return limits if is_builtin else replace(limits, longest_side=LONGEST_SIDE)


def image_files(settings: Settings) -> ImageFiles:
    """Where the images of queries are found."""
    return ImageFiles(settings.images.root, image_limits(settings))


def configured_feeds(settings: Settings) -> list[Feed]:
    """The sources of the settings; each is opened when it is entered."""
    return [
        Feed(configured_source(source), source.format, reading_of(settings))
        for source in settings.sources
    ]


def reading_of(settings: Settings) -> Reading:
    """How records are read, whatever their format and wherever they come from."""
    return Reading(
        label_keys=settings.slices.top_level_keys,
        uploads=Uploads(settings.uploads.roots),
        streams=StreamRule(settings.streams.by),
        answers=AnswerPaths(settings.targets.paths),
    )


def configured_source(source: SourceSettings) -> Configured:
    """One source of the settings, not opened yet.

    Raises:
        SourceError: if it cannot be had as it is set.
    """
    if source.type == "kafka":
        return KafkaSource(
            source.title,
            brokers=source.brokers,
            topic=source.topic,
            group=source.group,
            properties=read_properties(source.properties_file),
        )
    if source.type == "folder":
        return FolderSource(
            source.title,
            source.path,
            json_column=source.column,
            settle_seconds=source.settle.total_seconds(),
        )
    if source.type == "table":
        return TableSource(
            source.title,
            url=read_url(source.url_file) if source.url_file else source.url,
            rows=(source.table, source.key),
            json_column=source.column,
            settle_seconds=source.settle.total_seconds(),
        )
    return FileSource(source.title, [source.path], follow=True)


def privacy_of(settings: Settings) -> Privacy:
    """What is kept of an exchange and what is redacted."""
    wanted = settings.privacy
    privacy = Privacy.of(wanted.keep, wanted.redact, wanted.patterns)
    return privacy if wanted.content_retention else replace(privacy, thumbnails=False)


def why_nothing_is_sent(settings: Settings) -> str | None:
    """Why the teacher that is set gets no question; None if it gets some."""
    kept = settings.privacy
    if not kept.content_retention:
        return "privacy.content_retention is 0: no content is kept that a teacher could be sent"
    if "text" not in kept.keep:
        return "privacy.keep lacks text: no query is kept that a teacher could be sent"
    return None


def teacher_share(settings: Settings) -> float:
    """Share of the samples that the teacher answers; 0 where there is none."""
    is_on = settings.teacher.url and why_nothing_is_sent(settings) is None
    return settings.teacher.share if is_on else 0.0


def make_intake(
    settings: Settings, database: Database, clock: Clock, *, asks_teacher: bool = False
) -> Intake:
    """What admits batches of records."""
    windows, sampling = settings.windows, settings.sampling
    late = windows.lateness if windows.target_lateness is None else windows.target_lateness
    rules = SamplingRules(
        per_pane=sampling.per_pane,
        seed=sampling.seed,
        pane=windows.pane,
        lateness=windows.lateness,
        target_lateness=late,
        max_streams=sampling.max_streams,
        teacher_share=teacher_share(settings) if asks_teacher else 0.0,
    )
    return Intake(
        database=database,
        clock=clock,
        rules=rules,
        files=image_files(settings),
        privacy=privacy_of(settings),
    )


def measure_rules(settings: Settings, encoders: EncoderPair) -> MeasureRules:
    """How traffic is cut and how sure an alarm must be."""
    return _rules(settings, encoders.digest)


def build_rules(settings: Settings) -> BuildRules:
    """How a reference is split, drawn from and used."""
    windows = settings.windows
    return BuildRules(
        seed=settings.reference.seed,
        calibration_share=settings.reference.calibration_share,
        null_draws=settings.reference.null_draws,
        smallest_window=windows.min_samples,
        usual_window=settings.sampling.per_pane * int(windows.length / windows.pane),
    )


def make_shelf(settings: Settings, database: Database, encoders: EncoderPair) -> ReferenceShelf:
    """Loads references, and refuses those of other encoders."""
    return ReferenceShelf(
        database=database,
        data_dir=settings.data_dir,
        encoder_digest=encoders.digest,
        encoder_name=encoders.name,
    )


def make_promoter(
    settings: Settings, database: Database, encoders: EncoderPair, *, workers: int
) -> Promoter:
    """What makes a reference of past windows."""
    privacy = privacy_of(settings)
    return Promoter(
        database=database,
        shelf=make_shelf(settings, database, encoders),
        encoders=encoders,
        measure=measure_rules(settings, encoders),
        rules=PromotionRules(
            build=build_rules(settings),
            max_samples=settings.reference.max_samples,
            content=privacy.content if settings.privacy.content_retention else frozenset(),
            labels=tuple(dict.fromkeys((*DERIVED, *settings.slices.labels))),
            redacted=privacy.redact.identity,
            workers=workers,
        ),
        clock=utc_now,
    )


def make_investigator(settings: Settings, database: Database, clock: Clock) -> Investigator:
    """What explains windows; it needs no encoders."""
    return Investigator(
        database=database,
        shelf=ReferenceShelf(database=database, data_dir=settings.data_dir, encoder_digest=None),
        rules=_rules(settings, ""),
        clock=clock,
    )


def _rules(settings: Settings, encoder_digest: str) -> MeasureRules:
    windows = settings.windows
    return MeasureRules(
        pane=windows.pane,
        length=windows.length,
        slide=windows.slide,
        lateness=windows.lateness,
        min_samples=windows.min_samples,
        per_pane=settings.sampling.per_pane,
        slice_labels=settings.slices.labels,
        max_per_label=settings.slices.max_per_label,
        false_alarms_per_week=settings.alerts.false_alarms_per_week,
        entropy_factor=settings.alerts.entropy_factor,
        encoder_digest=encoder_digest,
    )


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs over one database, with what they tell the outside."""

    ingest: IngestJob
    embed: EmbedJob
    measure: MeasureJob
    retain: RetainJob


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the jobs are given from outside: effects, and where they are to stop."""

    database: Database
    clock: Clock
    stop: Event
    telemetry: Telemetry
    publisher: Publisher
    intake: Intake
    leads: Callable[[], bool]  # whether this process measures


def make_surroundings(
    settings: Settings,
    database: Database,
    clock: Clock,
    stop: Event,
    *,
    asks_teacher: bool = False,
    leads: Callable[[], bool] = lambda: True,
) -> Surroundings:
    """Everything that can be had before the encoders are loaded."""
    intake = make_intake(settings, database, clock, asks_teacher=asks_teacher)
    return Surroundings(
        database=database,
        clock=clock,
        stop=stop,
        telemetry=Telemetry(CollectorRegistry()),
        publisher=Publisher(
            database=database, clock=clock, targets_within=intake.rules.target_lateness
        ),
        intake=intake,
        leads=leads,
    )


def make_jobs(
    settings: Settings,
    around: Surroundings,
    encoders: EncoderPair,
    feeds: Sequence[Feed],
    *,
    follows_clock: bool,
) -> Jobs:
    """The jobs of a daemon or of a replay; they differ in the feeds and in who moves time."""
    windows = settings.windows
    privacy = privacy_of(settings)
    embedder = Embedder(
        encoders,
        image_limits(settings),
        with_thumbnails=privacy.thumbnails,
        # What the teacher is shown is what is kept.
        thumbnail_side=settings.teacher.image_side if settings.teacher.url else THUMBNAIL_SIDE,
        dropped=privacy.dropped,
    )
    shelf = make_shelf(settings, around.database, encoders)
    return Jobs(
        ingest=IngestJob(
            database=around.database,
            clock=around.clock,
            feeds=feeds,
            intake=around.intake,
            telemetry=around.telemetry,
            follows_clock=follows_clock,
        ),
        embed=EmbedJob(
            database=around.database,
            clock=utc_now,  # of leases, which are not event time
            pane=windows.pane,
            embedder=embedder,
            telemetry=around.telemetry,
            should_stop=around.stop.is_set,
        ),
        measure=MeasureJob(
            database=around.database,
            clock=around.clock,
            shelf=shelf,
            rules=measure_rules(settings, encoders),
            on_failure=lambda: around.telemetry.failed("measure"),
            should_stop=lambda: around.stop.is_set() or not around.leads(),
        ),
        retain=RetainJob(
            database=around.database,
            clock=utc_now,
            rules=RetentionRules(
                content=settings.privacy.content_retention,
                samples=settings.retention.samples,
                measurements=settings.retention.measurements,
                early_targets=around.intake.rules.target_lateness,
            ),
            data_dir=settings.data_dir,
            pause=around.stop.wait,
        ),
    )


def schedule(
    settings: Settings, jobs: Jobs, around: Surroundings
) -> dict[str, tuple[timedelta, Job]]:
    """Each job with its interval, timed and guarded; the snapshot follows what they wrote."""

    def ingest() -> None:
        jobs.ingest.run(around.stop.is_set)
        around.publisher.refresh(again=())

    def measure() -> None:
        is_leader = around.leads()
        around.telemetry.leader.set(is_leader)
        if is_leader:
            jobs.measure()
            around.publisher.note_windows_due(jobs.measure.left)
            around.publisher.refresh(again=jobs.measure.measured)
        else:  # nobody says which streams another one has measured
            around.publisher.note_windows_due({})
            around.publisher.refresh()

    every = settings.jobs
    plan: dict[str, tuple[timedelta, Job]] = {
        "ingest": (every.ingest, ingest),
        "embed": (every.embed, jobs.embed),
        "measure": (every.measure, measure),
        "retain": (every.retain, jobs.retain),
    }
    return {
        name: (interval, guarded(name, job, around.telemetry))
        for name, (interval, job) in plan.items()
    }


def work_of_pages(
    settings: Settings, around: Surroundings, encoders: EncoderPair
) -> dict[str, tuple[timedelta, Job]]:
    """The job that does what pages ask for, in half of the cores: the others go on meanwhile."""
    workers = max(1, (os.cpu_count() or 1) // 2)
    job = TaskJob(
        database=around.database,
        promoter=make_promoter(settings, around.database, encoders, workers=workers),
        forgetter=Forgetter(around.database, settings.data_dir, utc_now),
        clock=utc_now,  # of leases, which are not event time
        should_stop=around.stop.is_set,
    )
    return {"tasks": (TASKS_EVERY, guarded("tasks", job, around.telemetry))}
