"""A case in a terminal: words first, then tables that fit a narrow one."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monitor.commands.terminal import STYLES, printable, put
from monitor.records import ALL, Measurement, Modality, Verdict
from monitor.service.case import Case, Cluster, RankedExchange, RankedSlice, Shift
from monitor.store.acknowledgements import Acknowledgement

PIPE_WIDTH = 100
SHOWN_SLICES, SHOWN_VALUES, SHOWN_SHIFTS = 8, 4, 6
LEAST_SHIFT = 0.05  # total variation distance; smaller ones are left to --json
TEXT_CHARS = 300


def put_case(case: Case, said: Sequence[Acknowledgement] = ()) -> None:
    """The case, with what people said about its window, on standard output."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False)
    with console.capture() as rendered:
        for part in _parts(case, said):
            console.print(part)
    put("\n".join(line.rstrip() for line in rendered.get().rstrip("\n").split("\n")))


def _parts(case: Case, said: Sequence[Acknowledgement]) -> Iterable[RenderableType]:
    window, summary = case.window, case.summary
    is_slice = case.slice_key != ALL
    where = f"{case.stream}, {case.slice_key}" if is_slice else case.stream
    yield _text(where, "bold")
    of_teacher = f", {summary.n_teacher_targets} by the teacher" * bool(summary.n_teacher_targets)
    yield _text(
        f"{window.start:%Y-%m-%d %H:%M} to {window.end:%H:%M} UTC, {'all traffic: ' * is_slice}"
        f"{summary.n} of {summary.seen} exchanges, {summary.n_targets} with targets{of_teacher}, "
        f"against {case.reference}",
        "dim",
    )
    yield ""
    for note in said:
        yield _text(_acknowledged(note), "dim")
    if said:
        yield ""
    for sentence in case.verdict:
        yield _text(sentence)
    for remark in case.notes:
        yield _text(f"Note: {remark}.", "dim")
    yield from _section("Signals", _signals(case.measurements))
    if case.slices:
        yield from _section(f"Slices, by their share of {case.ranked_by}", _slices(case.slices))
    if case.clusters:
        yield from _section("What is new", _clusters(case.clusters))
    moved = [s for s in case.shifts if s.distance is not None and s.distance >= LEAST_SHIFT]
    if moved:
        yield from _section("What the exchanges are like", _shifts(moved[:SHOWN_SHIFTS]))
    if case.exchanges:
        yield from _section(
            f"Exchanges, by their share of {case.ranked_by}", _exchanges(case.exchanges, case)
        )


def _acknowledged(note: Acknowledgement) -> str:
    scope = [note.signal.value] if note.signal else []
    scope += [note.slice_key] if note.slice_key else []
    what = " of ".join(scope) or "this"
    when = f"{note.created_at:%Y-%m-%d %H:%M} UTC"
    return f"{note.author} acknowledged {what}, {when}: {' '.join(note.note.split())}"


def _section(title: str, body: RenderableType) -> Iterable[RenderableType]:
    yield ""
    yield _text(title, "bold")
    yield body


def _signals(measurements: Sequence[Measurement]) -> Table:
    table = _table("signal", "n", "value", "normal", "x threshold", "")
    for m in measurements:
        said = m.verdict.value if m.verdict is not Verdict.INSUFFICIENT else f"({m.reason})"
        if m.persistent and m.verdict is Verdict.IN_CONTROL:
            said = "slowly drifting"
        ratio = "" if m.excess_ratio is None else f"{m.excess_ratio:.2f}"
        cells = [m.signal.value, str(m.n), _number(m.value), _number(m.null_mean), ratio, said]
        table.add_row(*map(_text, cells), style=STYLES[m.verdict])
    return table


def _slices(slices: Sequence[RankedSlice]) -> Table:
    table = _table("slice", "n", "of exchanges", "share", "of the excess")
    for s in slices[:SHOWN_SLICES]:
        name = f"{s.label}={s.value}" if s.value is not None else f"without {s.label}"
        part = "" if s.part is None else f"{100 * s.part:.0f} %"
        portion = f"{100 * s.portion:.0f} %"
        table.add_row(*map(_text, (name, str(s.n), portion, _number(s.share), part)))
    return table


def _clusters(clusters: Sequence[Cluster]) -> Table:
    table = _table("n", "of the drift", "words")
    for c in clusters:
        words = ", ".join(c.words) or "-"
        table.add_row(*map(_text, (str(c.n), f"{100 * c.part:.0f} %", words)))
    return table


def _shifts(shifts: Sequence[Shift]) -> Table:
    table = _table("label", "value", "normally", "here")
    for shift in shifts:
        rows = sorted(shift.rows, key=lambda r: -abs(r.share - (r.share_base or 0.0)))
        for i, row in enumerate(rows[:SHOWN_VALUES]):
            before = "" if row.share_base is None else f"{100 * row.share_base:.0f} %"
            name = shift.label if i == 0 else ""
            table.add_row(*map(_text, (name, row.value, before, f"{100 * row.share:.0f} %")))
    return table


def _exchanges(exchanges: Sequence[RankedExchange], case: Case) -> Group:
    shown: list[RenderableType] = []
    for rank, e in enumerate(exchanges, start=1):
        labels = " ".join(f"{k}={v}" for k, v in sorted(e.labels.items()))
        novel = f", new kind of {' and '.join(_NEW[m] for m in e.novel)}" if e.novel else ""
        shown.append(_text(f"{rank}. {e.exchange_id}  {e.time:%H:%M:%S}  {e.share:.2g}{novel}"))
        lines = [labels, *_content("asked", e.text), *_content("answered", e.response)]
        whose = "the teacher's" if e.target_source == "teacher" else "expected"
        lines += _content(whose, e.target)
        images = ", ".join(image.state.value for image in e.images)
        lines += [f"images: {images}"] if images else []
        for modality, near in e.neighbours_by(case.modality).items():
            by = f"by {_NEW[modality]}, {near[0].distance:.2f}"
            lines += _content(f"nearest of the reference ({by})", near[0].text)
        shown += [Padding(_text(line, "dim"), (0, 0, 0, 3)) for line in lines if line]
    return Group(*shown)


_NEW = {Modality.VISUAL: "image", Modality.TEXTUAL: "text", Modality.RESPONSE: "response"}


def _content(title: str, text: str | None) -> list[str]:
    if text is None:
        return []
    plain = " ".join(text.split())
    return [f"{title}: {plain[:TEXT_CHARS]}{' …' if len(plain) > TEXT_CHARS else ''}"]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _text(text: str, style: str = "") -> Text:
    # A line feed in a name must not look like another line of ours.
    return Text(printable(text).replace("\n", " "), style=style, overflow="fold")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
