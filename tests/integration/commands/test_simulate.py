"""``simulate``: exchanges as they come, written or posted to whoever takes them."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from monitor.cli.program import program
from monitor.commands.simulate import Wish, write_traffic
from monitor.errors import MonitorError
from monitor.simulate.traffic import DriftKind

START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Taker:
    """A server that answers with the given statuses in turn, then with 200."""

    statuses: list[int] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def taker() -> Iterator[Taker]:
    taken = Taker()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = taken.statuses.pop(0) if taken.statuses else 200
            if status == 200:
                taken.bodies.append(json.loads(body))
            taken.tokens.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        taken.address = f"http://127.0.0.1:{server.server_port}/v1/exchanges"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield taken
        server.shutdown()
        thread.join()


def wish(
    out: str, *, start: datetime | None = START, per_minute: float = 60, token: bytes | None = None
) -> Wish:
    return Wish(7, 4, start, per_minute, "simulated", (), out, token)


def test_help_names_every_kind_of_drift() -> None:
    said = CliRunner().invoke(program, ["simulate", "--help"]).output
    assert {kind.value for kind in DriftKind} <= set(re.findall(r"\w+", said))


def test_what_is_posted_is_what_a_file_would_hold(taker: Taker, tmp_path: Path) -> None:
    write_traffic(wish(taker.address))
    write_traffic(wish(str(tmp_path / "traffic.jsonl")))
    lines = (tmp_path / "traffic.jsonl").read_text().splitlines()
    assert taker.bodies == [json.loads(line) for line in lines]


def test_a_drift_hits_from_its_time_on_those_with_its_label_alone(tmp_path: Path) -> None:
    def written(name: str, **drift: Any) -> list[dict[str, Any]]:
        asked = replace(wish(str(tmp_path / name)), count=60, **drift)
        write_traffic(asked)
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    begins = START + timedelta(seconds=30)
    drift = {"drifts": ("language",), "drift_from": begins, "drift_only": ("tenant=acme",)}
    pairs = list(zip(written("good"), written("bad", **drift), strict=True))
    changed = [good for good, bad in pairs if good["query"]["text"] != bad["query"]["text"]]
    meant = [
        good
        for good, _ in pairs
        if good["labels"]["tenant"] == "acme" and datetime.fromisoformat(good["time"]) >= begins
    ]
    assert changed == meant != []


def test_a_drift_only_for_what_is_no_label_is_refused(tmp_path: Path) -> None:
    asked = replace(wish(str(tmp_path / "out")), drifts=("blur",), drift_only=("acme",))
    with pytest.raises(MonitorError, match="--drift-only takes LABEL=VALUE"):
        write_traffic(asked)


def test_what_is_posted_carries_the_token(taker: Taker) -> None:
    write_traffic(wish(taker.address, token=b"secret"))
    assert set(taker.tokens) == {"Bearer secret"}


def test_a_daemon_that_is_busy_is_asked_again_and_loses_nothing(
    taker: Taker, capsys: pytest.CaptureFixture[str]
) -> None:
    taker.statuses += [503, 429]
    waits: list[float] = []
    write_traffic(wish(taker.address), sleep=waits.append)
    assert (len(taker.bodies), len(waits)) == (4, 2)
    assert capsys.readouterr().err.count(f"{taker.address} does not take it yet ({{}})") == 1


def test_a_refusal_ends_it_with_what_was_said(taker: Taker) -> None:
    taker.statuses.append(401)
    with pytest.raises(MonitorError, match=r"answered 401: \{\}"):
        write_traffic(wish(taker.address))


def test_live_exchanges_begin_now_and_each_is_waited_for(tmp_path: Path) -> None:
    waits: list[float] = []
    before = datetime.now(UTC)
    out = tmp_path / "traffic.jsonl"
    write_traffic(wish(str(out), start=None, per_minute=1e-3), sleep=waits.append)
    times = [datetime.fromisoformat(json.loads(x)["time"]) for x in out.read_text().splitlines()]
    assert min(times) >= before
    # Nobody slept, so each wait reaches from about now to the time of its exchange.
    assert waits == pytest.approx([(time - before).total_seconds() for time in times], abs=60)
