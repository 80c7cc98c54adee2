"""One daemon per embedded database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from monitor.errors import AlreadyRunningError, StoreError
from monitor.store.engine import Database


@contextmanager
def hold_embedded_lock(database: Database) -> Iterator[None]:
    """Hold the only right to run a daemon on a SQLite file; other databases need none.

    Raises:
        AlreadyRunningError: if another process holds it.
    """
    if database.path is None:
        yield
        return
    path = database.path.with_name(database.path.name + ".lock")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as exc:
        raise AlreadyRunningError(
            f"{_holder(path)} already works on {database.path}; "
            "stop it, or give this one another database.url"
        ) from exc
    except OSError as exc:
        raise StoreError(f"cannot write the lock file {path}: {exc.strerror}") from exc
    try:
        path.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    with suppress(OSError):
        pid = path.read_text().strip()
        if pid.isdigit():
            return f"process {pid}"
    return "another process"
