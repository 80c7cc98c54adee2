"""Commands that measure traffic or make some, and the look at the settings before."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from monitor.cli.options import AS_JSON, FILES, FORMAT, settings_of, utc_time

DRIFT_FOUND = 1  # exit code, where it is asked for


@click.command()
@click.pass_obj
def run(config: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from monitor.commands.daemon import run_daemon

    run_daemon(settings_of(config))


@click.command()
@FILES
@FORMAT
@click.option(
    "--fail-on-drift",
    is_flag=True,
    help="Exit with 1 if any stream was drifting, with 2 if none could be judged.",
)
@AS_JSON
@click.pass_obj
def replay(
    config: Path | None,
    files: tuple[str, ...],
    format_name: str,
    fail_on_drift: bool,
    as_json: bool,
) -> None:
    """Measure historical logs through the same jobs as the daemon, at full speed.

    FILES may be plain or gzip, - is standard input. A replay that was cut short goes on where it
    stopped when it is started again with the same settings.
    """
    from monitor.commands.replay import replay_files

    is_drifting = replay_files(
        settings_of(config), files, format_name, as_json=as_json, must_judge=fail_on_drift
    )
    if fail_on_drift and is_drifting:
        sys.exit(DRIFT_FOUND)


@click.command()
@click.option("--seed", default=0, show_default=True, help="Seed of the traffic and the drift.")
@click.option("--exit-after", type=click.FloatRange(min=1), help="Seconds until it ends by itself.")
@click.option("--listen", default="127.0.0.1:9750", show_default=True, help="Port 0: a free one.")
def demo(seed: int, exit_after: float | None, listen: str) -> None:
    """Show the whole system on simulated traffic with a drift in the middle."""
    from monitor.commands.demo import run_demo

    run_demo(seed=seed, exit_after=exit_after, listen=listen)


@click.command()
@click.option("--count", default=1_000, show_default=True, help="Number of exchanges.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option(
    "--start",
    type=utc_time,
    default="2026-03-01",
    show_default=True,
    help="Event time of the first exchange, UTC.",
)
@click.option("--per-minute", default=60.0, show_default=True, help="Exchanges a minute.")
@click.option("--stream", default="simulated", show_default=True, help="Name of the stream.")
@click.option(
    "--drift",
    "drifts",
    multiple=True,
    metavar="KIND[:SEVERITY[:SHARE]]",
    help="What is wrong, for instance blur:4 or typos:3:0.5; may be repeated.",
)
@click.option(
    "--drift-from", type=utc_time, help="When it begins, UTC; default: from the first on."
)
@click.option(
    "--drift-only",
    multiple=True,
    metavar="LABEL=VALUE",
    help="Of exchanges with this label alone, for instance tenant=acme.",
)
@click.option("--live", is_flag=True, help="Each when its time has come, from now on.")
@click.option(
    "--out",
    default="-",
    show_default=True,
    help="File, gzip if it ends in .gz, or where a daemon takes it: http://HOST:PORT/v1/exchanges.",
)
@click.pass_obj
def simulate(
    config: Path | None,
    count: int,
    seed: int,
    start: datetime,
    per_minute: float,
    stream: str,
    drifts: tuple[str, ...],
    drift_from: datetime | None,
    drift_only: tuple[str, ...],
    live: bool,
    out: str,
) -> None:
    """Write labelled image and text traffic made from a seed, with drift on demand.

    KIND is blur, noise, frost, contrast, jpeg, sketch or texture of images, typos, synonyms,
    truncation, code_switching or language of texts, wrong_image, shuffled_answers, or
    worse_responder; severity is 1 to 5, 3 unless given, and share that of the exchanges.

    What is posted to a daemon carries the first token of MLLM_MONITOR_HTTP__TOKENS.
    """
    from monitor.commands.simulate import Wish, is_address, write_traffic

    tokens = settings_of(config).http.given_tokens if is_address(out) else ()
    token = next(iter(tokens), None)
    wish = Wish(
        seed=seed,
        count=count,
        start=None if live else start,
        per_minute=per_minute,
        stream=stream,
        drifts=drifts,
        out=out,
        token=token,
        drift_from=drift_from,
        drift_only=drift_only,
    )
    write_traffic(wish)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the settings in force as JSON.")
@click.pass_obj
def check(config: Path | None, as_json: bool) -> None:
    """Validate the settings, reach every configured part, say what is wrong."""
    from monitor.commands.check import check_settings

    sys.exit(check_settings(settings_of(config), as_json=as_json))
