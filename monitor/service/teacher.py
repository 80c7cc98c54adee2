"""The teacher: a model behind an OpenAI-compatible endpoint that gives reference answers."""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self

import httpx

from monitor.errors import SettingsError
from monitor.service.completion import Answer, Outcome, TeacherError, answer_in, models_in

MAX_BODY_BYTES = 2**20  # of an answer; a long one has some thousand characters
USUAL_ANSWER_TOKENS = 512
IMAGE_TOKENS = 1_600  # about what the largest models count for a picture of 768 pixels
BYTES_PER_TOKEN = 3  # fewer than a token has in most languages
_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the teacher is and how it is asked. ``parameters`` go into the body as they are."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 20.0
    instructions: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)

    def tokens_of(self, text: str, images: int) -> int:
        """About what a call costs at most, to be reserved before it."""
        limits = (self.parameters.get(name) for name in _LIMITS)
        answer = next((n for n in limits if isinstance(n, int)), USUAL_ANSWER_TOKENS)
        asked = len((self.instructions + text).encode()) // BYTES_PER_TOKEN
        return answer + asked + IMAGE_TOKENS * images


class Teacher:
    """Asks one question at a time. Follows no redirect, and reads no endless answer."""

    def __init__(self, endpoint: Endpoint, transport: httpx.BaseTransport | None = None) -> None:
        self.endpoint = endpoint
        authorization = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self._client = httpx.Client(
            headers={"Accept": "application/json", **authorization},
            timeout=endpoint.timeout_seconds,
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, text: str, images: Sequence[bytes]) -> Answer:
        """The answer to a query of a text and JPEG files.

        Raises:
            TeacherError: with what became of it.
        """
        endpoint = self.endpoint
        system = [{"role": "system", "content": endpoint.instructions}]
        content: list[dict[str, object]] = [{"type": "text", "text": text}] if text else []
        content += [{"type": "image_url", "image_url": {"url": _as_url(i)}} for i in images]
        body = {
            **endpoint.parameters,
            "model": endpoint.model,
            "messages": [
                *(system if endpoint.instructions else ()),
                # As a plain text where it is one: not every endpoint takes parts.
                {"role": "user", "content": content if images else text},
            ],
        }
        return answer_in(self._fetch("POST", "chat/completions", body))

    def models(self) -> list[str] | None:
        """The models that the endpoint lists; None where it has no list.

        Raises:
            TeacherError: if it cannot be reached, or does not take the key.
        """
        try:
            return models_in(self._fetch("GET", "models"))
        except TeacherError as exc:
            if exc.outcome is Outcome.REFUSED:
                return None
            raise

    def _fetch(self, method: str, path: str, body: object = None) -> bytes:
        deadline = time.monotonic() + self.endpoint.timeout_seconds
        url = f"{self.endpoint.url.rstrip('/')}/{path}"
        try:
            with self._client.stream(method, url, json=body) as response:
                _require_success(response)
                return _bounded(response, deadline)
        except httpx.TimeoutException:
            raise _too_slow(self.endpoint.timeout_seconds) from None
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            # Its message may hold the address, and the address whatever somebody put there.
            raise TeacherError(Outcome.UNREACHABLE, type(exc).__name__) from None


def read_key(path: Path | None) -> str | None:
    """The key of the teacher's endpoint, from a file of one line.

    Raises:
        SettingsError: if the file cannot be read or does not hold one word.
    """
    if path is None:
        return None
    try:
        words = path.read_text("ascii").split()
    except OSError as exc:
        raise SettingsError(f"teacher.key_file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise SettingsError(f"teacher.key_file {path} is no ASCII text") from None
    if len(words) != 1:
        raise SettingsError(f"teacher.key_file {path} must hold one key, and nothing else")
    return words[0]


def retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as a number or a date."""
    if not value:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        moment: datetime = parsedate_to_datetime(value)
        return max(moment.timestamp() - now(), 0.0)
    except (ValueError, OverflowError):
        return None


def _as_url(image: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"


def _require_success(response: httpx.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    outcome = _BY_STATUS.get(status, _BY_CLASS.get(status // 100, Outcome.GARBAGE))
    wait = retry_after(response.headers.get("retry-after"))
    raise TeacherError(outcome, f"HTTP status {status}", retry_after=wait, tokens=0)


def _bounded(response: httpx.Response, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TeacherError(Outcome.TOO_LARGE, f"more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:  # one that drips never runs into a timeout of the client
            raise _too_slow(None)
    return bytes(body)


def _too_slow(seconds: float | None) -> TeacherError:
    return TeacherError(Outcome.TIMEOUT, f"in {seconds:.0f} s" if seconds else "in time")


_BY_STATUS = {
    401: Outcome.DENIED,
    403: Outcome.DENIED,
    408: Outcome.TIMEOUT,
    429: Outcome.THROTTLED,
}
_BY_CLASS = {3: Outcome.REDIRECTED, 4: Outcome.REFUSED, 5: Outcome.SERVER_ERROR}
