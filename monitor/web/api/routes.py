"""All resources of the API below ``/api/v1``."""

from collections.abc import Callable

from fastapi import APIRouter

from monitor.service.investigation import Investigator
from monitor.service.snapshot import Snapshot
from monitor.store.engine import Database
from monitor.web.api.cases import case_routes
from monitor.web.api.measurements import measurement_routes
from monitor.web.api.references import reference_routes
from monitor.web.api.streams import stream_routes


def api_routes(
    latest: Callable[[], Snapshot], database: Database, investigator: Investigator
) -> APIRouter:
    """Streams, windows, measurements, cases, exchanges, references and pictures."""
    router = APIRouter(prefix="/api/v1", tags=["api"])
    router.include_router(stream_routes(latest, database))
    router.include_router(measurement_routes(database))
    router.include_router(case_routes(database, investigator))
    router.include_router(reference_routes(database))
    return router
