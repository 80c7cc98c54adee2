"""What a person sees in a terminal. Data goes to standard output, words to standard error."""

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import groupby
from time import monotonic
from typing import NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from monitor.records import Measurement, Verdict

Report = Callable[[str, int, int], None]
STYLES = {Verdict.DRIFTING: "bold red", Verdict.INSUFFICIENT: "dim", Verdict.IN_CONTROL: ""}
PLAIN_INTERVAL_SECONDS = 10.0
SHOWN = 5  # names of streams that a line offers


def say(text: str) -> None:
    """One line of words, for a person."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal


def put(line: str) -> None:
    """One line of data, for a person or a pipe. A reader who has had enough ends the program."""
    try:
        print(line, flush=True)  # noqa: T201 - this is the terminal
    except BrokenPipeError:
        leave_quietly()


def leave_quietly() -> NoReturn:
    """End well: whoever reads standard output has had enough."""
    # click would exit with 1, which says that drift was found.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def put_json(value: object) -> None:
    """One JSON document on a line."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    put(json.dumps(value, ensure_ascii=not is_unicode, allow_nan=False))


def printable(text: str) -> str:
    """Without control characters: names come from strangers and must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def in_one_line(exc: SQLAlchemyError) -> str:
    """What the database said, without the statement."""
    return "database: " + str(exc.__cause__ or exc).partition("\n")[0]


def no_traffic_of(stream: str, known: Sequence[str], where: str) -> str:
    """That a stream has none somewhere, and which one may have been meant."""
    alike = get_close_matches(stream, known, n=1) or known[:SHOWN]
    instead = " or ".join(repr(name) for name in alike)
    return f"{where} no traffic of stream {stream!r}" + (f"; did you mean {instead}?" * bool(alike))


def this_user() -> str:
    """Who typed a command, for the audit."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):  # a container may have a user without a name
        return f"user {os.getuid()} (command line)"


@contextmanager
def progress() -> Iterator[Report]:
    """Bars on a terminal; elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _plain_progress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield report


def _plain_progress() -> Report:
    last: dict[str, float] = {}

    def report(stage: str, done: int, total: int) -> None:
        is_due = monotonic() - last.get(stage, -PLAIN_INTERVAL_SECONDS) >= PLAIN_INTERVAL_SECONDS
        if is_due or (done == total and total > 0):
            last[stage] = monotonic()
            say(f"{stage}: {done} of {total}" if total else f"{stage}: {done}")

    return report


def put_measurements(measurements: Iterable[Measurement]) -> None:
    """By window on a terminal, which is narrow; in a pipe each line says all, to be searched."""
    if sys.stdout.isatty():
        for (stream, window), found in groupby(measurements, lambda m: (m.stream, m.window)):
            put(f"{printable(stream)}  {window.start:%Y-%m-%d %H:%M} to {window.end:%H:%M} UTC")
            put_table(_measurement_table(found, Table(box=None, padding=(0, 1, 0, 0))))
            put("")
        return
    table = _measurement_table(measurements, Table("stream", "window"))
    if table.row_count:
        put_table(table)


def _measurement_table(measurements: Iterable[Measurement], table: Table) -> Table:
    """A row for each; which window it is of stands in the columns that the table has already."""
    says_window = bool(table.columns)
    table.add_column("signal", min_width=20)
    for name in ("n", "value", "normal", "threshold", "excess"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for m in measurements:
        window = f"{m.window.start:%m-%d %H:%M}-{m.window.end:%H:%M}"
        numbers = [_number(m.value), _number(m.null_mean), _number(m.threshold)]
        ratio = "" if m.excess_ratio is None else f"{m.excess_ratio:.2f}"
        said = m.verdict.value + (f" ({m.reason})" if m.reason else "")
        cells = [m.stream, window] if says_window else []
        cells += [m.signal.value, str(m.n), *numbers, ratio, said]
        table.add_row(*(Text(printable(cell)) for cell in cells), style=STYLES[m.verdict])
    return table


def put_table(table: Table) -> None:
    """A table on standard output, unbroken where it goes into a pipe."""
    width = None if sys.stdout.isatty() else 160
    console = Console(width=width)
    with console.capture() as rendered:
        console.print(table)
    put(rendered.get().rstrip("\n"))


def simple_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of plain strings."""
    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold")  # half a name cannot be copied
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
