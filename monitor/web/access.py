"""Tokens of those who post, read and act, which may change while it runs; and how often."""

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import structlog

from monitor.errors import SettingsError

log = structlog.get_logger()
Stamp = tuple[int, int, int]
SHORTEST = 16  # characters of a token that reads or acts
FINGERPRINT = 8  # hexadecimal digits
MAX_NAME = 100


def read_tokens(path: Path | None, setting: str = "http.tokens_file") -> tuple[bytes, ...]:
    """Accepted bearer tokens, one a line; empty where no file is given.

    Raises:
        SettingsError: if the file cannot be read or holds no token.
    """
    if path is None:
        return ()
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as exc:
        raise SettingsError(f"{setting} {path} cannot be read: {exc.strerror}") from exc
    tokens = tuple(line.strip() for line in lines if line.strip())
    if not tokens:
        raise SettingsError(f"{setting} {path} holds no token; write one a line")
    return tokens


class Tokens:
    """The tokens that were given and those of a file, which is read again when it changes.

    A file that has become unreadable or empty changes nothing: whoever replaces it may be between
    two steps. To take a token back, leave another one in the file.

    Raises:
        SettingsError: as ``read_tokens``.
    """

    def __init__(self, path: Path | None = None, given: Sequence[bytes] = ()) -> None:
        self._path = path
        self._given = [_digest(token) for token in given]
        self._stamp = _stamp(path)
        self._of_file = [_digest(token) for token in read_tokens(path)]

    def accept(self, authorization: str) -> bool:
        """Whether the header names one of the tokens, or none are asked for."""
        self._read_again()
        tokens = self._given + self._of_file
        scheme, _, candidate = authorization.partition(" ")
        digest = _digest(candidate.strip().encode())
        # Every token is compared, so that the time taken does not tell which one came near.
        matches = [hmac.compare_digest(digest, token) for token in tokens]
        return not tokens or (scheme.lower() == "bearer" and any(matches))

    def _read_again(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._of_file = [_digest(token) for token in read_tokens(self._path)]
        except SettingsError as exc:
            log.warning("tokens_kept", problem=str(exc))
        else:
            log.info("tokens_read", count=len(self._of_file))


@dataclass(frozen=True, slots=True)
class Key:
    """A token of somebody: what they are called, and its digest. The token itself is not kept."""

    name: str
    digest: bytes

    @classmethod
    def of(cls, line: bytes) -> "Key":
        """From ``NAME TOKEN`` or ``TOKEN``, which is then called by the beginning of its digest."""
        name, _, token = line.rpartition(b" ")
        digest = _digest(token)
        called = name.strip().decode(errors="replace")
        return cls(called[:MAX_NAME] or f"token {digest.hex()[:FINGERPRINT]}", digest)

    @property
    def fingerprint(self) -> str:
        """What tells it apart from others, and does not give it away."""
        return self.digest.hex()[: 2 * FINGERPRINT]


class Keys:
    """The tokens of a file with who holds each, read again when it changes.

    A file that has become unusable changes nothing, as with ``Tokens``.

    Raises:
        SettingsError: if the file cannot be read, holds no token, or one that could be guessed.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self._path, self._setting = path, setting
        self._stamp = _stamp(path)
        self._keys = self._read()

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, token: str) -> Key | None:
        """Whose token it is."""
        self._read_again()
        digest = _digest(token.strip().encode())
        # Every one is compared, so that the time taken does not tell which one came near.
        matches = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        return matches[0] if matches else None

    def holds(self, fingerprint: str) -> bool:
        """Whether a token that somebody signed in with is still among them."""
        self._read_again()
        return any(hmac.compare_digest(key.fingerprint, fingerprint) for key in self._keys)

    def _read(self) -> list[Key]:
        lines = read_tokens(self._path, self._setting)
        if any(len(line.rpartition(b" ")[2]) < SHORTEST for line in lines):
            raise SettingsError(
                f"{self._setting} {self._path} holds a token of fewer than {SHORTEST} characters: "
                "make one with `openssl rand -hex 24`"
            )
        return [Key.of(line) for line in lines]

    def _read_again(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except SettingsError as exc:
            log.warning("tokens_kept", problem=str(exc))
        else:
            log.info("tokens_read", count=len(self._keys))


class Rate:
    """At most so many a second, and as many at once after a quiet second."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = float(per_second)
        self._at = clock()

    def allows(self) -> bool:
        """Whether one more may come now; counts it if so."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._per_second, self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _digest(token: bytes) -> bytes:
    # Of one length, which the time of a comparison would tell.
    return sha256(token).digest()


def _stamp(path: Path | None) -> Stamp | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
