"""The reference that windows are compared with: ``reference`` and what is below it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from monitor.cli.options import AS_JSON, FILES, FORMAT, PATH, reference_name, settings_of, utc_time


@click.group()
def reference() -> None:
    """The reference that windows are compared with, and its versions."""


@reference.command("build")
@FILES
@FORMAT
@click.option(
    "--name",
    type=reference_name,
    default="reference",
    show_default=True,
    help="Name of the reference.",
)
@click.option("--stream", help="Take only this stream's exchanges, and judge only this stream.")
@click.option("--activate/--no-activate", default=None, help="Default: if none is active yet.")
@click.option(
    "--conditional",
    type=PATH,
    help="Weights of a q of answers in the published layout (CLUB_global.pt); else one is trained.",
)
@click.pass_obj
def reference_build(
    config: Path | None,
    files: tuple[str, ...],
    format_name: str,
    name: str,
    stream: str | None,
    activate: bool | None,
    conditional: Path | None,
) -> None:
    """Build a reference from logs of traffic that is known to be good.

    One whose q of answers has learned nothing is stored, not activated.
    """
    from monitor.commands.reference import Wish, build_reference

    wish = Wish(
        files=files,
        format_name=format_name,
        name=name,
        stream=stream,
        activate_it=activate,
        conditional=conditional,
    )
    build_reference(settings_of(config), wish)


@reference.command("list")
@AS_JSON
@click.pass_obj
def reference_list(config: Path | None, as_json: bool) -> None:
    """List all references, newest first."""
    from monitor.commands.reference import list_all_references

    list_all_references(settings_of(config), as_json=as_json)


@reference.command("show")
@click.argument("name")
@AS_JSON
@click.pass_obj
def reference_show(config: Path | None, name: str, as_json: bool) -> None:
    """Show what one reference is made of. NAME is a name, name@digest or a digest."""
    from monitor.commands.reference import show_reference

    show_reference(settings_of(config), name, as_json=as_json)


@reference.command("activate")
@click.argument("name")
@click.option("--stream", default="*", show_default=True, help="Which stream it judges; * is all.")
@click.option(
    "--without-quality",
    is_flag=True,
    help="Accept a reference that knows only whether traffic changes, not whether answers worsen.",
)
@click.pass_obj
def reference_activate(config: Path | None, name: str, stream: str, without_quality: bool) -> None:
    """Judge a stream by this reference from now on."""
    from monitor.commands.reference import activate_reference

    activate_reference(settings_of(config), name, stream, without_quality=without_quality)


@reference.command("promote")
@click.option("--stream", required=True, help="The stream, which it will judge.")
@click.option("--since", type=utc_time, required=True, help="Start of what is to be normal, UTC.")
@click.option("--until", type=utc_time, help="Its end; default: what is measured so far.")
@click.option(
    "--name",
    type=reference_name,
    help="Name of the version; default: that of the reference in force.",
)
@click.option("--include-drifting", is_flag=True, help="Take windows too that were drifting.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would change, store nothing.")
@click.option(
    "--activate/--no-activate", default=False, help="Let it judge the stream at once; default: no."
)
@AS_JSON
@click.pass_obj
def reference_promote(
    config: Path | None,
    stream: str,
    since: datetime,
    until: datetime | None,
    name: str | None,
    include_drifting: bool,
    is_dry: bool,
    activate: bool,
    as_json: bool,
) -> None:
    """Accept past windows of a stream as the new normal.

    A version of the reference is built from the samples that are stored of that time, without
    windows that were drifting unless these are meant. What changes is shown before anything is
    activated; the version of before stays and can be activated again.
    """
    from monitor.commands.promote import Wish, promote_reference
    from monitor.service.promotion_choice import PromotionWish

    until = until or datetime.now(UTC)
    past = PromotionWish(stream, since, until, name, include_drifting)
    promote_reference(settings_of(config), Wish(past, is_dry, activate, as_json))


@reference.command("delete")
@click.argument("name")
@click.pass_obj
def reference_delete(config: Path | None, name: str) -> None:
    """Delete a reference that is not active."""
    from monitor.commands.reference import delete_one_reference

    delete_one_reference(settings_of(config), name)
