"""Who is asking: sessions in signed cookies, the token of their forms, and what they may do."""

import hmac
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from monitor.errors import SettingsError

SECRET_BYTES = 32
FIELD = "csrf"  # of every form
LOCAL = "local"  # who acts where no token is asked for


class Role(StrEnum):
    """What a token is for; whoever may act may read."""

    READ = "read"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says. Without a fingerprint nobody has signed in."""

    id: str
    who: str = LOCAL
    fingerprint: str = ""
    role: Role | None = None

    @classmethod
    def new(cls) -> "Session":
        """Of somebody who is not known."""
        return cls(secrets.token_urlsafe(16))


class Sessions:
    """Signs sessions, so that nothing about them need be stored, and the tokens of forms."""

    def __init__(self, secret: bytes, length: timedelta) -> None:
        self._signer = URLSafeTimedSerializer(secret, salt="session")
        self._secret = secret
        self.length = length

    def cookie(self, session: Session) -> str:
        """The session as it is sent to a browser."""
        said = [session.id, session.who, session.fingerprint, session.role]
        return str(self._signer.dumps(said))

    def read(self, cookie: str) -> Session | None:
        """The session that this program has signed, unless it is too old."""
        try:
            said = self._signer.loads(cookie, max_age=int(self.length.total_seconds()))
        except BadSignature:
            return None
        id_, who, fingerprint, role = said
        return Session(id_, who, fingerprint, None if role is None else Role(role))

    def form_token(self, session: Session) -> str:
        """What a form of this session carries, and no other site can know."""
        return hmac.new(self._secret, b"form:" + session.id.encode(), "sha256").hexdigest()

    def is_form_of(self, session: Session, token: str) -> bool:
        """Whether the token of a form is that of the session."""
        return hmac.compare_digest(self.form_token(session).encode(), token.encode())


@dataclass(slots=True)
class Visitor:
    """Who is asking for a page, what they may do, and the session that forms belong to."""

    who: str = LOCAL
    may_read: bool = True
    may_act: bool = True
    is_signed_in: bool = False
    can_sign_in: bool = False  # there are tokens to sign in with
    form_token: str = ""
    used: bool = field(default=False)  # a page has a form, so the browser needs the session

    @property
    def is_known(self) -> bool:
        """Whether it is a holder of a token."""
        return self.who != LOCAL

    @property
    def csrf(self) -> str:
        """For a form's hidden field."""
        self.used = True
        return self.form_token


_visitor: ContextVar[Visitor | None] = ContextVar("visitor", default=None)


def visitor() -> Visitor:
    """Whoever asks for the page that is being made."""
    return _visitor.get() or Visitor(may_read=False, may_act=False)


def meet(who: Visitor) -> None:
    """Let pages that are made from here on know who asks for them."""
    _visitor.set(who)


def load_secret(data_dir: Path, given: Path | None) -> bytes:
    """What sessions are signed with: that of a file, or one that is made and kept in ``data_dir``.

    Raises:
        SettingsError: if the file cannot be read or is too short.
    """
    path = given or data_dir / "session.key"
    try:
        if given is None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = path.with_suffix(f".{secrets.token_hex(4)}")
            made.touch(mode=0o600)
            made.write_bytes(secrets.token_hex(SECRET_BYTES).encode())
            made.replace(path)
        secret = path.read_bytes().strip()
    except OSError as exc:
        raise SettingsError(f"the secret of sessions {path}: {exc.strerror}") from exc
    if len(secret) < SECRET_BYTES:
        raise SettingsError(
            f"http.session_secret_file {path} must hold at least {SECRET_BYTES} characters, got "
            f"{len(secret)}"
        )
    return secret
