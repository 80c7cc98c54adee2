"""The command line. Each command is thin: settings in, one call, words or data out."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.settings import Settings

# Everything else is imported inside the commands, so that --help answers at once.
FILES = click.argument("files", nargs=-1, required=True)
FORMAT = click.option(
    "--format",
    "format_name",
    default="auto",
    show_default=True,
    help="Of the logs; docs/formats.md has the names.",
)
COUNT = click.IntRange(min=1)
TIME = click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")


def main() -> None:
    """Run the command line; an expected error is one line, not a traceback."""
    try:
        cli(standalone_mode=False)
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
    except Exception as exc:
        from sqlalchemy.exc import SQLAlchemyError

        from monitor.commands.terminal import in_one_line

        if not isinstance(exc, SQLAlchemyError):
            raise
        _fail(in_one_line(exc))


def _fail(message: str) -> NoReturn:
    from monitor.commands.terminal import printable

    for line in message.splitlines():
        click.echo(f"mllm-monitor: {printable(line)}", err=True)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mllm-drift-monitor")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings file; else the one named by MLLM_MONITOR_CONFIG; else the defaults.",
)
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Watch deployed multimodal LLMs for drift.

    Has the traffic changed, have the answers got worse, how bad could it be: three questions, each
    answered with its uncertainty, as Prometheus metrics with calibrated thresholds.
    """
    context.obj = config


def _settings(config: Path | None) -> Settings:
    from monitor.settings import load_settings

    return load_settings(config)


@cli.command()
@click.pass_obj
def run(config: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from monitor.commands.daemon import run_daemon

    run_daemon(_settings(config))


@cli.command()
@FILES
@FORMAT
@AS_JSON
@click.pass_obj
def replay(config: Path | None, files: tuple[str, ...], format_name: str, as_json: bool) -> None:
    """Measure historical logs through the same jobs as the daemon, at full speed.

    FILES may be plain or gzip, - is standard input. A replay that was cut short goes on where it
    stopped when it is started again with the same settings.
    """
    from monitor.commands.replay import replay_files

    replay_files(_settings(config), files, format_name, as_json=as_json)


@cli.command()
@click.option("--seed", default=0, show_default=True, help="Seed of the traffic and the drift.")
@click.option("--exit-after", type=click.FloatRange(min=1), help="Seconds until it ends by itself.")
@click.option("--listen", default="127.0.0.1:9750", show_default=True, help="Port 0: a free one.")
def demo(seed: int, exit_after: float | None, listen: str) -> None:
    """Show the whole system on simulated traffic with a drift in the middle."""
    from monitor.commands.demo import run_demo

    run_demo(seed=seed, exit_after=exit_after, listen=listen)


@cli.command()
@click.argument("files", nargs=-1)
@FORMAT
@click.option("--reference", help="Which one; default: the active one.")
@click.option("--stream", help="Whose windows, and which stream the thresholds are for.")
@click.option("--burn-in", "from_windows", is_flag=True, help="From the stored windows.")
@click.option("--since", type=TIME, help="Start of the healthy time, UTC.")
@click.option("--until", type=TIME, help="End of the healthy time, UTC.")
@click.option("--draws", type=click.IntRange(min=50), help="By resampling, default: as set.")
@click.option("--activate/--dry-run", "activate_it", default=True, help="Default: activate.")
@AS_JSON
@click.pass_obj
def calibrate(
    config: Path | None,
    files: tuple[str, ...],
    format_name: str,
    reference: str | None,
    stream: str | None,
    from_windows: bool,
    since: datetime | None,
    until: datetime | None,
    draws: int | None,
    activate_it: bool,
    as_json: bool,
) -> None:
    """Find thresholds anew: by resampling the reference, or from past healthy windows.

    Alone it draws the nulls again from the exchanges that the reference holds out. With --burn-in
    it takes whole windows of time that is known to have been good, so that bursts and the rhythm
    of the day are in the thresholds: from what is stored, or from the logs in FILES.
    """
    from monitor.commands.calibrate import Wish, run_calibrate
    from monitor.service.calibration import Span

    wish = Wish(
        files=files,
        format_name=format_name,
        reference=reference,
        stream=stream,
        from_windows=from_windows,
        span=Span(since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC)),
        draws=draws,
        activate_it=activate_it,
        as_json=as_json,
    )
    run_calibrate(_settings(config), wish)


@cli.command()
@FILES
@FORMAT
@click.option("--stream", help="Take only this stream's exchanges and the reference it has.")
@click.option("--window", type=COUNT, help="Exchanges; default: the usual number.")
@click.option("--shift", "kinds", multiple=True, metavar="KIND", help="Only this kind; repeatable.")
@click.option("--strengths", default="1,3,5", show_default=True, help="From 1 to 5.")
@click.option("--fractions", default="0.1,0.3,1", show_default=True, help="Of the traffic.")
@click.option("--trials", default=40, show_default=True, type=COUNT, help="Windows of each.")
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Seed of all chance.")
@click.option("--picture", type=click.Path(path_type=Path), help="File, .png or .svg.")
@AS_JSON
@click.pass_obj
def drill(
    config: Path | None,
    files: tuple[str, ...],
    format_name: str,
    stream: str | None,
    window: int | None,
    kinds: tuple[str, ...],
    strengths: str,
    fractions: str,
    trials: int,
    seed: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Would we have noticed? Put known shifts on good traffic and see which windows alarm.

    FILES are logs of traffic known to be good; exchanges that the reference was made from are left
    out. Images get blur, noise, frost, contrast or jpeg; texts get typos, synonyms, truncation or
    code_switching (words of other languages); worse_responder gives the answer to a similar
    question; shuffled_answers and wrong_image exchange what belongs together. Each at several
    strengths and in several fractions of the traffic, for a window and for as long as it lasts.
    """
    from monitor.commands.drill import Wish, run_drill

    wish = Wish(
        files=files,
        format_name=format_name,
        stream=stream,
        window=window,
        kinds=kinds,
        strengths=strengths,
        fractions=fractions,
        trials=trials,
        seed=seed,
        picture=picture,
        as_json=as_json,
    )
    run_drill(_settings(config), wish)


@cli.command()
@click.option("--count", default=1_000, show_default=True, help="Number of exchanges.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]),
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
@click.option("--drift-from", type=TIME, help="When it begins, UTC; default: from the first on.")
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

    What is posted to a daemon carries the first token of MLLM_MONITOR_HTTP__TOKENS.
    """
    from monitor.commands.simulate import Wish, is_address, write_traffic

    at = None if live else start.replace(tzinfo=UTC)
    tokens = _settings(config).http.given_tokens if is_address(out) else ()
    token = next(iter(tokens), None)
    wish = Wish(
        seed=seed,
        count=count,
        start=at,
        per_minute=per_minute,
        stream=stream,
        drifts=drifts,
        out=out,
        token=token,
        drift_from=drift_from and drift_from.replace(tzinfo=UTC),
        drift_only=drift_only,
    )
    write_traffic(wish)


@cli.command()
@click.option("--stream", help="Of this stream; default: of any.")
@click.option("--window", help="Its end or a time within; default: the newest that is out.")
@click.option("--slice", "slice_key", default="all", show_default=True, metavar="LABEL=VALUE")
@click.option("--signal", help="Rank by this signal; default: the one that is most out.")
@click.option("--exchanges", type=click.IntRange(0, 200), default=5, show_default=True)
@click.option("--export", type=click.Path(path_type=Path), help="File, .html or .json.")
@AS_JSON
@click.pass_obj
def explain(
    config: Path | None,
    stream: str | None,
    window: str | None,
    slice_key: str,
    signal: str | None,
    exchanges: int,
    export: Path | None,
    as_json: bool,
) -> None:
    """Say why a window is out: since when, what, from whom, which exchanges.

    The verdict comes in plain words first, then signals, slices by their exact share, groups of
    what is new with the words they have, how the traffic has shifted, and the exchanges that add
    most beside their nearest ones of the reference. Nothing is embedded: it takes seconds.
    """
    from monitor.commands.explain import Wish, run_explain

    wish = Wish(
        stream=stream,
        window=window,
        slice_key=slice_key,
        signal=signal,
        exchanges=exchanges,
        export=export,
        as_json=as_json,
    )
    run_explain(_settings(config), wish)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the settings in force as JSON.")
@click.pass_obj
def check(config: Path | None, as_json: bool) -> None:
    """Validate the settings, reach every configured part, say what is wrong."""
    from monitor.commands.check import check_settings

    sys.exit(check_settings(_settings(config), as_json=as_json))


@cli.command()
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
    forget_exchanges(_settings(config), wish)


@cli.group()
def reference() -> None:
    """The reference that windows are compared with, and its versions."""


@reference.command("build")
@FILES
@FORMAT
@click.option("--name", default="reference", show_default=True, help="Name of the reference.")
@click.option("--stream", help="Take only this stream's exchanges, and judge only this stream.")
@click.option("--activate/--no-activate", default=None, help="Default: if none is active yet.")
@click.option(
    "--conditional",
    type=click.Path(path_type=Path),
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
    build_reference(_settings(config), wish)


@reference.command("list")
@AS_JSON
@click.pass_obj
def reference_list(config: Path | None, as_json: bool) -> None:
    """List all references, newest first."""
    from monitor.commands.reference import list_all_references

    list_all_references(_settings(config), as_json=as_json)


@reference.command("show")
@click.argument("name")
@AS_JSON
@click.pass_obj
def reference_show(config: Path | None, name: str, as_json: bool) -> None:
    """Show what one reference is made of. NAME is a name, name@digest or a digest."""
    from monitor.commands.reference import show_reference

    show_reference(_settings(config), name, as_json=as_json)


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

    activate_reference(_settings(config), name, stream, without_quality=without_quality)


@reference.command("promote")
@click.option("--stream", required=True, help="The stream, which it will judge.")
@click.option("--since", type=TIME, required=True, help="Start of what is to be normal, UTC.")
@click.option("--until", type=TIME, help="Its end; default: what is measured so far.")
@click.option("--name", help="Name of the version; default: that of the reference in force.")
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
    past = PromotionWish(
        stream, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC), name, include_drifting
    )
    promote_reference(_settings(config), Wish(past, is_dry, activate, as_json))


@reference.command("delete")
@click.argument("name")
@click.pass_obj
def reference_delete(config: Path | None, name: str) -> None:
    """Delete a reference that is not active."""
    from monitor.commands.reference import delete_one_reference

    delete_one_reference(_settings(config), name)


@cli.group()
def db() -> None:
    """Migrations and copies of the database."""


@db.command("upgrade")
@click.pass_obj
def db_upgrade(config: Path | None) -> None:
    """Bring the database to the revision this program needs."""
    from monitor.commands.database import upgrade_database

    upgrade_database(_settings(config))


@db.command("current")
@click.pass_obj
def db_current(config: Path | None) -> None:
    """Print the revision of the database and the one that is needed."""
    from monitor.commands.database import print_revision

    print_revision(_settings(config))


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def db_backup(config: Path | None, file: Path) -> None:
    """Copy an SQLite database to FILE, also while the daemon runs.

    To restore it, stop the daemon, put FILE where the database was, and remove the files beside it
    that end in -wal and -shm.
    """
    from monitor.commands.database import back_up_database

    back_up_database(_settings(config), file)
