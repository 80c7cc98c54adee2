"""Real clients send, the daemon is killed and comes back: what it acknowledged is stored, once."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.javascript import node_modules
from tests.acceptance.program import Program
from tests.acceptance.relay import Relay, relaying

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

CLIENTS = Path(__file__).parent / "clients"
PATIENCE_SECONDS = 60
BODIES_BETWEEN_KILLS = 30
DELAY_MAX_SECONDS = 0.2
CALLS = 50
SETTINGS = {
    "http": {"listen": "127.0.0.1:0"},
    "sampling": {"per_pane": 1_000_000},  # everything is kept, so that it can be compared
    "jobs": {"ingest": "1s", "embed": "1s", "measure": "1s"},
}
Ids = Callable[[bytes], set[str]]


def ids_of_spans(body: bytes) -> set[str]:
    export = ExportTraceServiceRequest.FromString(gzip.decompress(body))
    return {
        f"{span.trace_id.hex()}:{span.span_id.hex()}"
        for group in export.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    }


def ids_of_json_spans(body: bytes) -> set[str]:
    return {
        f"{span['traceId']}:{span['spanId']}"
        for group in json.loads(body)["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    }


def ids_of_array(body: bytes) -> set[str]:
    return {record["litellm_call_id"] for record in json.loads(body)}


def ids_of_lines(body: bytes) -> set[str]:
    return {json.loads(line)["litellm_call_id"] for line in body.splitlines()}


def id_of_one(body: bytes) -> set[str]:
    return {json.loads(body)["litellm_call_id"]}


# What is run, its arguments and the ids in a body it sends.
KINDS: dict[str, tuple[str, Sequence[str], Ids]] = {
    "openai": ("openai_client.py", (), ids_of_spans),
    "litellm": ("litellm_client.py", ("json_array",), ids_of_array),
    "litellm lines": ("litellm_client.py", ("ndjson",), ids_of_lines),
    "litellm single": ("litellm_client.py", ("single",), id_of_one),
    "javascript": ("js/openai_client.js", ("json",), ids_of_json_spans),
    "javascript protobuf": ("js/openai_client.js", ("protobuf",), ids_of_spans),
}


@contextmanager
def sending(
    script: str, arguments: Sequence[str], relay: Relay, folder: Path
) -> Iterator[Callable[[], None]]:
    """The client as a process; call what is yielded to let it send the rest and end."""
    is_javascript = script.endswith(".js")
    program = shutil.which("node") if is_javascript else sys.executable
    packages = {"NODE_PATH": str(node_modules())} if is_javascript else {}
    stop = folder / "stop"
    with (folder / "client.log").open("wb") as said:
        client = subprocess.Popen(
            [str(program), str(CLIENTS / script), relay.endpoint, *arguments, str(stop)],
            env=os.environ | packages,
            stdout=said,
            stderr=said,
        )

    def end() -> None:
        stop.touch()
        assert client.wait(PATIENCE_SECONDS) == 0, (folder / "client.log").read_text()[-3_000:]

    try:
        yield end
    finally:
        client.kill()
        client.wait()


def sent_through_kills(kind: str, kills: int, folder: Path) -> tuple[Program, Relay]:
    """A client that sends all the time, to a daemon that is killed again and again."""
    rng = np.random.default_rng(kills)
    program = Program(folder, SETTINGS)
    script, arguments, _ = KINDS[kind]
    with relaying() as relay, sending(script, arguments, relay, folder) as end:
        for kill in range(kills + 1):
            with program.running("run") as process:
                relay.address = process.address
                wanted = relay.acknowledged + int(rng.integers(2, BODIES_BETWEEN_KILLS))
                process.until("acknowledged", lambda w=wanted: relay.acknowledged >= w)
                if kill < kills:
                    time.sleep(rng.uniform(0, DELAY_MAX_SECONDS))
                    process.kill()
                else:
                    end()
                    assert process.terminate() == 0
    return program, relay


def assert_once(kind: str, program: Program, relay: Relay) -> str:
    """What was acknowledged is stored, what is stored was sent, and nothing is counted twice."""
    ids = KINDS[kind][-1]
    acknowledged: set[str] = set()
    sent: set[str] = set()
    for _, body, is_acknowledged in relay.bodies:
        sent |= ids(body)
        acknowledged |= ids(body) if is_acknowledged else set()
    rows = [identifier for (identifier,) in program.query("SELECT exchange_id FROM samples")]
    stored = set(rows)
    assert acknowledged
    assert acknowledged - stored == set()
    assert stored - sent == set()
    assert len(rows) == len(stored)
    counted = dict(program.query("SELECT outcome, sum(count) FROM counters GROUP BY 1"))
    seen = program.query("SELECT sum(seen) FROM panes")
    assert (counted["admitted"], seen) == (len(stored), [(len(stored),)])
    assert set(counted) <= {"admitted", "sampled", "duplicate", "passed_over"}
    hung_up = sum(not is_acknowledged for _, _, is_acknowledged in relay.bodies)
    return (
        f"{kind}: {len(relay.bodies)} requests, {hung_up} without an answer, {len(acknowledged)} "
        f"exchanges acknowledged, {len(stored)} stored"
    )


@pytest.mark.parametrize("kind", ["openai", "litellm", "javascript"])
def test_what_was_acknowledged_between_two_kills_is_stored_once(kind: str, tmp_path: Path) -> None:
    assert_once(kind, *sent_through_kills(kind, 2, tmp_path))


def test_a_span_and_a_record_a_message_are_one_exchange_a_call(tmp_path: Path) -> None:
    """As Node sends them: the model in one request, what was said in another, each in chunks."""
    program = Program(tmp_path, SETTINGS)
    wanted = "SELECT count(*) FROM samples"
    with program.running("run") as process, relaying() as relay:
        relay.address = process.address
        with sending("js/openai_client.js", ("events",), relay, tmp_path) as end:
            process.until("exchanges", lambda: program.query(wanted) >= [(CALLS,)])
            end()
        assert process.terminate() == 0
    assert all(is_acknowledged for _, _, is_acknowledged in relay.bodies)
    bodies = [gzip.decompress(body) for _, body, _ in relay.bodies]
    asked = {n for body in bodies for n in re.findall(rb"Which is (\d+)\?", body)}
    spans = [ids_of_json_spans(body) for body in bodies if b"resourceSpans" in body]
    rows = program.query("SELECT exchange_id, text, response FROM samples")
    assert {identifier for identifier, _, _ in rows} == set().union(*spans)
    assert sorted(said for _, *said in rows) == sorted(
        [f"Which is {int(n)}?", f"It is number {int(n)}."] for n in asked
    )
