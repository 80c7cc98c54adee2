"""Puts the teacher together from the settings, or says why there is none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import structlog

from monitor.service.daemon import Job, guarded
from monitor.service.teacher import Endpoint, Teacher, read_key
from monitor.service.teacher_job import TeacherJob, TeacherRules
from monitor.service.wiring import (
    Surroundings,
    privacy_of,
    teacher_share,
    utc_now,
    why_nothing_is_sent,
)
from monitor.settings import Settings
from monitor.store.teacher import Budget

log = structlog.get_logger()


def endpoint_of(settings: Settings) -> Endpoint:
    """Where the teacher is.

    Raises:
        SettingsError: if its key cannot be read.
    """
    wanted = settings.teacher
    return Endpoint(
        url=wanted.url,
        model=wanted.model,
        key=read_key(wanted.key_file),
        timeout_seconds=wanted.timeout.total_seconds(),
        instructions=wanted.instructions,
        parameters=wanted.parameters,
    )


@contextmanager
def teaching(
    settings: Settings, around: Surroundings
) -> Iterator[Mapping[str, tuple[timedelta, Job]]]:
    """The teacher's job with its interval; no job where there is no teacher.

    Raises:
        SettingsError: if its key cannot be read.
    """
    wanted, windows = settings.teacher, settings.windows
    if not teacher_share(settings):
        if wanted.url:
            log.warning("teacher_off", problem=why_nothing_is_sent(settings))
        yield {}
        return
    with Teacher(endpoint_of(settings)) as teacher:
        job = TeacherJob(
            database=around.database,
            clock=utc_now,  # of budgets and leases, which are not event time
            teacher=teacher,
            rules=TeacherRules(
                budget=Budget(wanted.calls_per_day, wanted.tokens_per_day),
                patience=windows.length + windows.pane + windows.lateness,
                max_text_chars=wanted.max_text_chars,
                redact=privacy_of(settings).redact,
            ),
            telemetry=around.telemetry,
            should_stop=around.stop.is_set,
        )
        yield {"teacher": (settings.jobs.teacher, guarded("teacher", job, around.telemetry))}
