"""Prometheus and Alertmanager as processes with the files of deploy/, and somebody who is told."""

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.acceptance.program import PATIENCE_SECONDS, POLL_SECONDS, Found
from tests.programs import program

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules" / "mllm-monitor.yml"
PROGRAMS = ("prometheus", "prometheus-alertmanager")
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def require_programs() -> None:
    """Skip where Debian's packages cannot be had; on CI they must be there."""
    for name in PROGRAMS:
        program(name, name)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Message:
    """What a receiver was sent, and when."""

    at: float
    receiver: str
    alerts: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Hook:
    """A receiver of webhooks that remembers."""

    port: int
    messages: list[Message] = field(default_factory=list)

    def standing(self, receiver: str) -> dict[tuple[str, str], str]:
        """What a receiver was told last of each alert, by name and fingerprint."""
        return {
            (alert["labels"]["alertname"], alert["fingerprint"]): alert["status"]
            for message in self.messages
            if message.receiver == receiver
            for alert in message.alerts
        }

    def first(self, receiver: str, name: str) -> tuple[Message, Mapping[str, Any]] | None:
        """The first message that an alert fires, and the alert in it."""
        for message in self.messages:
            for alert in message.alerts:
                is_it = alert["labels"]["alertname"] == name and alert["status"] == "firing"
                if message.receiver == receiver and is_it:
                    return message, alert
        return None


@contextmanager
def hook() -> Iterator[Hook]:
    """Listen for what Alertmanager sends."""
    heard = Hook(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.messages.append(Message(time.time(), self.path.strip("/"), body["alerts"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, name="hook")
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True, slots=True)
class Stack:
    """A Prometheus and an Alertmanager that are running."""

    prometheus: str
    alertmanager: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": query}, timeout=60)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Every alert that Alertmanager has, those that it suppresses too."""
        found = (
            httpx.get(f"{self.alertmanager}/api/v2/alerts", timeout=60).raise_for_status().json()
        )
        return list(found)


@contextmanager
def stack(folder: Path, *, target: str, told: Hook, times: int = 1) -> Iterator[Stack]:
    """The files of deploy/ with other addresses, everything in them so many times as fast."""
    prometheus, alertmanager = free_port(), free_port()
    rules = _faster(yaml.safe_load(RULES.read_text()), times)
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    if times > 1:
        scrape["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    scrape["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    scrape["alerting"]["alertmanagers"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{alertmanager}"]}
    ]
    routes = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    routes = routes.replace("127.0.0.1:9095", f"127.0.0.1:{told.port}")
    (folder / "rules").mkdir()
    _write(folder / "rules" / "mllm-monitor.yml", rules)
    _write(folder / "prometheus.yml", scrape)
    _write(folder / "alertmanager.yml", _faster(yaml.safe_load(routes), times))
    with (
        _process(
            folder,
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{prometheus}",
            f"--rules.alert.resend-delay={_shorter('1m', times)}",
        ),
        _process(
            folder,
            "prometheus-alertmanager",
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alertmanager",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
        ),
    ):
        found = Stack(f"http://127.0.0.1:{prometheus}", f"http://127.0.0.1:{alertmanager}")
        for address in (found.prometheus, found.alertmanager):
            until(f"answer of {address}", partial(_is_ready, address))
        yield found


@contextmanager
def _process(folder: Path, program: str, *options: str) -> Iterator[None]:
    with (folder / f"{program}.log").open("wb") as log:
        popen = subprocess.Popen([program, *options], stdout=log, stderr=log)
    try:
        yield
    finally:
        popen.terminate()
        popen.wait(PATIENCE_SECONDS)


def until(what: str, look: Callable[[], Found | None]) -> Found:
    """Look again and again; what was found as soon as it is anything."""
    stop = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < stop, f"no {what}"
        time.sleep(POLL_SECONDS)
    return found


def _is_ready(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{address}/-/ready", timeout=60).is_success
    return False


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))  # JSON is YAML


def _faster(content: Any, times: int) -> Any:
    """Durations by themselves and ranges of expressions, in everything below."""
    if isinstance(content, dict):
        return {key: _faster(value, times) for key, value in content.items()}
    if isinstance(content, list):
        return [_faster(value, times) for value in content]
    if not isinstance(content, str) or times == 1:
        return content
    return re.sub(
        r"(?<=\[)(\d+)([smhd])(?=\])|\A(\d+)([smhd])\Z",
        lambda found: _shorter(found[0], times),
        content,
    )


def _shorter(duration: str, times: int) -> str:
    return f"{int(duration[:-1]) * UNITS[duration[-1]] * 1_000 // times}ms"
