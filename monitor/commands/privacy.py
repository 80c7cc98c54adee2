"""``forget``: deleting exchanges on request, everywhere."""

from dataclasses import asdict, dataclass

import click

from monitor.commands.terminal import progress, put_json, say
from monitor.service.forget import Forgetter, Found
from monitor.service.logs import configure_logs
from monitor.service.wiring import opened_database, utc_now
from monitor.settings import Settings
from monitor.store.forgetting import Wanted


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
    with opened_database(settings) as database:
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
    _show(wish, asdict(counts) | {"replaced": [[r.old.identity, r.new.identity] for r in replaced]})


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
                click.echo(f"{old} is replaced by {new}")
        else:
            click.echo(f"{name.replace('_', ' ')}: {value}")
