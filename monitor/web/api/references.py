"""``/api/v1/references`` with what is in them, and the thumbnails of images."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from monitor.records import ReferenceVersion
from monitor.store.engine import Database
from monitor.store.exemplars import image_thumbnail, reference_page, reference_thumbnail
from monitor.store.references import active_references, find_reference, list_references
from monitor.web.api.parameters import PROBLEMS, Cursor, OneShape, cursor_of, key_of
from monitor.web.api.schema import (
    ReferenceLine,
    ReferencePage,
    ReferenceSampleLine,
    ReferenceSamplePage,
)
from monitor.web.ingest import error

MAX_ROWS = 500
# Content-addressed, but gone once retention or a person has it deleted: an hour, and in no cache
# that several people share.
CACHED = {"Cache-Control": "private, max-age=3600"}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "A small JPEG made by us."}
}
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS)]


def reference_routes(database: Database) -> APIRouter:
    """References, their exchanges, and pictures, which are our own re-encodings."""
    router = APIRouter(route_class=OneShape, responses=PROBLEMS)

    @router.get("/references", response_model=ReferencePage)
    def references(limit: Limit = 100, cursor: Cursor = None) -> JSONResponse:
        """Every version, newest first."""
        try:
            after = None if cursor is None else str(key_of(cursor, str, 1)[0])
        except ValueError as exc:
            return error(400, str(exc))
        with database.read() as session:
            versions = list_references(session)[::-1]
            active = active_references(session)
        digests = [version.digest for version in versions]
        start = digests.index(after) + 1 if after in digests else 0
        if after is not None and start == 0:
            return error(404, "the reference that the cursor names is deleted; start again")
        page = versions[start : start + limit]
        is_cut = len(versions) > start + limit
        shown = ReferencePage(
            references=[_line(version, active) for version in page],
            next=cursor_of(page[-1].digest) if is_cut else None,
        )
        return JSONResponse(shown.model_dump(mode="json"))

    @router.get("/references/{name}", response_model=ReferenceLine)
    def reference(name: Annotated[str, Path(max_length=300)]) -> JSONResponse:
        """One version by `name`, `name@digest` or `digest`, which may be cut short."""
        with database.read() as session:
            version = find_reference(session, name)
            active = active_references(session)
        return JSONResponse(_line(version, active).model_dump(mode="json"))

    @router.get("/references/{digest}/samples", response_model=ReferenceSamplePage)
    def samples(digest: Digest, limit: Limit = 100, cursor: Cursor = None) -> JSONResponse:
        """The exchanges of a version by position, with what is still kept of their content."""
        try:
            after = -1 if cursor is None else int(key_of(cursor, int, 1)[0])
        except ValueError as exc:
            return error(400, str(exc))
        with database.read() as session:
            find_reference(session, digest)
            found = reference_page(session, digest, after=after, limit=limit + 1)
        page = found[:limit]
        shown = ReferenceSamplePage(
            samples=[ReferenceSampleLine.model_validate(sample) for sample in page],
            next=cursor_of(page[-1].position) if len(found) > limit else None,
        )
        return JSONResponse(shown.model_dump(mode="json"))

    @router.get(
        "/references/{digest}/samples/{position}/image", responses=PICTURE, response_class=Response
    )
    def reference_image(
        digest: Digest, position: Annotated[int, Path(ge=0, le=2**31 - 1)]
    ) -> Response:
        """The picture of one exchange of a reference."""
        with database.read() as session:
            return _picture(reference_thumbnail(session, digest, position))

    @router.get("/images/{content_hash}", responses=PICTURE, response_class=Response)
    def image(content_hash: Digest) -> Response:
        """The picture of an image file, by the hash of its content."""
        with database.read() as session:
            return _picture(image_thumbnail(session, content_hash))

    return router


def _picture(jpeg: bytes | None) -> Response:
    if jpeg is None:
        return error(404, "there is no picture, or it is no longer kept")
    return Response(jpeg, media_type="image/jpeg", headers=CACHED)


def _line(version: ReferenceVersion, active: dict[str, str]) -> ReferenceLine:
    return ReferenceLine(
        reference=version.identity,
        name=version.name,
        digest=version.digest,
        created_at=version.created_at,
        encoder_digest=version.encoder_digest,
        active_for=sorted(s for s, digest in active.items() if digest == version.digest),
        facts=dict(version.facts),
    )
