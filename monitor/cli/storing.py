"""Commands about what is stored: ``forget``, and ``db`` and what is below it."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.options import AS_JSON, PATH, settings_of


@click.command()
@click.option("--id", "exchange_id", help="The exchange of this id.")
@click.option("--label", metavar="NAME=VALUE", help="All exchanges with this value of a label.")
@click.option("--stream", help="Of this stream alone.")
@click.option("--yes", "is_sure", is_flag=True, help="Else it is only said what there is.")
@AS_JSON
@click.pass_obj
def forget(
    config: Path | None,
    exchange_id: str | None,
    label: str | None,
    stream: str | None,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Delete exchanges everywhere: samples, images, targets, references and their indexes.

    A reference that was made from them is replaced by one without them, with thresholds drawn
    anew. It does not keep them from being stored again if they are logged again.
    """
    from monitor.commands.privacy import Wish
    from monitor.commands.privacy import forget as forget_exchanges

    wish = Wish(exchange_id, label, stream, is_sure=is_sure, as_json=as_json)
    forget_exchanges(settings_of(config), wish)


@click.group()
def db() -> None:
    """Migrations and copies of the database."""


@db.command("upgrade")
@click.pass_obj
def db_upgrade(config: Path | None) -> None:
    """Bring the database to the revision this program needs."""
    from monitor.commands.database import upgrade_database

    upgrade_database(settings_of(config))


@db.command("current")
@click.pass_obj
def db_current(config: Path | None) -> None:
    """Print the revision of the database and the one that is needed."""
    from monitor.commands.database import print_revision

    print_revision(settings_of(config))


@db.command("backup")
@click.argument("file", type=PATH)
@click.pass_obj
def db_backup(config: Path | None, file: Path) -> None:
    """Copy an SQLite database to FILE, also while the daemon runs.

    To restore it, stop the daemon, put FILE where the database was, and remove the files beside it
    that end in -wal and -shm.
    """
    from monitor.commands.database import back_up_database

    back_up_database(settings_of(config), file)
