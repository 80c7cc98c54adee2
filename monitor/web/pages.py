"""The pages that people open: parse, read, render."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from monitor.records import ALL, EPOCH, WindowId
from monitor.service.snapshot import Snapshot, StreamState
from monitor.service.verdict import in_words
from monitor.store.engine import Database
from monitor.store.timeline import TimelinePoint
from monitor.web.assets import Assets
from monitor.web.health import health_of
from monitor.web.overview import SORTS, Wish, overview_rows, standing_counts, stream_standing
from monitor.web.rendering import link, make_templates
from monitor.web.timeline import MAX_LISTED, SPANS, Line, Timeline, as_columns, lane, read_timeline
from monitor.web.trends import Trends
from monitor.web.words import IN_ORDER, QUESTIONS, state_of, wording

DEFAULT_SPAN = "24h"
LAST = datetime(9000, 1, 1, tzinfo=UTC)
_NO_STREAM = "no stream of this name has been seen"


@dataclass(frozen=True, slots=True)
class PageParts:
    """What pages are made of."""

    latest: Callable[[], Snapshot]
    database: Database
    registry: CollectorRegistry
    not_ready: Callable[[], Sequence[str]]
    slide: timedelta


class Pages:
    """Renders templates with what every page shows."""

    def __init__(self, parts: PageParts, assets: Assets) -> None:
        self._parts = parts
        self._templates = make_templates(assets)

    def __call__(
        self,
        name: str,
        room: str,
        shared: Mapping[str, object] | None = None,
        /,
        *,
        status: int = 200,
        **context: object,
    ) -> HTMLResponse:
        page = self._templates.get_template(name).render(
            shared or {},
            room=room,
            now=self._parts.latest().taken_at,
            trouble=list(self._parts.not_ready()),
            **context,
        )
        # What strangers wrote is not for caches between.
        return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store"})

    def error(self, status: int, message: str) -> HTMLResponse:
        """What went wrong, for people."""
        return self("error.html", "", status=status, code=status, message=message)


def page_routes(parts: PageParts, pages: Pages) -> APIRouter:
    """Overview and streams."""
    router = APIRouter(include_in_schema=False)
    trends = Trends(parts.database)

    @router.get("/")
    def overview(q: str = "", state: str = "", sort: str = "state") -> HTMLResponse:
        snapshot = parts.latest()
        of_all = overview_rows(snapshot, trends.of(snapshot), parts.slide)
        wish = Wish(sort if sort in SORTS else "state", q, state)
        return pages(
            "overview.html",
            "streams",
            rows=wish.of(of_all),
            total=len(of_all),
            counts=standing_counts(of_all),
            wish=wish,
            sorts=SORTS,
            health=health_of(snapshot, parts.registry, parts.not_ready()),
        )

    @router.get("/stream")
    def stream(request: Request) -> HTMLResponse:
        asked = _Asked.of(request, parts.latest())
        with parts.database.read() as session:
            timeline = read_timeline(session, asked.stream, asked.slice_key, *asked.times)
        state = asked.state
        standing, look, why = stream_standing(state, parts.latest().taken_at, parts.slide)
        measured = [m for m in state.measurements if m.slice_key == asked.slice_key]
        return pages(
            "stream.html",
            "streams",
            asked=asked,
            state=state,
            standing=standing,
            look=look,
            why=why,
            verdict=in_words(state.measurements, asked.slice_key) if measured else [],
            of_slice=state_of(measured),
            timeline=timeline,
            lane=lane(timeline),
            groups=_by_question(timeline),
            windows=list(reversed(_worst_of_windows(timeline)))[:MAX_LISTED],
            latest={m.signal: m for m in measured},
            spans=SPANS,
            most=MAX_LISTED,
            earlier=link(request.url.path, **asked.query(end=timeline.start)),
            later=_later(request, asked, timeline, parts.latest()),
        )

    @router.get("/stream/points")
    def columns(request: Request) -> JSONResponse:
        asked = _Asked.of(request, parts.latest())
        with parts.database.read() as session:
            timeline = read_timeline(session, asked.stream, asked.slice_key, *asked.times)
        return JSONResponse(as_columns(timeline))

    return router


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which part of which stream a request is about."""

    stream: str
    slice_key: str
    span: str
    end: datetime
    is_newest: bool
    state: StreamState

    @classmethod
    def of(cls, request: Request, snapshot: Snapshot) -> "_Asked":
        query = request.query_params
        name = query.get("name") or query.get("stream") or ""
        state = snapshot.streams.get(name)
        if state is None:
            raise HTTPException(404, _NO_STREAM)
        span = query.get("span", DEFAULT_SPAN)
        end = parse_time(query.get("end"))
        return cls(
            stream=name,
            slice_key=query.get("slice") or ALL,
            span=span if span in SPANS else DEFAULT_SPAN,
            end=end or _newest(state, snapshot),
            is_newest=end is None,
            state=state,
        )

    @property
    def times(self) -> tuple[datetime, datetime]:
        return self.end - SPANS[self.span], self.end

    @property
    def slice_keys(self) -> list[str]:
        """What can be chosen: the slices of the newest window, and the one that is shown."""
        keys = {m.slice_key for m in self.state.measurements} | {ALL, self.slice_key}
        return sorted(keys, key=lambda key: (key != ALL, key))

    def query(self, **changes: object) -> dict[str, object]:
        """Parameters of the same page with some changed."""
        same = {
            "name": self.stream,
            "slice": None if self.slice_key == ALL else self.slice_key,
            "span": None if self.span == DEFAULT_SPAN else self.span,
            "end": None if self.is_newest else self.end,
        }
        return {**same, **changes}


def parse_time(value: str | None) -> datetime | None:
    """Unix seconds or RFC 3339; what is neither is refused."""
    if not value:
        return None
    try:
        if value.replace(".", "", 1).isdecimal():
            time = datetime.fromtimestamp(float(value), UTC)
        else:
            # A plus sign that was not escaped comes as a space.
            time = datetime.fromisoformat(value.replace(" ", "+"))
            time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise HTTPException(400, f"expected Unix seconds or RFC 3339, got {value!r}") from exc
    if not EPOCH <= time < LAST:
        raise HTTPException(400, f"{value!r} is too far away")
    return time


def _newest(state: StreamState, snapshot: Snapshot) -> datetime:
    return state.summary.window.end if state.summary else snapshot.taken_at


def _worst_of_windows(timeline: Timeline) -> list[tuple[WindowId, TimelinePoint | None]]:
    worst: dict[WindowId, TimelinePoint] = {}
    for line in timeline.lines:
        for p in line.points:
            known = worst.get(p.window)
            if p.excess_ratio is not None and (
                known is None or p.excess_ratio > (known.excess_ratio or 0)
            ):
                worst[p.window] = p
    return [(window, worst.get(window)) for window in timeline.windows]


def _by_question(timeline: Timeline) -> list[tuple[str, list[Line]]]:
    lines = sorted(timeline.lines, key=lambda line: IN_ORDER.index(line.signal))
    return [
        (QUESTIONS[q], found)
        for q in QUESTIONS
        if (found := [line for line in lines if wording(line.signal).question is q])
    ]


def _later(request: Request, asked: _Asked, timeline: Timeline, snapshot: Snapshot) -> str | None:
    if asked.is_newest:
        return None
    end = timeline.end + SPANS[asked.span]
    is_last = end >= _newest(asked.state, snapshot)
    return link(request.url.path, **asked.query(end=None if is_last else end))
