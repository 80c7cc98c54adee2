"""``explain``: why a window is out, in a terminal or as JSON."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from monitor.commands.case_report import put_case
from monitor.commands.terminal import no_traffic_of, put_json, say
from monitor.errors import MonitorError, WindowNotFoundError
from monitor.records import Signal
from monitor.service.dissection import CaseLimits
from monitor.service.investigation import CaseWish
from monitor.service.logs import configure_logs
from monitor.service.wiring import make_investigator, opened_database, utc_now
from monitor.settings import Settings
from monitor.store.engine import Database
from monitor.store.history import list_windows, newest_drifting
from monitor.store.streams import known_streams
from monitor.store.windows import latest_windows
from monitor.web.api.case_schema import CaseLine
from monitor.web.api.parameters import moment
from monitor.web.assets import Assets
from monitor.web.export import Exporter
from monitor.web.investigation import shell_of

FORMS = (".html", ".json")  # of an export
LOOKED_AT = 200  # of the newest windows, for one that holds enough to be judged


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for; None is what is most worth looking at."""

    stream: str | None
    window: str | None
    slice_key: str
    signal: str | None
    exchanges: int
    export: Path | None
    as_json: bool


def run_explain(settings: Settings, wish: Wish) -> None:
    """Print the case of one window.

    Raises:
        MonitorError: in one line, if there is no such window; or, once what is known of it is
            printed, if it cannot be taken apart.
    """
    configure_logs(level="warning", form=settings.logging.format)
    signal = None if wish.signal is None else _signal(wish.signal)
    end = None if wish.window is None else _time(wish.window)
    if wish.export is not None and wish.export.suffix not in FORMS:
        raise MonitorError(f"--export must end in {' or '.join(FORMS)}; got {str(wish.export)!r}")
    with opened_database(settings, must_exist=True) as database:
        asked = _chosen(database, wish.stream, end, settings.windows.min_samples)
        investigator = make_investigator(settings, database, utc_now)
        investigator.limits = replace(CaseLimits(), exchanges=wish.exchanges)
        asked = replace(asked, slice_key=wish.slice_key, signal=signal)
        case = investigator.case(asked)
        said = shell_of(database, asked).notes
        if wish.export is not None:
            _write(settings, Exporter(database, investigator, Assets()), asked, wish.export)
    if wish.as_json:
        put_json(CaseLine.of(case).model_dump(mode="json", by_alias=True))
    else:
        put_case(case, said)
    if case.missing:
        raise MonitorError(case.missing)


def _write(settings: Settings, exporter: Exporter, asked: CaseWish, path: Path) -> None:
    http = settings.http
    shell = shell_of(exporter.database, asked)
    file = exporter.file_of(shell, http.external_url or f"http://{http.listen}")
    is_json = path.suffix == ".json"
    path.write_text(exporter.json_text(file) if is_json else exporter.html(file), encoding="utf-8")
    say(f"{path} holds the case, with what users wrote and their pictures")


def _chosen(
    database: Database, stream: str | None, end: datetime | None, min_samples: int
) -> CaseWish:
    """The window that was asked for, else the newest that is out, else the newest to be judged."""
    with database.read() as session:
        known = known_streams(session)
        if stream is not None and known and stream not in known:
            raise WindowNotFoundError(no_traffic_of(stream, known, "the database holds"))
        if end is None:
            found = newest_drifting(session, stream)
            if found is not None:
                return CaseWish(found[0], found[1].end)
        newest = max(latest_windows(session), key=lambda w: w.window.end, default=None)
        name = stream or (newest.stream if newest else None)
        windows = [] if name is None else list_windows(session, name, limit=LOOKED_AT)
        if name is None or not windows:
            whose = "" if stream is None else f" of stream {stream!r}"
            raise WindowNotFoundError(
                f"no window{whose} has been measured yet; windows are measured once a reference is "
                "active: `mllm-monitor reference build FILE`, then `run` or `replay`"
            )
    if end is not None:
        return CaseWish(name, end)
    judged = [w for w in windows if w.n >= min_samples]
    if judged:
        say("nothing is out of its normal range; this is the newest window that could be judged")
    return CaseWish(name, (judged or windows)[0].window.end)


def _signal(name: str) -> Signal:
    try:
        return Signal(name)
    except ValueError as exc:
        known = ", ".join(Signal)
        raise MonitorError(f"--signal must be one of {known}; got {name!r}") from exc


def _time(text: str) -> datetime:
    try:
        return moment(text)
    except ValueError as exc:
        raise MonitorError(f"--window: {exc}") from exc
