"""What options of several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from monitor.settings import Settings


class UtcTime(click.DateTime):
    """A time that is UTC without saying so."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Make it an aware time."""
        return super().convert(value, param, ctx).replace(tzinfo=UTC)


COUNT = click.IntRange(min=1)
PATH = click.Path(path_type=Path)
TIME = UtcTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
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
