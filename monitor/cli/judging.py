"""Commands that ask how good the judgement is, and what is behind it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from monitor.cli.options import AS_JSON, COUNT, FILES, FORMAT, PATH, settings_of, utc_time


@click.command()
@click.argument("files", nargs=-1)
@FORMAT
@click.option("--reference", help="NAME, NAME@DIGEST or a digest; default: the active one.")
@click.option("--stream", help="Whose windows, and which stream the thresholds are for.")
@click.option("--burn-in", "from_windows", is_flag=True, help="From the stored windows.")
@click.option(
    "--since", type=utc_time, help="Start of the healthy time, UTC; default: all there is."
)
@click.option("--until", type=utc_time, help="End of the healthy time, UTC; default: all there is.")
@click.option(
    "--draws",
    type=click.IntRange(min=50),
    help="Pseudo-windows by resampling; default: reference.null_draws.",
)
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

    if files or from_windows:
        if draws is not None:
            raise click.UsageError("--draws is for resampling, without --burn-in and FILES")
    elif since or until:
        raise click.UsageError("--since and --until are for past windows: --burn-in, or FILES")
    wish = Wish(
        files=files,
        format_name=format_name,
        reference=reference,
        stream=stream,
        from_windows=from_windows,
        span=Span(since, until),
        draws=draws,
        activate_it=activate_it,
        as_json=as_json,
    )
    run_calibrate(settings_of(config), wish)


@click.command()
@FILES
@FORMAT
@click.option("--stream", help="Take only this stream's exchanges and the reference it has.")
@click.option("--window", type=COUNT, help="Exchanges; default: the usual number.")
@click.option("--shift", "kinds", multiple=True, metavar="KIND", help="Only this kind; repeatable.")
@click.option("--strengths", default="1,3,5", show_default=True, help="From 1 to 5.")
@click.option("--fractions", default="0.1,0.3,1", show_default=True, help="Of the traffic.")
@click.option("--trials", default=40, show_default=True, type=COUNT, help="Windows of each.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of all chance."
)
@click.option("--picture", type=PATH, help="File, .png or .svg.")
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
    run_drill(settings_of(config), wish)


@click.command()
@click.option("--stream", help="Of this stream; default: of any.")
@click.option("--window", help="Its end or a time within; default: the newest that is out.")
@click.option("--slice", "slice_key", default="all", show_default=True, metavar="LABEL=VALUE")
@click.option("--signal", help="Rank by this signal; default: the one that is most out.")
@click.option("--exchanges", type=click.IntRange(0, 200), default=5, show_default=True)
@click.option("--export", type=PATH, help="File, .html or .json.")
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
    run_explain(settings_of(config), wish)
