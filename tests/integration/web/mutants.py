"""Damaged requests to every endpoint, from payloads that real clients sent."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.integration.service.parts import exchange, late_target
from tests.unit.traffic.captured import PROTOBUF, payload
from tests.unit.traffic.test_mutations import (
    PAYLOADS,
    cut,
    deepened,
    flipped,
    huge,
    spliced,
    swapped,
)

SMALL = 40_000  # bytes; what inline images add to larger ones makes them no different
JSON = "application/json"
KINDS: list[Callable[[random.Random, bytes], bytes]] = [
    flipped,
    cut,
    spliced,
    deepened,
    huge,
    swapped,
]
BOMB = gzip.compress(bytes(20_000_000))


@dataclass(frozen=True, slots=True)
class Mutant:
    path: str
    headers: dict[str, str]
    body: bytes


def seeds() -> list[tuple[str, str, bytes]]:
    """Path, content type and a body that is taken there."""
    found = [
        ("/v1/exchanges", JSON, b"".join(exchange(f"m{i}", i) for i in range(5))),
        ("/v1/exchanges", JSON, json.dumps([json.loads(exchange("n"))] * 3).encode()),
        ("/v1/targets", JSON, late_target("m1") + late_target("m2")),
    ]
    for name in PAYLOADS:
        body = payload(name)
        if len(body) > SMALL:
            continue
        if name.startswith("litellm"):
            found.append(("/v1/litellm", JSON, body))
        elif name.startswith("otlp"):
            path = "/v1/logs" if "_logs" in name else "/v1/traces"
            found.append((path, PROTOBUF if ".pb" in name else JSON, body))
        elif name.endswith("json"):
            found.append(("/v1/exchanges", JSON, body))
    return found


def mutants(seed: int, count: int) -> Iterator[Mutant]:
    """As many damaged requests, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - to repeat, not to hide
    bodies = seeds()
    for i in range(count):
        path, kind, body = bodies[i % len(bodies)]
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
