"""Messages that an instrumentation uploaded beside its telemetry: read only below known roots."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

MAX_BYTES = 32 * 2**20


class Uploads:
    """Resolves what ``gen_ai.input.messages_ref`` says, which whoever sends telemetry chooses."""

    def __init__(self, roots: Sequence[Path] = (), *, max_bytes: int = MAX_BYTES) -> None:
        self._roots = [root.resolve() for root in roots]
        self._max_bytes = max_bytes

    def read(self, ref: str) -> str | None:
        """The text of a regular file that lies below a root once links are followed, else None."""
        if not self._roots:
            return None
        try:
            address = urlsplit(ref)
            if address.scheme not in {"", "file"} or address.netloc not in {"", "localhost"}:
                return None
            path = Path(unquote(address.path) if address.scheme else ref).resolve(strict=True)
            if not any(path.is_relative_to(root) for root in self._roots):
                return None
            return self._text(path)
        except (OSError, RuntimeError, ValueError):  # links in a circle, a name with NUL, no UTF-8
            return None

    def _text(self, path: Path) -> str | None:
        # Not blocking, or opening a pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._max_bytes:
                return None
            return file.read(self._max_bytes).decode()


NO_UPLOADS = Uploads()
