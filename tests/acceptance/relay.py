"""Stands between a client and the daemon and notes what the daemon acknowledged to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

import httpx

PASSED_ON = ("content-type", "content-encoding")
HUNG_UP = (httpx.TransportError, httpx.InvalidURL)


@dataclass
class Relay:
    """Where the daemon listens now, and the bodies that came, with whether it acknowledged them."""

    address: str = ""
    bodies: list[tuple[dict[str, str], bytes, bool]] = field(default_factory=list)
    endpoint: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def acknowledged(self) -> int:
        with self.lock:
            return sum(is_acknowledged for _, _, is_acknowledged in self.bodies)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing it waits for what is under way

    def handle_error(self, *_: object) -> None:
        """A client that did not wait for its answer is none of ours."""


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """What a client sends that does not say how long it is."""
    while size := int(file.readline(), 16):
        yield file.read(size)
        file.readline()
    file.readline()


@contextmanager
def relaying() -> Iterator[Relay]:
    """A relay that listens while this is entered. A daemon that is gone is a hung-up connection."""
    relay = Relay()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers["Content-Length"]
            body = b"".join(_chunks(self.rfile)) if length is None else self.rfile.read(int(length))
            content = iter((body,)) if length is None else body  # httpx sends the former in chunks
            headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            try:
                answer = client.post(relay.address + self.path, content=content, headers=headers)
            except HUNG_UP:
                answer = None
            acknowledged = answer is not None and answer.is_success
            with relay.lock:
                relay.bodies.append((headers, body, acknowledged))
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name in ("content-type", "retry-after"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    with (
        httpx.Client(timeout=60, verify=False) as client,  # noqa: S501 - loopback; certificates take long
        _Server(("127.0.0.1", 0), Handler) as server,
    ):
        relay.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield relay
        server.shutdown()
