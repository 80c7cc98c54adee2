"""``demo``: the whole system on simulated traffic, with a drift in the middle."""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

from pydantic import ValidationError
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from monitor.commands.daemon import BUILTIN_NOTE, running
from monitor.commands.reference import Wish, build_reference
from monitor.commands.terminal import STYLES, put, say
from monitor.errors import MonitorError
from monitor.records import ALL, Exchange, Measurement, Signal, Verdict, WindowId
from monitor.service.daemon import stop_on_signals
from monitor.service.logs import configure_logs
from monitor.service.snapshot import Snapshot
from monitor.service.verdict import in_words
from monitor.settings import Settings
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.web.server import require_free

SPEED = 300  # simulated seconds in a second
PER_MINUTE = 6
REFERENCE_EXCHANGES = 1_800
START = datetime(2026, 3, 2, 12, tzinfo=UTC)
DRIFT_START, END = START + timedelta(hours=3), START + timedelta(hours=6)
# Between what closes the last full window and what would close the next, which traffic that has
# ended fills no more: the pages go on to show what the terminal said.
LAST = END + timedelta(minutes=15)
MIX = Mix(per_minute=PER_MINUTE)
DRIFT = Drift(DriftKind.BLUR, severity=4, start=DRIFT_START)
TICK_SECONDS = 0.25


class Clock:
    """Simulated time: stands still until started, runs ``SPEED`` times as fast, ends ``LAST``."""

    def __init__(self) -> None:
        self._started: float | None = None

    def __call__(self) -> datetime:
        if self._started is None:
            return START
        return min(START + timedelta(seconds=(monotonic() - self._started) * SPEED), LAST)

    def start(self) -> None:
        self._started = monotonic()


@dataclass(slots=True)
class Watch:
    """What was seen: every measured window, and when each signal noticed the drift."""

    windows: dict[WindowId, Sequence[Measurement]] = field(default_factory=dict)
    noticed: dict[Signal, WindowId] = field(default_factory=dict)

    def see(self, snapshot: Snapshot) -> WindowId | None:
        """Take in the newest window; returns it if it is a new one."""
        for state in snapshot.streams.values():
            if state.summary is None or state.summary.window in self.windows:
                continue
            window = state.summary.window
            self.windows[window] = [m for m in state.measurements if m.slice_key == ALL]
            for m in self.windows[window]:
                if m.verdict is Verdict.DRIFTING and window.end > DRIFT_START:
                    self.noticed.setdefault(m.signal, window)
            return window
        return None

    def newest(self) -> Sequence[Measurement]:
        """Measurements of the latest window."""
        return self.windows[max(self.windows)] if self.windows else ()

    @property
    def has_seen_drift(self) -> bool:
        """Whether any window reaches into the drift."""
        return any(w.end > DRIFT_START for w in self.windows)

    def verdict(self) -> list[str]:
        """What happened, in words."""
        calm = [w for w in self.windows if w.end <= DRIFT_START]
        alarms = sum(any(_is_out(m) for m in self.windows[w]) for w in calm)
        told = [f"{len(calm)} windows before the drift, {alarms} of them with an alarm."]
        if not self.has_seen_drift:
            return [*told, "The drift has not been reached."]
        told.append(f"At {DRIFT_START:%H:%M} the images became blurred. It was noticed by")
        for signal, window in sorted(self.noticed.items(), key=lambda item: item[1]):
            delay = int((window.end - DRIFT_START).total_seconds() / 60)
            told.append(f"  {signal.value:22} in the window that ended {delay} minutes later")
        if not self.noticed:
            told.append("  no signal yet")
        newest = max(self.windows)
        told.append(f"The window {newest.start:%H:%M} to {newest.end:%H:%M} in words:")
        return told + [f"  {sentence}" for sentence in in_words(self.newest())]


def run_demo(*, seed: int, exit_after: float | None, listen: str) -> None:
    """Build a reference, run the daemon, inject a drift, tell what was seen."""
    entered = monotonic()
    deadline = entered + exit_after if exit_after else float("inf")
    stop = threading.Event()
    configure_logs(level="error", form="auto")
    with stop_on_signals(stop), tempfile.TemporaryDirectory(prefix="mllm-monitor-demo-") as name:
        folder = Path(name)
        try:
            settings = demo_settings(folder, listen)
        except ValidationError as exc:
            message = exc.errors()[0]["msg"].removeprefix("Value error, ")
            raise MonitorError(f"--listen: {message}") from exc
        require_free(settings.http.host, settings.http.port)
        say(f"note: {BUILTIN_NOTE}")
        clock = Clock()
        _build(settings, folder, seed, clock)
        with running(settings, clock=clock, stop=stop) as (address, around):
            say(f"state: {address}/   metrics: {address}/metrics   JSON: {address}/api/v1/streams")
            watch = Watch()
            built = monotonic() - entered
            clock.start()
            with _writing(folder / "traffic.jsonl", live_traffic(seed), clock, stop):
                _play(watch, around.publisher.latest, clock, lambda: _is_over(stop, deadline))
            for line in watch.verdict():
                put(line)
            if monotonic() > deadline and not watch.has_seen_drift:
                needed = built + (END - START).total_seconds() / SPEED
                say(
                    f"building the reference took {built:.0f} s: try --exit-after {needed + 15:.0f}"
                )
            if not _is_over(stop, deadline):
                say(f"the daemon goes on at {address}/ until Ctrl-C")
            while not _is_over(stop, deadline):
                stop.wait(TICK_SECONDS)


def demo_settings(folder: Path, listen: str) -> Settings:
    """Small windows, so that a drift is seen within a minute or two."""
    return Settings.model_validate(
        {
            "database": {"url": f"sqlite:///{folder}/demo.db"},
            "data_dir": folder / "data",
            "http": {"listen": listen},
            "sources": [{"path": str(folder / "traffic.jsonl"), "format": "native"}],
            "windows": {"pane": "5m", "length": "30m", "slide": "10m", "lateness": "10m"},
            "sampling": {"per_pane": 30},
            "reference": {"null_draws": 100},
            "slices": {"labels": ["tenant"]},
            "jobs": {"ingest": "1s", "embed": "1s", "measure": "1s"},
        }
    )


def live_traffic(seed: int) -> Iterator[Exchange]:
    """The day of the drift: not the exchanges of the reference."""
    count = int((END - START).total_seconds() / 60 * PER_MINUTE)
    return simulate(seed + 1, start=START, count=count, drifts=(DRIFT,), mix=MIX)


def _build(settings: Settings, folder: Path, seed: int, clock: Clock) -> None:
    say(f"building a reference from {REFERENCE_EXCHANGES} simulated exchanges of a good day ...")
    path = folder / "good-day.jsonl"
    day_before = START - timedelta(days=1)
    exchanges = simulate(seed, start=day_before, count=REFERENCE_EXCHANGES, mix=MIX)
    path.write_bytes(b"".join(map(as_native_line, exchanges)))
    wish = Wish(files=[str(path)], format_name="native", name="demo")
    build_reference(settings, wish, clock=clock)


@contextmanager
def _writing(
    path: Path, traffic: Iterator[Exchange], clock: Clock, stop: threading.Event
) -> Iterator[None]:
    """Log each exchange when its time has come, as a gateway would."""
    left = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as log:
            for exchange in traffic:
                line = as_native_line(exchange)
                while clock() < exchange.time:
                    if left.wait(TICK_SECONDS / 10) or stop.is_set():
                        return
                log.write(line)

    writer = threading.Thread(target=write, name="traffic")
    writer.start()
    try:
        yield
    finally:
        left.set()
        writer.join()


def _play(
    watch: Watch, latest: Callable[[], Snapshot], clock: Clock, is_over: Callable[[], bool]
) -> None:
    """Show every window as it is measured, until the traffic has ended."""
    last_end = END - timedelta(minutes=5)
    with _shown(watch, clock) as refresh:
        while not is_over():
            window = watch.see(latest())
            refresh(window)
            if watch.windows and max(watch.windows).end >= last_end:
                return
            threading.Event().wait(TICK_SECONDS)


@contextmanager
def _shown(watch: Watch, clock: Clock) -> Iterator[Callable[[WindowId | None], None]]:
    """A table that lives on a terminal; elsewhere a line per window."""
    if not sys.stdout.isatty():
        yield lambda window: put(_line(window, watch)) if window else None
        return
    with Live(console=Console(), refresh_per_second=4) as live:
        yield lambda _: live.update(_table(watch, clock))


def _line(window: WindowId, watch: Watch) -> str:
    out = [m for m in watch.windows[window] if _is_out(m)]
    named = ", ".join(f"{m.signal.value} {m.excess_ratio:.1f}x" for m in out) or "-"
    n = max((m.n for m in watch.windows[window]), default=0)
    drifted = " (blurred)" if window.end > DRIFT_START else ""
    return f"{window.start:%H:%M}-{window.end:%H:%M}{drifted} n={n} drifting: {named}"


def _table(watch: Watch, clock: Clock) -> Group:
    now = clock()
    phase = "normal traffic" if now < DRIFT_START else f"images blurred since {DRIFT_START:%H:%M}"
    newest = max(watch.windows, default=None)
    title = f"{now:%H:%M} simulated time, {phase}"
    if newest:
        title += f"; window {newest.start:%H:%M}-{newest.end:%H:%M}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("signal", min_width=22)
    for name in ("n", "value", "normal", "threshold", "excess", "noticed after"):
        table.add_column(name, justify="right", min_width=7)
    for m in watch.newest():
        cells = [m.signal.value, str(m.n)]
        numbers = (m.value, m.null_mean, m.threshold)
        cells += ["" if value is None else f"{value:.4g}" for value in numbers]
        cells.append(m.reason or "" if m.excess_ratio is None else f"{m.excess_ratio:.2f}")
        window = watch.noticed.get(m.signal)
        cells.append(f"{(window.end - DRIFT_START).total_seconds() / 60:.0f} min" if window else "")
        table.add_row(*cells, style=STYLES[m.verdict])
    return Group(table)


def _is_out(m: Measurement) -> bool:
    return m.verdict is Verdict.DRIFTING


def _is_over(stop: threading.Event, deadline: float) -> bool:
    return stop.is_set() or monotonic() > deadline
