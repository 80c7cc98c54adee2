"""The program: its commands together, and how each ends."""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import click

from monitor.cli.judging import calibrate, drill, explain
from monitor.cli.options import PATH
from monitor.cli.references import reference
from monitor.cli.running import check, demo, replay, run, simulate
from monitor.cli.storing import db, forget
from monitor.errors import MonitorError

FAULT = 70  # of the program itself, as sysexits.h numbers it: 1 is drift that was asked for


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mllm-drift-monitor")
@click.option(
    "--config",
    type=PATH,
    help="Settings file; else the one named by MLLM_MONITOR_CONFIG; else the defaults.",
)
@click.pass_context
def program(context: click.Context, config: Path | None) -> None:
    """Watch deployed multimodal LLMs for drift.

    Has the traffic changed, have the answers got worse, how bad could it be: three questions, each
    answered with its uncertainty, as Prometheus metrics with calibrated thresholds.
    """
    context.obj = config


for command in (run, replay, demo, simulate, check, calibrate, drill, explain, forget):
    program.add_command(command)
program.add_command(reference)
program.add_command(db)


def main() -> None:
    """Run the command line; an expected error is one line, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what the encoding of the terminal lacks
    try:
        program(standalone_mode=False)
    except click.exceptions.Exit as exc:
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        exc.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except MonitorError as exc:
        _fail(str(exc))
    except OSError as exc:
        _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
    except Exception as exc:  # noqa: BLE001 - told in full, with a code that drift does not have
        from sqlalchemy.exc import SQLAlchemyError

        from monitor.commands.terminal import in_one_line

        if isinstance(exc, SQLAlchemyError):
            _fail(in_one_line(exc))
        traceback.print_exception(exc)
        sys.exit(FAULT)


def _fail(message: str) -> NoReturn:
    from monitor.commands.terminal import printable

    for line in message.splitlines():
        click.echo(f"mllm-monitor: {printable(line)}", err=True)
    sys.exit(2)
