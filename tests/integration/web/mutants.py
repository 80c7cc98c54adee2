"""Damaged requests to every endpoint, from payloads that real clients sent."""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.integration.service.parts import exchange, late_target
from tests.unit.traffic import test_kserve, test_langfuse
from tests.unit.traffic.captured import PROTOBUF, payload
from tests.unit.traffic.lines import chat
from tests.unit.traffic.rewriting import rewritten
from tests.unit.traffic.test_mutations import KINDS, PAYLOADS, flipped

SMALL = 40_000  # bytes; what inline images add to larger ones makes them no different
JSON = "application/json"
TRACES, LOGS = "/v1/traces", "/v1/logs"
BOMB = gzip.compress(bytes(20_000_000))


@dataclass(frozen=True, slots=True)
class Mutant:
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


def seeds() -> list[tuple[str, str, bytes]]:
    """Path, content type and a body that is taken there."""
    langfuse = test_langfuse.batch(test_langfuse.event("generation-create", test_langfuse.CREATE))
    native = b"".join(exchange(f"m{i}", i) for i in range(5))
    found = [
        ("/v1/exchanges", JSON, native),
        ("/v1/exchanges", JSON, json.dumps([json.loads(exchange("n"))] * 3).encode()),
        ("/v1/exchanges", JSON, chat()),
        ("/v1/exchanges", JSON, langfuse),
        ("/v1/exchanges", JSON, test_kserve.ASKED + b"\n" + test_kserve.SAID),
        ("/v1/targets", JSON, late_target("m1") + late_target("m2")),
        ("/v1/targets", JSON, json.dumps([json.loads(late_target("m3"))] * 3).encode()),
        ("/v1/targets", JSON, native),
        ("/v1/targets", JSON, payload("langfuse_py_scores.json")),
        ("/v1/targets", JSON, payload("mlflow_trace.json")),
    ]
    for name in PAYLOADS:
        body = payload(name)
        if len(body) > SMALL:
            continue
        if name.startswith("litellm"):
            found.append(("/v1/litellm", JSON, body))
        elif name.startswith("otlp"):
            found.append((LOGS if "_logs" in name else TRACES, _kind(name), body))
        if name.endswith("json"):  # the endpoint for all formats
            found.append(("/v1/exchanges", JSON, body))
    return found


def _kind(name: str) -> str:
    return PROTOBUF if ".pb" in name else JSON


def mutants(seed: int, count: int) -> Iterator[Mutant]:
    """As many damaged requests with traffic, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - to repeat, not to hide
    bodies = seeds()
    for i in range(count):
        path, kind, body = bodies[i % len(bodies)]
        if kind == PROTOBUF and rng.random() < 1 / 2:
            body = rewritten(rng, body, is_logs=path == LOGS)
        else:
            body = rng.choice(KINDS)(rng, body)
        headers = {"Content-Type": kind}
        chance = rng.random()
        if chance < 0.2:
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        elif chance < 0.3:
            body = flipped(rng, gzip.compress(body, 1))
            headers["Content-Encoding"] = "gzip"
        elif chance < 0.302:
            body = BOMB
            headers["Content-Encoding"] = "gzip"
        elif chance < 0.35:
            headers["Content-Type"] = rng.choice(["", "text/plain", PROTOBUF, JSON, "a/b; c=\xe9"])
        elif chance < 0.37:
            headers["Content-Encoding"] = rng.choice(["", "br", "gzip, gzip", "\xff"])
        yield Mutant(path, headers, body)
