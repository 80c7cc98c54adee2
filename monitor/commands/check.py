"""``check``: every configured part is reached, and what is wrong is said."""

import glob
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from monitor.commands.access import access_findings
from monitor.commands.privacy import content_findings
from monitor.commands.terminal import in_one_line, put, put_json, say
from monitor.encoders.encoder import EncoderPair
from monitor.errors import MonitorError, SourceError
from monitor.service.teacher import Teacher
from monitor.service.teaching import endpoint_of
from monitor.service.wiring import configured_source, load_encoders, make_shelf, why_nothing_is_sent
from monitor.settings import Settings, SourceSettings
from monitor.store.engine import open_database
from monitor.store.migrations import current_revision, is_made, require_current
from monitor.store.references import active_references, list_references
from monitor.traffic.sources.jsonl import FileSource

Finding = tuple[bool, str]  # fine or not, and what


def check_settings(settings: Settings, *, as_json: bool) -> int:
    """Print what was found; 0 where everything is in order, else 2."""
    if as_json:
        put_json(_without_password(settings))
    loaded: list[EncoderPair] = []

    def encoders(settings: Settings) -> Iterator[Finding]:
        loaded.append(load_encoders(settings))
        yield from _encoders(loaded[0])

    findings = [*_guarded(_data_dir, settings), *_guarded(encoders, settings)]
    of_database = _guarded(_database, settings)
    findings += of_database
    if all(is_fine for is_fine, _ in of_database):
        if loaded:
            findings += _guarded(lambda s: _references(s, loaded[0]), settings)
        findings += _guarded(content_findings, settings)
    for part in (_sources, _images, access_findings, _sampling, _teacher):
        findings += _guarded(part, settings)
    for is_fine, text in findings:
        tell = say if as_json else put
        tell(f"{'ok     ' if is_fine else 'PROBLEM'} {text}")
    return 0 if all(is_fine for is_fine, _ in findings) else 2


def _guarded(part: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(part(settings))
    except (MonitorError, OSError) as exc:
        found.append((False, str(exc)))
    except SQLAlchemyError as exc:
        found.append((False, in_one_line(exc)))
    return found


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not _is_writable(folder):
        yield False, f"data_dir {folder} is not writable by this user"
    else:
        yield True, f"data_dir {folder}" + ("" if folder.exists() else " (will be made)")


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there, after the folder itself where it is missing."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def _database(settings: Settings) -> Iterator[Finding]:
    with open_database(settings.database.url) as database:
        if (path := database.path) is not None:
            if not _is_writable(path.parent) or (path.exists() and not os.access(path, os.W_OK)):
                yield False, f"database {database.url_for_people} is not writable by this user"
                return
            if not path.exists():
                yield True, f"database {database.url_for_people} (will be made)"
                return
        revision = current_revision(database)
        if not database.is_embedded:
            require_current(database)
        yield True, f"database {database.url_for_people}, revision {revision}"


def _encoders(encoders: EncoderPair) -> Iterator[Finding]:
    yield True, f"encoders {encoders.name}, digest {encoders.digest[:12]}"
    for fact in encoders.facts:
        yield (
            True,
            f"  {fact.modality}: {fact.model} {fact.pooling}, {fact.dim} dimensions, on "
            f"{fact.device}, {fact.weight_bytes / 1e6:.1f} MB of weights",
        )


def _references(settings: Settings, encoders: EncoderPair) -> Iterator[Finding]:
    with open_database(settings.database.url) as database:
        if not is_made(database):
            return
        with database.read() as session:
            active = active_references(session)
            versions = {v.digest: v for v in list_references(session)}
        if not active:
            yield (
                True,
                "no reference is active yet: `mllm-monitor reference build FILE` makes one from "
                "traffic known to be good",
            )
        shelf = make_shelf(settings, database, encoders)
        for stream, digest in sorted(active.items()):
            shelf.get(digest)
            version = versions[digest]
            scope = "every other stream" if stream == "*" else f"stream {stream}"
            yield True, f"reference {version.identity} for {scope}"


def _sources(settings: Settings) -> Iterator[Finding]:
    if not settings.sources:
        yield True, "no source is configured: traffic comes only over HTTP"
    for source in settings.sources:
        try:
            opened = configured_source(source)
            if isinstance(opened, FileSource):
                yield _files(source)
            else:
                yield True, f"source {source.title}: {opened.probe()}"
        except SourceError as exc:
            yield False, f"source {source.title}: {exc}"


def _files(source: SourceSettings) -> Finding:
    paths = glob.glob(source.path)  # noqa: PTH207 - the pattern may be absolute
    for path in paths:
        if not os.path.isfile(path):  # noqa: PTH113 - as they come from glob
            return False, f"source {source.title}: {path} is not a regular file"
        if not os.access(path, os.R_OK):
            return False, f"source {source.title}: {path} is not readable by this user"
    if not paths:
        return False, f"source {source.title}: no file matches"
    return True, f"source {source.title}: {len(paths)} files now"


def _images(settings: Settings) -> Iterator[Finding]:
    root = settings.images.root
    if root is None:
        yield True, "images: no root, so image paths in the logs are not followed"
    elif not root.is_dir():
        yield False, f"images.root {root} is not a folder"
    else:
        yield True, f"images.root {root}"


def _teacher(settings: Settings) -> Iterator[Finding]:
    wanted = settings.teacher
    if not wanted.url:
        return
    if problem := why_nothing_is_sent(settings):
        yield False, f"teacher: {problem}"
        return
    with Teacher(endpoint_of(settings)) as teacher:
        models = teacher.models()
    if models is not None and wanted.model not in models:
        yield False, f"teacher: the endpoint does not list the model {wanted.model}"
        return
    listed = "" if models is not None else ", which lists no models"
    yield (
        True,
        f"teacher {wanted.model} at {wanted.url}{listed}: {wanted.share:.1%} of the samples, at "
        f"most {wanted.calls_per_day} calls and {wanted.tokens_per_day} tokens a day",
    )
    if "thumbnails" not in settings.privacy.keep:
        yield True, "  privacy.keep lacks thumbnails: queries with images are not sent"


def _sampling(settings: Settings) -> Iterator[Finding]:
    windows, per_pane = settings.windows, settings.sampling.per_pane
    most = per_pane * (windows.length // windows.pane)
    best = settings.reference.max_samples // 10
    text = f"a window holds at most {most} samples"
    if best < most:
        text += f"; thresholds are best up to {best}, a tenth of reference.max_samples"
    yield True, text
    if windows.slide > windows.length:
        yield True, "windows.slide is more than windows.length: what lies between is not measured"
    if windows.lateness < timedelta(minutes=1):
        yield True, "windows.lateness is under a minute: exchanges that are logged late are dropped"


def _without_password(settings: Settings) -> object:
    shown = settings.model_dump(mode="json")
    try:
        shown["database"]["url"] = open_database(settings.database.url).url_for_people
    except MonitorError:
        shown["database"]["url"] = "***"  # whatever it is, it may hold a password
    return shown
