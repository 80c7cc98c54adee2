"""``simulate``: labelled traffic as native lines, written at once or as it would come."""

import gzip
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from monitor.commands.terminal import leave_quietly, progress, say
from monitor.errors import MonitorError
from monitor.records import Exchange
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate

REPORT_EVERY = 100
POST_SECONDS = 30
AGAIN_SECONDS = 1.0
Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for. Without ``start`` each comes when its time has come."""

    seed: int
    count: int
    start: datetime | None
    per_minute: float
    stream: str
    drifts: Sequence[str]
    out: str
    token: bytes | None = None
    drift_from: datetime | None = None
    drift_only: Sequence[str] = ()  # labels, each as label=value


def write_traffic(wish: Wish, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Write the exchanges to a file, to standard output, or post them to a daemon."""
    if wish.count < 1 or not wish.per_minute > 0:
        raise MonitorError("--count takes 1 or more, --per-minute more than 0")
    only = dict(_label(text) for text in wish.drift_only)
    drifts = [
        replace(parse_drift(text), start=wish.drift_from, labels=only) for text in wish.drifts
    ]
    mix = Mix(stream=wish.stream, per_minute=wish.per_minute)
    start = wish.start or datetime.now(UTC)
    exchanges = simulate(wish.seed, start=start, count=wish.count, drifts=drifts, mix=mix)
    try:
        _write_all(wish, exchanges, sleep)
    except BrokenPipeError:
        leave_quietly()


def _write_all(wish: Wish, exchanges: Iterable[Exchange], sleep: Callable[[float], None]) -> None:
    with ExitStack() as stack:
        report = stack.enter_context(progress())
        write = stack.enter_context(_writing(wish, sleep))
        for written, exchange in enumerate(exchanges, start=1):
            if wish.start is None:
                sleep(max(0.0, (exchange.time - datetime.now(UTC)).total_seconds()))
            write(as_native_line(exchange))
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


def _label(text: str) -> tuple[str, str]:
    label, has_value, value = text.partition("=")
    if not (label and has_value):
        raise MonitorError(
            f"--drift-only takes LABEL=VALUE, for instance tenant=acme; got {text!r}"
        )
    return label, value


def is_address(out: str) -> bool:
    """Whether exchanges are posted there."""
    return out.startswith(("http://", "https://"))


@contextmanager
def _writing(wish: Wish, sleep: Callable[[float], None]) -> Iterator[Write]:
    if is_address(wish.out):
        yield lambda line: _post(wish, line, sleep)
        return
    with ExitStack() as stack:
        is_standard = wish.out == "-"
        out = sys.stdout.buffer if is_standard else stack.enter_context(_opened(wish.out))

        def write(line: bytes) -> None:
            out.write(line)
            if wish.start is None:
                out.flush()  # whoever follows it wants it now

        yield write
        out.flush()


def _post(wish: Wish, line: bytes, sleep: Callable[[float], None]) -> None:
    """Post one exchange, again and again while the daemon is away or busy."""
    has_told = False
    while True:
        try:
            status, answer = _answer(wish, line)
        except (OSError, HTTPException) as exc:
            status, answer = 503, str(exc)
        if status < 300:  # noqa: PLR2004 - HTTP
            return
        if status not in {429, 503}:
            raise MonitorError(f"{wish.out} answered {status}: {answer}")
        if not has_told:
            say(f"{wish.out} does not take it yet ({answer.strip()}); asking again until it does")
            has_told = True
        sleep(AGAIN_SECONDS)


def _answer(wish: Wish, line: bytes) -> tuple[int, str]:
    address = urlsplit(wish.out)
    kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
    connection = kind(address.netloc, timeout=POST_SECONDS)
    headers = {"Content-Type": "application/json"}
    if wish.token:
        headers["Authorization"] = f"Bearer {wish.token.decode()}"
    try:
        connection.request("POST", address.path, line, headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


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
