"""``/api/v1/case``, ``compare`` and ``exchange``: why a window is what it is."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from monitor.errors import WindowNotFoundError
from monitor.records import ALL, Signal
from monitor.service.investigation import WEEK, CaseWish, Investigator
from monitor.store.engine import Database
from monitor.store.exemplars import find_exemplar
from monitor.store.history import find_window
from monitor.web.api.case_schema import CaseLine, ComparisonLine, StoredExchange
from monitor.web.api.parameters import (
    MAX_NAME,
    PROBLEMS,
    Moment,
    OneShape,
    SliceKey,
    Stream,
    moment,
)
from monitor.web.api.schema import Shown
from monitor.web.ingest import error

LAST = {"last_week": WEEK, "yesterday": timedelta(days=1)}


def case_routes(database: Database, investigator: Investigator) -> APIRouter:
    """Investigations, and single exchanges with their content."""
    router = APIRouter(route_class=OneShape, responses=PROBLEMS)

    @router.get("/case", response_model=CaseLine)
    def case(
        stream: Stream,
        end: Moment | None = None,
        slice_key: SliceKey = ALL,
        signal: Signal | None = None,
    ) -> JSONResponse:
        """Why a window is what it is; `end` is its end or a time within, by default the newest.

        Takes seconds the first time. `signal` ranks slices and exchanges by another signal than
        the leading one.
        """
        return _shown(CaseLine.of(investigator.case(CaseWish(stream, end, slice_key, signal))))

    @router.get("/compare", response_model=ComparisonLine)
    def compare(
        stream: Stream,
        end: Moment | None = None,
        base: Annotated[
            str,
            Query(
                alias="with",
                max_length=40,
                description="`last_week`, `yesterday`, or the end of another window.",
            ),
        ] = "last_week",
        slice_key: SliceKey = ALL,
    ) -> JSONResponse:
        """A window beside another one of its stream: a description, without a verdict."""
        wish = CaseWish(stream, end, slice_key)
        if base in LAST:
            return _shown(ComparisonLine.of(investigator.compare(wish, back=LAST[base])))
        try:
            at = moment(base)
        except ValueError as exc:
            return error(400, f"with: {exc}")
        with database.read() as session:
            other = find_window(session, stream, at)
        if other is None:
            raise WindowNotFoundError(f"no window of {stream!r} is at {base}")
        return _shown(ComparisonLine.of(investigator.compare(wish, other.window)))

    @router.get("/exchange", response_model=StoredExchange)
    def exchange(
        stream: Stream, exchange_id: Annotated[str, Query(alias="id", max_length=MAX_NAME)]
    ) -> JSONResponse:
        """A sampled exchange with what is still kept of its content."""
        with database.read() as session:
            found = find_exemplar(session, stream, exchange_id)
        if found is None:
            return error(404, "no exchange of this stream and id is among the samples")
        return _shown(StoredExchange.model_validate(found))

    return router


def _shown(answer: Shown) -> JSONResponse:
    return JSONResponse(answer.model_dump(mode="json", by_alias=True))
