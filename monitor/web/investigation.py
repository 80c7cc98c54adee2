"""Pages of one window: its case, and single exchanges of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.exceptions import HTTPException

from monitor.records import ALL, Measurement, Signal, WindowSummary
from monitor.service.case import Case, MapPoint, RankedSlice
from monitor.service.investigation import CaseWish, Investigator
from monitor.service.ranking import towards_drift
from monitor.service.verdict import in_words
from monitor.store.acknowledgements import Acknowledgement, acknowledgements
from monitor.store.engine import Database
from monitor.store.evidence import with_newest_evidence
from monitor.store.exemplars import find_exemplar
from monitor.store.history import find_window
from monitor.store.timeline import windows_between
from monitor.store.windows import measurements_of
from monitor.web.pages import PageParts, Pages, parse_time
from monitor.web.rendering import link
from monitor.web.scatter import scatter
from monitor.web.words import QUESTIONS, state_of, wording

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shell:
    """What is known of a window without taking it apart."""

    wish: CaseWish
    summary: WindowSummary
    measurements: tuple[Measurement, ...]  # of the slice
    slice_keys: tuple[str, ...]
    verdict: tuple[str, ...]
    before: datetime | None
    after: datetime | None
    notes: tuple[Acknowledgement, ...]

    def link(self, path: str = "/window", **changes: object) -> str:
        """The same window elsewhere, with some parameters changed."""
        signal = self.wish.signal
        same: dict[str, object] = {
            "stream": self.wish.stream,
            "end": self.summary.window.end,
            "slice": None if self.wish.slice_key == ALL else self.wish.slice_key,
            "signal": signal.value if signal else None,
        }
        return link(path, **{**same, **changes})


def investigation_routes(parts: PageParts, pages: Pages, investigator: Investigator) -> APIRouter:
    """``/window`` and ``/exchange``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/window")
    def window(request: Request) -> HTMLResponse:
        shell = shell_of(parts.database, wish_of(request))
        case = investigator.case(shell.wish) if "whole" in request.query_params else None
        return pages("window.html", "streams", context_of(shell, case), shell=shell)

    @router.get("/window/case")
    def part(request: Request) -> HTMLResponse:
        """What takes seconds, to be put into the page that is shown meanwhile."""
        shell = shell_of(parts.database, wish_of(request))
        case = investigator.case(shell.wish)
        return pages("case.html", "streams", context_of(shell, case), shell=shell)

    @router.get("/exchange")
    def exchange(stream: str = "", id: str = "") -> HTMLResponse:  # noqa: A002 - what links call it
        with parts.database.read() as session:
            found = find_exemplar(session, stream, id)
        if found is None:
            raise HTTPException(404, "no such exchange is among the samples, or not any more")
        return pages("exchange.html", "streams", exchange=found)

    return router


def wish_of(request: Request) -> CaseWish:
    """Which window, slice and signal the parameters name."""
    query = request.query_params
    try:
        signal = Signal(query["signal"]) if query.get("signal") else None
    except ValueError as exc:
        raise HTTPException(400, f"there is no signal {query['signal']!r}") from exc
    return CaseWish(
        stream=query.get("stream") or query.get("name") or "",
        end=parse_time(query.get("end")),
        slice_key=query.get("slice") or ALL,
        signal=signal,
    )


def shell_of(database: Database, wish: CaseWish) -> Shell:
    """What is known of a window without taking it apart."""
    with database.read() as session:
        summary = find_window(session, wish.stream, wish.end)
        if summary is None:
            raise HTTPException(404, "no window of this stream was measured then")
        window = summary.window
        found = with_newest_evidence(session, measurements_of(session, wish.stream, window))
        step = window.end - window.start
        near = windows_between(session, wish.stream, window.start - step, window.end)
        notes = acknowledgements(session, stream=wish.stream, start=window.start, end=window.end)
    keys = {m.slice_key for m in found} | {ALL}
    if wish.slice_key not in keys:
        raise HTTPException(404, f"slice {wish.slice_key!r} was not measured in this window")
    return Shell(
        wish=wish,
        summary=summary,
        measurements=tuple(m for m in found if m.slice_key == wish.slice_key),
        slice_keys=tuple(sorted(keys, key=lambda key: (key != ALL, key))),
        verdict=tuple(in_words(found, wish.slice_key)),
        before=max((w.end for w in near if w.start < window.start), default=None),
        after=min((w.end for w in near if w.start > window.start), default=None),
        notes=tuple(n for n in notes if n.covers(window)),
    )


def context_of(shell: Shell, case: Case | None) -> dict[str, object]:
    """What the template of a case takes besides the shell."""
    measurements = case.measurements if case else shell.measurements
    return {
        "case": case,
        "verdict": case.verdict if case else shell.verdict,
        "look": state_of(measurements),
        "groups": grouped(measurements, lambda m: m.signal),
        "slice_groups": _by_label(case) if case else {},
        "map": _map(case) if case else Markup(""),
        "ids": {e.sample_id: e.exchange_id for e in case.exchanges} if case else {},
        "wording": wording,
    }


def grouped(found: Iterable[T], signal_of: Callable[[T], Signal]) -> list[tuple[str, list[T]]]:
    """Question by question, in the order that they come in."""
    by_question: dict[str, list[T]] = {text: [] for text in QUESTIONS.values()}
    for it in found:
        by_question[QUESTIONS[wording(signal_of(it)).question]].append(it)
    return [(text, its) for text, its in by_question.items() if its]


def _by_label(case: Case) -> Mapping[str, list[RankedSlice]]:
    found: dict[str, list[RankedSlice]] = {}
    for s in case.slices:
        found.setdefault(s.label, []).append(s)
    return found


def _map(case: Case) -> Markup:
    if case.map is None or case.ranked_by is None:
        return Markup("")
    listed = {e.sample_id for e in case.exchanges}

    def address(p: MapPoint) -> str:
        if p.kind == "reference":
            return (
                link("/reference", digest=case.reference_digest, at=p.position) + f"#p{p.position}"
            )
        if p.sample_id in listed:
            return f"#e{p.sample_id}"
        return link("/exchange", stream=case.stream, id=p.exchange_id)

    return scatter(case.map, towards_drift(case.ranked_by), address)
