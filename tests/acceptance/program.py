"""The program as a process: started, waited for, ended, and quoted when something is wrong."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

COMMAND = (sys.executable, "-m", "monitor")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PATIENCE_SECONDS = 400.0  # for what takes seconds; how long it takes is not what is tested
POLL_SECONDS = 0.02
TAIL_CHARS = 3_000
DATABASE = "mllm-monitor.db"

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Result:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    def json_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(slots=True)
class Process:
    """A command that runs; what it writes goes to files."""

    popen: subprocess.Popen[bytes]
    out: Path
    err: Path

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running; it said:\n{self.tail()}") from None

    def result(self) -> Result:
        """Wait for the end by itself."""
        return Result(self.wait(), self.out.read_text(), self.err.read_text())

    def tail(self) -> str:
        return self.err.read_text(errors="replace")[-TAIL_CHARS:]

    def events(self) -> list[dict[str, Any]]:
        """What it logged so far, whole lines only."""
        whole, _, _ = self.err.read_text(errors="replace").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def until(self, what: str, look: Callable[[], Found | None]) -> Found:
        """Look again and again while it runs; what was found as soon as it is anything."""
        stop = time.monotonic() + PATIENCE_SECONDS
        while not (found := look()):
            if not self.is_running():
                raise AssertionError(
                    f"ended with {self.popen.returncode} before {what}; it said:\n{self.tail()}"
                )
            if time.monotonic() > stop:
                raise AssertionError(f"no {what}; it said:\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        return found

    def event(self, name: str) -> dict[str, Any]:
        """The first log line of that name, waited for."""
        return self.until(
            f"log line {name}", lambda: next((e for e in self.events() if e["event"] == name), None)
        )

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.event("http_listening")["address"])


@dataclass(slots=True)
class Program:
    """The program in a folder of its own. Settings are written as they are given."""

    folder: Path
    settings: Mapping[str, object] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = COMMAND
    started: int = 0

    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Process]:
        """A process that is gone when this is left."""
        process = self._start(arguments)
        try:
            yield process
        finally:
            process.kill()

    def run(self, *arguments: str) -> Result:
        """A command from its start to its end, however it ends."""
        with self.running(*arguments) as process:
            return process.result()

    def done(self, *arguments: str) -> Result:
        """A command that must end with 0."""
        result = self.run(*arguments)
        assert result.status == 0, f"{arguments}: {result.status}\n{result.stderr[-TAIL_CHARS:]}"
        return result

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of its SQLite file; none while the table is not there yet."""
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as exc:
            if "unable to open" in str(exc) or "no such table" in str(exc):
                return []
            raise

    def _start(self, arguments: Sequence[str]) -> Process:
        self.started += 1
        out, err = (self.folder / f"std{name}.{self.started}" for name in ("out", "err"))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLLM_MONITOR_")}
        options: list[str] = []
        if self.settings is not None:
            path = self.folder / "monitor.yaml"
            path.write_text(json.dumps(self.settings))  # JSON is YAML
            options = ["--config", str(path)]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            popen = subprocess.Popen(
                [*self.command, *options, *arguments],
                cwd=self.folder,
                env={**inherited, **ONE_THREAD, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        return Process(popen, out, err)
