"""Signing in with a token, and out again."""

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from monitor.web.access import Rate
from monitor.web.forms import Fields, our_path
from monitor.web.gate import LOGIN, LOGOUT, Access, set_session
from monitor.web.pages import Pages
from monitor.web.session import Session, visitor

log = structlog.get_logger()
TRIES_PER_SECOND = 3


def login_routes(access: Access, pages: Pages, rate: Rate | None = None) -> APIRouter:
    """``/login`` and ``/logout``."""
    router = APIRouter(include_in_schema=False)
    tries = rate or Rate(TRIES_PER_SECOND)

    def asked(after: str, status: int = 200, problem: str = "") -> HTMLResponse:
        return pages("actions/login.html", "", status=status, after=after, problem=problem)

    @router.get(LOGIN)
    def form(request: Request) -> Response:
        after = our_path(request.query_params.get("next"))
        who = visitor()
        is_enough = who.may_act or "act" not in request.query_params
        if not access.has_keys or (who.is_signed_in and is_enough):
            return RedirectResponse(after, status_code=303)
        return asked(after)

    @router.post(LOGIN)
    def sign_in(request: Request, fields: Fields) -> Response:
        after = our_path(fields.get("next"))
        # Counted before the token is looked at, so that guessing is slow.
        if not tries.allows():
            return asked(after, 429, "Too many tries. Wait a second and try again.")
        found = access.role_of(fields.get("token", ""))
        if found is None:
            log.warning("login_refused")
            return asked(after, 401, "This is none of the tokens of this monitor.")
        role, who, fingerprint = found
        log.info("signed_in", who=who, role=role.value)
        response = RedirectResponse(after, status_code=303)
        set_session(response, request, access, Session(Session.new().id, who, fingerprint, role))
        return response

    @router.post(LOGOUT)
    def sign_out() -> Response:
        response = RedirectResponse(LOGIN, status_code=303)
        response.delete_cookie(access.cookie, httponly=True, samesite="strict")
        return response

    return router
