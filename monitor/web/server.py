"""The HTTP server as a resource: listening when entered, closed when left."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from monitor.errors import MonitorError

SHUTDOWN_SECONDS = 5  # for answers that are under way


@contextmanager
def serve(app: FastAPI, *, host: str, port: int) -> Iterator[str]:
    """Serve in a thread; yields the address, with the port that was given by the system for 0.

    Raises:
        MonitorError: if the address cannot be listened on.
    """
    listener = _listen(host, port)
    bound = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        server.should_exit = True
        thread.join(timeout=2 * SHUTDOWN_SECONDS)
        listener.close()


def require_free(host: str, port: int) -> None:
    """Say now what ``serve`` would say after long work.

    Raises:
        MonitorError: if the address cannot be listened on.
    """
    _listen(host, port).close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. asyncio sets it on its own sockets only, and without it an answer
    # waits 40 ms for the client's delayed acknowledgement of the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as exc:
        listener.close()
        raise MonitorError(
            f"cannot listen on {host}:{port}: {exc.strerror}; "
            "set http.listen to a free address, or to port 0"
        ) from exc
    return listener
