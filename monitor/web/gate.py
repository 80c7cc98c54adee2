"""Who may read and who may act, decided before a page is made. What is not open is closed."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from secrets import token_bytes
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.web.access import Keys
from monitor.web.bodies import RefusedError, read_body
from monitor.web.origin import is_embedding, is_foreign, is_host, knows
from monitor.web.session import FIELD, SECRET_BYTES, Role, Session, Sessions, Visitor, meet

SAFE = {"GET", "HEAD", "OPTIONS"}
LOGIN, LOGOUT = "/login", "/logout"
MAX_FORM_BYTES = 2**16
MAX_FIELDS = 50
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
# What has tokens of its own, and what shows nothing that anybody wrote.
_OPEN = re.compile(r"/(healthz|readyz|static/.*|v1/.*)", re.DOTALL)
Refuse = Callable[[Request, int, str], Response]


def _sessions() -> Sessions:
    return Sessions(token_bytes(SECRET_BYTES), timedelta(hours=12))


@dataclass(frozen=True, slots=True)
class Access:
    """The rules. Without any keys an open monitor lets everybody read and act, another nobody.

    ``is_open``: only this machine reaches it, or the operator wants it open. ``hosts`` are the
    names that it is known by, besides addresses in numbers.
    """

    sessions: Sessions = field(default_factory=_sessions)
    read: Keys | None = None
    act: Keys | None = None
    is_open: bool = True
    is_local: bool = True
    hosts: frozenset[str] = frozenset()
    external: str = ""  # host and port under which people reach it
    is_https: bool = False
    cookie: str = "mllm_monitor"
    guards_metrics: bool = False

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to sign in with."""
        return self.read is not None or self.act is not None

    def role_of(self, token: str) -> tuple[Role, str, str] | None:
        """What a token is for, whose it is, and its fingerprint."""
        for keys, role in ((self.act, Role.ACT), (self.read, Role.READ)):
            key = keys.find(token) if keys else None
            if key is not None:
                return role, key.name, key.fingerprint
        return None

    def still_holds(self, session: Session) -> bool:
        """Whether the token that a session was begun with has not been taken back."""
        keys = {Role.ACT: self.act, Role.READ: self.read}
        found = keys[session.role] if session.role else None
        return found is not None and found.holds(session.fingerprint)

    def stranger(self) -> Visitor:
        """Somebody without a token."""
        return Visitor(
            may_read=self.is_open and self.read is None,
            may_act=self.is_open and not self.has_keys,
            can_sign_in=self.has_keys,
        )


@dataclass(slots=True)
class _Asking:
    """One request: who sends it, by which session, and whether by a token of its own."""

    visitor: Visitor
    session: Session
    is_new: bool
    by_token: bool = False


class Gate:
    """Lets through what may be done, and answers the rest itself.

    Whatever changes something takes the role for it; from a browser also a form of ours, or JSON,
    which no other site can send, and no sign of another site.
    """

    def __init__(self, app: ASGIApp, access: Access, refuse: Refuse) -> None:
        self._app, self._access, self._refuse = app, access, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        asking = self._who(request)
        meet(asking.visitor)
        send = self._remembering(request, asking, send)
        try:
            body = await self._let_in(request, asking)
        except RefusedError as exc:
            response = await run_in_threadpool(self._refuse, request, exc.status, str(exc))
            response.headers.update(exc.headers or {})
            await response(scope, receive, send)
            return
        except ClientDisconnect:
            return
        await self._app(scope, receive if body is None else _replayed(body, receive), send)

    def _is_open(self, path: str) -> bool:
        if path == "/metrics":
            return not self._access.guards_metrics
        return _OPEN.fullmatch(path) is not None

    def _who(self, request: Request) -> _Asking:
        access = self._access
        known = access.sessions.read(request.cookies.get(access.cookie, ""))
        session = known or Session.new()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if access.has_keys and scheme.lower() == "bearer":
            visitor, found = Visitor(may_read=False, may_act=False), access.role_of(token)
            if found is not None:
                visitor = _with_role(found[0], found[1])
            return _Asking(visitor, session, is_new=False, by_token=True)
        if session.role is not None and access.still_holds(session):
            visitor = _with_role(session.role, session.who)
            visitor.is_signed_in = True
        else:
            visitor = access.stranger()
        visitor.form_token = access.sessions.form_token(session)
        return _Asking(visitor, session, is_new=known is None)

    async def _let_in(self, request: Request, asking: _Asking) -> bytes | None:
        """The body of what changes something, read and found to be from us."""
        visitor, is_safe = asking.visitor, request.method in SAFE
        if not is_host(request.headers.get("host", "")):
            raise RefusedError(400, "the header Host is no address")
        if request.url.path not in {LOGIN, LOGOUT}:
            self._require_role(visitor, is_safe=is_safe, by_token=asking.by_token)
            if not (asking.by_token or visitor.is_signed_in):
                self._require_host(request, is_safe=is_safe)
        if is_safe:
            # It could not read the answer, but a case is work of seconds, and pictures are seen.
            if not asking.by_token and is_embedding(request):
                raise RefusedError(403, "another site asked for this")
            return None
        if not asking.by_token and is_foreign(request, self._access.external):
            raise RefusedError(403, "another site asked for this")
        body = await read_body(request, MAX_FORM_BYTES)
        if not asking.by_token:
            self._require_form(request, asking.session, body)
        return body

    def _require_role(self, visitor: Visitor, *, is_safe: bool, by_token: bool) -> None:
        if visitor.may_read if is_safe else visitor.may_act:
            return
        bearer = {"WWW-Authenticate": "Bearer"}
        if not self._access.has_keys:
            raise RefusedError(
                403,
                "this monitor can be reached from other machines, and its pages show what users "
                "wrote: set http.read_tokens_file and http.act_tokens_file, or "
                "http.allow_unauthenticated: true if anybody there may read and act",
            )
        if not is_safe and self._access.act is None:
            raise RefusedError(403, "nobody may act here: set http.act_tokens_file")
        if visitor.is_signed_in or (by_token and visitor.may_read):
            raise RefusedError(403, "this takes a token for acting")
        raise RefusedError(
            401, "expected a token: sign in, or `Authorization: Bearer TOKEN`", bearer
        )

    def _require_host(self, request: Request, *, is_safe: bool) -> None:
        host = request.headers.get("host", "")
        if (is_safe and not self._access.is_local) or knows(host, self._access.hosts):
            return
        raise RefusedError(
            403,
            f"{host[:100]!r} is not an address of this monitor: set http.external_url to the one "
            "that people use",
        )

    def _require_form(self, request: Request, session: Session, body: bytes) -> None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _JSON:
            return
        if kind != _FORM:
            raise RefusedError(415, f"expected a form or {_JSON}")
        token = form_fields(body).get(FIELD, "")
        if not self._access.sessions.is_form_of(session, token):
            raise RefusedError(403, "the form is too old or not from here: load the page again")

    def _remembering(self, request: Request, asking: _Asking, send: Send) -> Send:
        """Gives the browser its session, once a page has a form that belongs to it."""

        async def send_with_cookie(message: Message) -> None:
            is_needed = asking.is_new and asking.visitor.used
            if message["type"] == "http.response.start" and is_needed:
                response = Response()
                set_session(response, request, self._access, asking.session)
                cookies = [h for h in response.raw_headers if h[0] == b"set-cookie"]
                message["headers"] = [*message["headers"], *cookies]
            await send(message)

        return send_with_cookie


def set_session(response: Response, request: Request, access: Access, session: Session) -> None:
    """Give a browser a session, which scripts and other sites cannot use."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    response.set_cookie(
        access.cookie,
        access.sessions.cookie(session),
        max_age=int(access.sessions.length.total_seconds()) if session.role else None,
        secure=access.is_https or "https" in {request.url.scheme, forwarded},
        httponly=True,
        samesite="strict",
    )


def form_fields(body: bytes) -> dict[str, str]:
    """The fields of a form; of one that is there twice the first.

    Raises:
        RefusedError: if it is none.
    """
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=MAX_FIELDS,
        )
    except (ValueError, UnicodeDecodeError) as exc:
        raise RefusedError(400, "the body is not a form") from exc
    return dict(reversed(pairs))


def _with_role(role: Role, who: str) -> Visitor:
    return Visitor(who=who, may_read=True, may_act=role is Role.ACT, can_sign_in=True)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body again, for whoever handles the request, and then what comes after it."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
