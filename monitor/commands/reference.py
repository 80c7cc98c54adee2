"""``reference``: building, listing, showing, activating and deleting references."""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitor.commands.replay import WHY_REFUSED, require_format
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
from monitor.encoders.encoder import EncoderPair
from monitor.errors import ReferenceTooSmallError
from monitor.records import ReferenceVersion
from monitor.reference.artefact import Network, Reference
from monitor.reference.conditional import QNetwork, load_club_checkpoint, require_fit
from monitor.reference.quality import require_quality
from monitor.service.derived import DERIVED, label_counts
from monitor.service.embedding import Embedder
from monitor.service.ingest_job import Feed
from monitor.service.promotion import activate_for
from monitor.service.reference_build import (
    Embedding,
    LogReader,
    ReferenceRow,
    Selection,
    build_from_rows,
    samples_of,
    select,
)
from monitor.service.wiring import (
    build_rules,
    image_files,
    image_limits,
    load_encoders,
    make_shelf,
    opened_database,
    privacy_of,
    reading_of,
    utc_now,
)
from monitor.settings import Settings
from monitor.store.engine import Database, open_database
from monitor.store.migrations import is_made
from monitor.store.references import (
    activate,
    active_references,
    delete_reference,
    find_reference,
    list_references,
    save_reference,
)
from monitor.store.streams import known_streams
from monitor.traffic.sources.jsonl import FileSource

EVERY_STREAM = "*"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reference is to be made of; ``activate_it`` None: if none is active yet."""

    files: Sequence[str]
    format_name: str
    name: str
    stream: str | None = None
    activate_it: bool | None = None
    conditional: Path | None = None


def build_reference(
    settings: Settings, wish: Wish, *, clock: Callable[[], datetime] = utc_now
) -> None:
    """Build a reference from logs and store it; activate it if asked, or if none is active.

    Raises:
        NothingLearnedError: if it is stored but must not be activated.
    """
    require_format(wish.format_name)
    encoders = load_encoders(settings)
    conditional = _imported(wish.conditional, encoders.textual.dim)
    with opened_database(settings) as database:
        with readable(wish.files) as paths, progress() as report:
            reader = LogReader(
                lambda: finished_feed(settings, paths, wish.format_name), wish.stream, clock
            )
            selection = select(
                reader,
                seed=settings.reference.seed,
                at_most=settings.reference.max_samples,
                report=report,
            )
            require_exchanges(selection, wish.stream)
            privacy = privacy_of(settings)
            embedder = Embedder(
                encoders, image_limits(settings), with_thumbnails=privacy.thumbnails
            )
            embedding = Embedding(embedder, image_files(settings), privacy)
            rows = embedding.rows(reader, selection, report)
            for lack in _lacks(rows, settings.images.root):  # before the long part begins
                say(f"note: {lack}")
            built = build_from_rows(
                rows,
                name=wish.name,
                encoders=encoders,
                rules=build_rules(settings),
                report=report,
                conditional=conditional,
            )
        version = ReferenceVersion(
            digest=built.digest,
            name=wish.name,
            created_at=clock(),
            encoder_digest=built.encoder_digest,
            facts={
                "stream": wish.stream,
                "encoders": encoders.name,
                "exchanges": len(rows),
                "redacted": privacy.redact.identity,
                "labels": label_counts(
                    (row.exchange.labels for row in rows),
                    dict.fromkeys((*DERIVED, *settings.slices.labels)),
                ),
                **built.facts,
            },
        )
        content = privacy.content if settings.privacy.content_retention else ()
        samples = samples_of(rows, built, content=content)
        with database.begin() as session:
            if not save_reference(session, version, built.arrays, samples):
                version = find_reference(session, version.digest)
                say(f"the very same reference is stored already, as {version.identity}")
            scope = wish.stream or EVERY_STREAM
            is_first = scope not in active_references(session)
        _say_what_was_built(version, selection)
        put(version.identity)
        if wish.activate_it or (wish.activate_it is None and is_first):
            require_quality(_loaded(settings, database, version, encoders))
            with database.begin() as session:
                activate(session, version.digest, scope, clock())


def list_all_references(settings: Settings, *, as_json: bool) -> None:
    """List all references, newest first; where nothing is stored there are none."""
    versions: list[ReferenceVersion] = []
    active: dict[str, str] = {}
    with open_database(settings.database.url) as database:
        place = database.url_for_people
        is_new = database.path is not None and not is_made(database)
    if not is_new:
        with opened_database(settings) as database, database.read() as session:
            versions = list_references(session)[::-1]
            active = active_references(session)
    if not versions:
        say(f"{place} has no reference; `mllm-monitor reference build FILE` makes one")
        return
    if as_json:
        for version in versions:
            put_json(_as_json(version, active))
        return
    rows = [
        (
            version.identity,
            f"{version.created_at:%Y-%m-%d %H:%M}",
            str(version.facts.get("exchanges", "")),
            ", ".join(_judged_by(version, active)) or "-",
        )
        for version in versions
    ]
    put_table(simple_table(("reference", "created (UTC)", "exchanges", "active for"), rows))


def show_reference(settings: Settings, name: str, *, as_json: bool) -> None:
    """Show what one reference is made of."""
    with opened_database(settings, must_exist=True) as database, database.read() as session:
        version = find_reference(session, name)
        active = active_references(session)
    shown = _as_json(version, active)
    if as_json:
        put_json(shown)
        return
    put_table(simple_table(("fact", "value"), [(k, _plain(v)) for k, v in _flat(shown)]))


def activate_reference(
    settings: Settings, name: str, stream: str, *, without_quality: bool
) -> None:
    """Judge a stream by this reference from now on, be it of changes of the traffic alone.

    Raises:
        NothingLearnedError: if it could not say whether answers get worse, and nobody said that
            this does not matter.
    """
    encoders = load_encoders(settings)
    with opened_database(settings, must_exist=True) as database:
        with database.read() as session:
            version, known = find_reference(session, name), known_streams(session)
        reference = _loaded(settings, database, version, encoders)
        if not without_quality:
            require_quality(reference)
        with database.begin() as session:
            activate_for(session, version, stream, who=this_user(), now=utc_now())
    scope = "every stream without its own" if stream == EVERY_STREAM else stream
    if known and stream not in {*known, EVERY_STREAM}:
        say(f"note: {no_traffic_of(stream, known, 'there is')}")
    say(f"{version.identity} is active for {scope}; windows not yet measured are judged by it")
    if Network.ANSWER not in reference.frozen.networks:
        say("only changes of the traffic are watched: EMI and information are insufficient")


def delete_one_reference(settings: Settings, name: str) -> None:
    """Delete a reference that is not active, and its index files."""
    with opened_database(settings, must_exist=True) as database, database.begin() as session:
        version = find_reference(session, name)
        delete_reference(session, version.digest)
    shutil.rmtree(settings.data_dir / "references" / version.digest, ignore_errors=True)
    say(f"{version.identity} is deleted")


def finished_feed(settings: Settings, paths: Sequence[str], format_name: str) -> Feed:
    """Logs that are read to their end."""
    source = FileSource("reference", paths, follow=False)
    return Feed(source, format_name, reading_of(settings))


@contextmanager
def readable(files: Sequence[str]) -> Iterator[list[str]]:
    """The files, read twice: standard input is written to a file first."""
    if "-" not in files:
        yield list(files)
        return
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "standard-input"
        with spool.open("wb") as out:
            shutil.copyfileobj(sys.stdin.buffer, out)
        yield [str(spool) if file == "-" else file for file in files]


def require_exchanges(selection: Selection, stream: str | None) -> None:
    """Refuse logs in which there is nothing to take, with what was wrong with their records."""
    if selection.chosen:
        return
    refused = ", ".join(f"{n} {reason}" for reason, n in selection.rejected.most_common(5))
    wanted = f" of stream {stream!r}" if stream else ""
    raise ReferenceTooSmallError(
        f"the files hold no exchange{wanted}; refused: {refused or 'nothing'}; {WHY_REFUSED}"
    )


def _lacks(rows: Sequence[ReferenceRow], root: Path | None) -> Iterator[str]:
    """What whole kinds of signals cannot be judged for, since the logs do not have it."""
    with_images = [row for row in rows if row.image_states]
    unseen = [row for row in with_images if row.z_v is None]
    if unseen:
        states = Counter(state.value for row in unseen for state in row.image_states)
        counts = ", ".join(f"{n} {state}" for state, n in states.most_common())
        below = "is not set" if root is None else f"is {root}"
        yield (
            f"{len(unseen)} of {len(with_images)} exchanges with images have none that can be "
            f"looked at ({counts}); images.root, which paths are below, {below}; docs/formats.md, "
            "'What loggers do to images'"
        )
    if not any(row.exchange.target for row in rows):
        yield (
            "no exchange has a target, so no EMI, no bound of its drop and no output gap will be "
            "judged; docs/formats.md, 'Reference answers'"
        )


def _imported(path: Path | None, dim: int) -> QNetwork | None:
    """The q in a file, refused before any work is done if it does not fit the embeddings."""
    if path is None:
        return None
    network = load_club_checkpoint(path)
    require_fit(network, dim)
    return network


def _loaded(
    settings: Settings, database: Database, version: ReferenceVersion, encoders: EncoderPair
) -> Reference:
    shelf = make_shelf(settings, database, encoders)
    return shelf.get(version.digest).reference


def _say_what_was_built(version: ReferenceVersion, selection: Selection) -> None:
    refused = sum(selection.rejected.values())
    say(f"{len(selection.chosen)} of {selection.read} exchanges taken, {refused} records refused")
    for reason, n in selection.rejected.most_common():
        say(f"  {n} {reason}")
    notes = version.facts.get("notes")
    for note in notes if isinstance(notes, list) else []:
        say(f"note: {note}")


def _judged_by(version: ReferenceVersion, active: dict[str, str]) -> list[str]:
    return sorted(stream for stream, digest in active.items() if digest == version.digest)


def _as_json(version: ReferenceVersion, active: dict[str, str]) -> dict[str, object]:
    return {
        "reference": version.identity,
        "digest": version.digest,
        "created_at": version.created_at.isoformat(),
        "encoder_digest": version.encoder_digest,
        "active_for": _judged_by(version, active),
        **version.facts,
    }


def _flat(value: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and prefix == "labels.":
            yield f"{prefix}{key}", [f"{label} {count}" for label, count in inner.items()]
        elif isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return str(value)
