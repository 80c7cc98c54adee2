"""``/api/v1/measurements``: the values of signals, window by window."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from monitor.records import Measurement, Signal
from monitor.store.engine import Database
from monitor.store.windows import MeasurementKey, measurements_between
from monitor.web.api.parameters import (
    MAX_NAME,
    PROBLEMS,
    Cursor,
    Moment,
    OneShape,
    cursor_of,
    key_of,
)
from monitor.web.api.schema import MeasurementPage
from monitor.web.ingest import error

MAX_ROWS = 5_000
DEFAULT_SPAN = timedelta(days=1)


def as_json(m: Measurement) -> dict[str, object]:
    """The measurement line of DESIGN: API, replay and tables show the same keys."""
    shown: dict[str, object] = {
        "stream": m.stream,
        "slice": m.slice_key,
        "signal": m.signal.value,
        "window_start": rfc3339(m.window.start),
        "window_end": rfc3339(m.window.end),
        "n": m.n,
        "value": m.value,
        "stderr": m.stderr,
        "null_mean": m.null_mean,
        "threshold": m.threshold,
        "excess_ratio": m.excess_ratio,
        "p_value": m.p_value,
        "verdict": m.verdict.value,
        "reference": m.reference,
        "low": m.low,
        "high": m.high,
        "evidence": m.evidence,
        "evidence_threshold": m.evidence_threshold,
        "evidence_since": rfc3339(m.evidence_since) if m.evidence_since else None,
        "persistent": m.persistent,
    }
    if m.reason is not None:
        shown["reason"] = m.reason
    if m.terms:
        shown["terms"] = list(m.terms)
    return shown


def rfc3339(time: datetime) -> str:
    """The time with a Z."""
    return time.isoformat().replace("+00:00", "Z")


def measurement_routes(database: Database) -> APIRouter:
    """Reading measurements, page by page."""
    router = APIRouter(route_class=OneShape, responses=PROBLEMS)

    @router.get("/measurements", response_model=MeasurementPage)
    def measurements(  # noqa: PLR0913, PLR0917 - the conditions of a query
        stream: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
        slice_key: Annotated[str | None, Query(alias="slice", max_length=MAX_NAME)] = None,
        signal: Signal | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: Annotated[int | None, Query(ge=1, le=MAX_ROWS)] = None,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """Measurements of windows that end within `[start, end)`, oldest first.

        By default those of the last day, and 5,000 of them. A page that is not the last has `next`;
        what is measured meanwhile neither repeats nor skips anything of the pages after it.
        """
        most = limit or MAX_ROWS
        try:
            after = None if cursor is None else _after(cursor)
            until = end or datetime.now(UTC)
            since = start or until - DEFAULT_SPAN
        except (ValueError, OverflowError) as exc:
            return error(400, str(exc))
        with database.read() as session:
            found = measurements_between(
                session,
                stream,
                start=since,
                end=until,
                slice_key=slice_key,
                signal=signal,
                limit=most + 1,
                after=after,
            )
        page, is_cut = found[:most], len(found) > most
        return JSONResponse(
            {
                "measurements": [as_json(m) for m in page],
                "is_cut": is_cut,
                "next": _next(page[-1]) if is_cut else None,
            }
        )

    return router


def _next(m: Measurement) -> str:
    key = MeasurementKey.of(m)
    times = (t.isoformat() for t in (key.window_end, key.window_start))
    return cursor_of(*times, key.stream, key.slice_key, key.signal)


def _after(cursor: str) -> MeasurementKey:
    end, start, stream, slice_key, signal = key_of(cursor, str, 5)
    times = [datetime.fromisoformat(t) for t in (end, start)]
    if any(t.tzinfo is None for t in times):
        raise ValueError("the cursor is none of ours")
    return MeasurementKey(times[0], times[1], stream, slice_key, signal)
