"""What options of several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.records import may_be_name

if TYPE_CHECKING:
    from monitor.settings import Settings


def utc_time(value: str) -> datetime:
    """A day or a time of RFC 3339; UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"expected a day, 2026-03-01, or a time, 2026-03-01T12:00:00Z, got {value!r}"
        ) from None


def reference_name(value: str) -> str:
    """What a reference may be called: NAME@DIGEST tells one version of it."""
    if not may_be_name(value):
        raise click.BadParameter(f"expected a name without @, got {value!r}")
    return value


COUNT = click.IntRange(min=1)
PATH = click.Path(path_type=Path)
FILES = click.argument("files", nargs=-1, required=True)
FORMAT = click.option(
    "--format",
    "format_name",
    default="auto",
    show_default=True,
    help="Of the logs; docs/formats.md has the names.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")


def settings_of(config: Path | None) -> Settings:
    """The settings in force; ``config`` is the file that the command line names."""
    from monitor.settings import load_settings

    return load_settings(config)
