"""The JSON API: parse, one store call, render."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from monitor.records import Measurement, Signal
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.store.windows import measurements_between
from monitor.web.ingest import error

MAX_ROWS = 5_000
DEFAULT_SPAN = timedelta(days=1)


def as_json(m: Measurement) -> dict[str, object]:
    """The measurement line of DESIGN: API, replay and tables show the same keys."""
    shown: dict[str, object] = {
        "stream": m.stream,
        "slice": m.slice_key,
        "signal": m.signal.value,
        "window_start": _rfc3339(m.window.start),
        "window_end": _rfc3339(m.window.end),
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
        "evidence_since": _rfc3339(m.evidence_since) if m.evidence_since else None,
        "persistent": m.persistent,
    }
    if m.reason is not None:
        shown["reason"] = m.reason
    if m.terms:
        shown["terms"] = list(m.terms)
    return shown


def api_routes(latest: Callable[[], Snapshot], database: Database) -> APIRouter:
    """``/api/v1/streams`` and ``/api/v1/measurements``."""
    router = APIRouter(prefix="/api/v1")

    @router.get("/streams")
    def streams() -> JSONResponse:
        snapshot = latest()
        return JSONResponse(
            {
                "taken_at": snapshot.taken_at.isoformat(),
                "streams": [
                    {
                        "stream": name,
                        "reference": state.reference.identity if state.reference else None,
                        "watermark": state.watermark.isoformat() if state.watermark else None,
                        "measurements": [as_json(m) for m in state.measurements],
                    }
                    for name, state in snapshot.streams.items()
                ],
            }
        )

    @router.get("/measurements")
    def measurements(request: Request) -> JSONResponse:
        query = request.query_params
        try:
            end = _time(query.get("end")) or datetime.now(UTC)
            start = _time(query.get("start")) or end - DEFAULT_SPAN
            signal = Signal(query["signal"]) if "signal" in query else None
            limit = _limit(query.get("limit"))
        except (ValueError, OverflowError) as exc:
            return error(400, str(exc))
        with database.read() as session:
            found = measurements_between(
                session,
                query.get("stream"),
                start=start,
                end=end,
                slice_key=query.get("slice"),
                signal=signal,
                limit=limit + 1,
            )
        return JSONResponse(
            {"measurements": [as_json(m) for m in found[:limit]], "is_cut": len(found) > limit}
        )

    return router


def _rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _time(value: str | None) -> datetime | None:
    if value is None:
        return None
    # A plus sign that was not escaped comes as a space.
    parsed = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", value))
    if parsed.tzinfo is None:
        raise ValueError(f"expected a time with an offset such as Z, got {value!r}")
    return parsed.astimezone(UTC)


def _limit(value: str | None) -> int:
    if value is None:
        return MAX_ROWS
    if not value.isdecimal() or not 1 <= int(value) <= MAX_ROWS:
        raise ValueError(f"expected a limit from 1 to {MAX_ROWS}, got {value!r}")
    return int(value)
