"""``forget``, and what ``check`` says about content: how much there is, and when it goes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from monitor.commands.terminal import progress, put, put_json, say, this_user
from monitor.service.acting import ACTIONS, FORGET
from monitor.service.forget import Forgetter, Found
from monitor.service.logs import configure_logs
from monitor.service.wiring import opened_database, privacy_of, utc_now
from monitor.settings import Settings, format_duration
from monitor.store.audit import AuditEntry, Outcome, record_audit
from monitor.store.engine import open_database
from monitor.store.forgetting import Wanted
from monitor.store.migrations import is_made
from monitor.store.references import active_references, list_references
from monitor.store.retention import stored_content


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    exchange_id: str | None
    label: str | None
    stream: str | None
    is_sure: bool
    as_json: bool


def forget(settings: Settings, wish: Wish) -> None:
    """Say what is stored of the exchanges and, if that is wished for surely, delete it."""
    wanted = Wanted(wish.exchange_id, _label(wish), wish.stream)
    with opened_database(settings, must_exist=True) as database:
        forgetter = Forgetter(database, settings.data_dir, utc_now)
        found = forgetter.find(wanted)
        for warning in _warnings(found, wanted):
            say(warning)
        if not wish.is_sure:
            _show(wish, {"samples": len(found.samples), **_of_references(found)})
            say("nothing was changed: --yes forgets them, and empties the quarantine")
            return
        configure_logs(level=settings.logging.level, form=settings.logging.format)
        with progress() as report:
            counts, replaced = forgetter.forget(wanted, found, report)
        with database.begin() as session:
            target, kind = wish.stream or "every stream", "label" if wish.label else "id"
            done = AuditEntry(
                utc_now(), this_user(), ACTIONS[FORGET], target, Outcome.DONE, f"by {kind}"
            )
            record_audit(session, done)
    _show(wish, asdict(counts) | {"replaced": [[r.old.identity, r.new.identity] for r in replaced]})


def content_findings(settings: Settings) -> Iterator[tuple[bool, str]]:
    """What is stored of what was said; wrong is a reference made with another redaction."""
    retention = settings.privacy.content_retention
    redacted = privacy_of(settings).redact.identity
    names = ", ".join(name.partition(":")[0] for name in redacted)
    yield (
        True,
        f"privacy: content goes after {format_duration(retention)}; redacted: {names or 'nothing'}",
    )
    with open_database(settings.database.url) as database:
        if not is_made(database):
            return
        with database.read() as session:
            content = stored_content(session)
            active = set(active_references(session).values())
            versions = [v for v in list_references(session) if v.digest in active]
    text = (
        f"  stored: {content.exchanges} exchanges, {content.of_references} of references, "
        f"{content.images} images ({content.image_bytes / 1e6:.1f} MB), "
        f"{content.refused} refused records"
    )
    if content.oldest is not None:
        due = content.oldest + retention
        text += f"; the oldest since {content.oldest:%Y-%m-%d %H:%M}, to go at {due:%Y-%m-%d %H:%M}"
    yield True, text
    for version in versions:
        if version.facts.get("redacted", []) != redacted:
            yield (
                False,
                f"reference {version.identity} was made from texts that were redacted otherwise, "
                "so texts seem to drift: build it again with `mllm-monitor reference build`",
            )


def _label(wish: Wish) -> tuple[str, str] | None:
    if (wish.exchange_id is None) == (wish.label is None):
        raise click.UsageError("give --id or --label, one of the two")
    if wish.label is None:
        return None
    name, equals, value = wish.label.partition("=")
    if not (name and equals):
        raise click.UsageError("--label takes NAME=VALUE")
    return name, value


def _of_references(found: Found) -> dict[str, int]:
    return {
        "references": len(found.references),
        "reference_exchanges": found.reference_exchanges,
    }


def _warnings(found: Found, wanted: Wanted) -> list[str]:
    warnings = [
        f"{identity} does not know the ids of its exchanges: build it again without them"
        for identity in found.unknown
    ]
    if wanted.label is not None:
        warnings.append(
            "references and early targets know ids, not labels: they are searched for the ids of "
            "the samples that have the label"
        )
    return warnings


def _show(wish: Wish, counts: dict[str, object] | dict[str, int]) -> None:
    if wish.as_json:
        put_json({"forgotten": wish.is_sure, **counts})
        return
    for name, value in counts.items():
        if isinstance(value, list):
            for old, new in value:
                put(f"{old} is replaced by {new}")
        else:
            put(f"{name.replace('_', ' ')}: {value}")
