"""How long it takes from the first drifted exchange to the person who is told, stage by stage.

Runs the daemon on live traffic, with Prometheus and Alertmanager as deploy/ has them: nothing is
hurried. ``make alert-demo`` runs it.
"""

import argparse
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import sync_playwright

from monitor.commands.terminal import put, say
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from tests.acceptance.alerting import Hook, Stack, free_port, hook, stack
from tests.acceptance.program import Process, Program

CHROMIUM = "/usr/bin/chromium"
PER_MINUTE = 150
CALM, DRIFTING = timedelta(seconds=100), timedelta(minutes=10)
REFERENCE_EXCHANGES = 800
LATENESS = timedelta(seconds=5)
WINDOWS = {
    "pane": "5s",
    "length": "1m",
    "slide": "15s",
    "lateness": "5s",
    "min_samples": 30,
}
WATCHED = {
    "MllmMonitorTrafficChanged": ("tickets", "visual_discrepancy"),
    "MllmMonitorAnswersWorse": ("pager", "emi"),
}
STAGES = (
    "window complete and closed (its end + lateness)",
    "measured",
    "scraped by Prometheus",
    "alert firing",
    "webhook called",
)


@dataclass(frozen=True, slots=True)
class Way:
    """The instants that an alert passed, in the order of the stages."""

    alert: str
    window: str
    instants: Sequence[float]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--screenshot", type=Path, help="picture of Prometheus' page of alerts")
    options.add_argument("--seed", type=int, default=3)
    wish = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="prove-alerting-") as name:
        for way in _prove(Path(name), wish.seed, wish.screenshot):
            _print(way)


def _prove(folder: Path, seed: int, screenshot: Path | None) -> list[Way]:
    listen = f"127.0.0.1:{free_port()}"
    program = Program(folder, settings(listen))
    say(f"building a reference from {REFERENCE_EXCHANGES} simulated exchanges ...")
    count = ("--count", str(REFERENCE_EXCHANGES), "--seed", str(seed))
    program.done("simulate", *count, "--out", "good-day.jsonl")
    program.done("reference", "build", "good-day.jsonl")
    (folder / "stack").mkdir()
    with (
        hook() as told,
        stack(folder / "stack", target=listen, told=told) as at,
        program.running("run") as process,
    ):
        process.event("daemon_ready")
        drift = datetime.now(UTC) + CALM
        say(f"monitor http://{listen}/  Prometheus {at.prometheus}  {at.alertmanager}")
        say(f"good traffic until {drift:%H:%M:%S}, then blurred images and worse answers ...")
        with _logging(folder / "traffic.jsonl", seed + 1, drift) as first_drifted:
            process.until("beginning of the drift", lambda: datetime.now(UTC) > drift)
            for alert, (receiver, _) in WATCHED.items():
                process.until(alert, lambda r=receiver, a=alert: told.first(r, a))
                say(f"{receiver} was told of {alert}")
            ways = [_way(process, at, told, alert, first_drifted()) for alert in WATCHED]
            if screenshot:
                _photograph(at.prometheus, screenshot)
    return ways


def settings(listen: str) -> Mapping[str, object]:
    """Windows of a minute, so that it is over in some."""
    return {
        "http": {"listen": listen},
        "windows": WINDOWS,
        "sampling": {"per_pane": 60},
        "reference": {"null_draws": 50},
        "sources": [{"path": "traffic.jsonl", "format": "native"}],
        "jobs": {"ingest": "1s", "embed": "1s", "measure": "1s"},
    }


@contextmanager
def _logging(path: Path, seed: int, drift: datetime) -> Iterator[Callable[[], float]]:
    """Log each exchange when its time has come; yields when the first drifted one was answered."""
    wrong = [
        Drift(kind, severity=5, start=drift) for kind in (DriftKind.BLUR, DriftKind.WORSE_RESPONDER)
    ]
    start = datetime.now(UTC)
    count = int((drift + DRIFTING - start).total_seconds() / 60 * PER_MINUTE)
    mix = Mix(per_minute=PER_MINUTE)
    first: list[float] = []
    left = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as log:
            for exchange in simulate(seed, start=start, count=count, drifts=wrong, mix=mix):
                line = as_native_line(exchange)
                if left.wait(max(0.0, (exchange.time - datetime.now(UTC)).total_seconds())):
                    return
                if exchange.time >= drift:
                    first.append(exchange.time.timestamp())
                log.write(line)

    writer = threading.Thread(target=write, name="traffic")
    writer.start()
    try:
        yield lambda: first[0]
    finally:
        left.set()
        writer.join()


def _way(process: Process, at: Stack, told: Hook, alert: str, began: float) -> Way:
    receiver, signal = WATCHED[alert]
    window, measured = _first_window(process, signal, began)
    where = f'slice="all",signal="{signal}"'
    found = told.first(receiver, alert)
    assert found is not None
    return Way(
        alert,
        f"{window['start'][11:19]} to {window['end'][11:19]}, n = {window['n']}",
        [
            began,
            (datetime.fromisoformat(window["end"]) + LATENESS).timestamp(),
            measured,
            _first_one(at, f"mllm_monitor_signal_drifting{{{where}}}"),
            _first_one(at, f'ALERTS{{alertname="{alert}",alertstate="firing",{where}}}'),
            found[0].at,
        ],
    )


def _first_window(process: Process, signal: str, began: float) -> tuple[Mapping[str, str], float]:
    for event in process.events():
        if event["event"] != "window_measured" or signal not in event["drifting"]:
            continue
        if datetime.fromisoformat(event["end"]).timestamp() > began:
            return event, datetime.fromisoformat(event["timestamp"]).timestamp()
    raise AssertionError(f"{signal} never drifted")


def _first_one(at: Stack, selector: str) -> float:
    """When a series was first 1, by its raw samples."""
    (series,) = at.ask(f"{selector}[15m]")
    return float(min(t for t, value in series["values"] if value == "1"))


def _photograph(prometheus: str, path: Path) -> None:
    """The page of alerts, those that fire with their texts. Debian's has the pages of before."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{prometheus}/classic/alerts")
        for header in page.query_selector_all(".alert-danger.alert_header"):
            header.click()
        page.click(".show-annotations")
        page.screenshot(path=path, full_page=True, animations="disabled")
        browser.close()


def _print(way: Way) -> None:
    put(f"\n{way.alert}, by the window {way.window}")
    put(f"  {'first drifted exchange':50} {_clock(way.instants[0])}")
    before = way.instants[0]
    for stage, instant in zip(STAGES, way.instants[1:], strict=True):
        put(f"  {stage:50} {_clock(instant)} {instant - before:+7.1f} s")
        before = instant
    put(f"  {'in all':59} {before - way.instants[0]:+7.1f} s")


def _clock(instant: float) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%H:%M:%S}"


if __name__ == "__main__":
    main()
