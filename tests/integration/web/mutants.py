"""Damaged requests to every endpoint, from payloads that real clients sent."""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

from tests.integration.service.parts import exchange, late_target
from tests.unit.traffic import test_kserve, test_langfuse
from tests.unit.traffic.captured import PROTOBUF, payload
from tests.unit.traffic.lines import chat
from tests.unit.traffic.test_mutations import KINDS, PAYLOADS, flipped

SMALL = 40_000  # bytes; what inline images add to larger ones makes them no different
JSON = "application/json"
TRACES, LOGS = "/v1/traces", "/v1/logs"
BOMB = gzip.compress(bytes(20_000_000))
OTHER_VALUES = [
    AnyValue(),
    AnyValue(bool_value=True),
    AnyValue(int_value=-(2**63)),
    AnyValue(double_value=float("nan")),
    AnyValue(bytes_value=b"\xff\0"),
    AnyValue(string_value="\0"),
    AnyValue(array_value=ArrayValue(values=[AnyValue()])),
]


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
        is_rewritten = kind == PROTOBUF and rng.random() < 1 / 2
        body = rewritten(rng, path, body) if is_rewritten else rng.choice(KINDS)(rng, body)
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


def rewritten(rng: random.Random, path: str, body: bytes) -> bytes:
    """An export that is one still, with damage in values: other bytes hardly ever are."""
    export = ExportTraceServiceRequest() if path == TRACES else ExportLogsServiceRequest()
    try:
        export.ParseFromString(body)
    except DecodeError:  # gzip
        return flipped(rng, body)
    values = list(_values(export))
    for _ in range(rng.randint(1, 3)):
        value = rng.choice(values)
        if value.string_value and rng.random() < 0.7:
            text = rng.choice(KINDS)(rng, value.string_value.encode())
            value.string_value = text.decode(errors="replace")
        else:
            value.CopyFrom(rng.choice(OTHER_VALUES))
    return export.SerializeToString()


def _values(message: Message) -> Iterator[AnyValue]:
    for field, found in message.ListFields():
        if field.message_type is None:
            continue
        for each in [found] if isinstance(found, Message) else found:
            if isinstance(each, AnyValue):
                yield each
            yield from _values(each)
