"""``simulate``: labelled traffic as native lines."""

import gzip
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from monitor.commands.terminal import progress
from monitor.errors import MonitorError
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate

REPORT_EVERY = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    seed: int
    count: int
    start: datetime
    per_minute: float
    stream: str
    drifts: Sequence[str]
    out: str


def write_traffic(wish: Wish) -> None:
    """Write the exchanges to a file, gzip where its name says so, or to standard output."""
    drifts = [parse_drift(text) for text in wish.drifts]
    mix = Mix(stream=wish.stream, per_minute=wish.per_minute)
    exchanges = simulate(wish.seed, start=wish.start, count=wish.count, drifts=drifts, mix=mix)
    with ExitStack() as stack:
        report = stack.enter_context(progress())
        out = stack.enter_context(_opened(wish.out)) if wish.out != "-" else sys.stdout.buffer
        for written, exchange in enumerate(exchanges, start=1):
            out.write(as_native_line(exchange))
            if written % REPORT_EVERY == 0 or written == wish.count:
                report("exchanges", written, wish.count)


def parse_drift(text: str) -> Drift:
    """``KIND``, ``KIND:SEVERITY`` or ``KIND:SEVERITY:SHARE``, for instance ``blur:4:0.5``.

    Raises:
        MonitorError: with what was expected.
    """
    kind, *numbers = text.split(":")
    try:
        severity, share = (*numbers, "3", "1")[0], (*numbers[1:], "1")[0]
        return Drift(DriftKind(kind), severity=int(severity), share=float(share))
    except ValueError as exc:
        raise MonitorError(
            f"--drift takes KIND[:SEVERITY[:SHARE]], severity 1 to 5, share 0 to 1, and a kind of "
            f"{', '.join(DriftKind)}; got {text!r}"
        ) from exc


def _opened(name: str) -> BinaryIO:
    path = Path(name)
    try:
        # The time of writing would make two equal files differ.
        return (
            gzip.GzipFile(path, "wb", mtime=0)  # type: ignore[return-value] # writes like a file
            if path.suffix == ".gz"
            else path.open("wb")
        )
    except OSError as exc:
        raise MonitorError(f"cannot write {path}: {exc.strerror}") from exc
