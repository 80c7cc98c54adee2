"""Logs of other tools: what reading them costs, and many more mutations than the suite has."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from monitor.records import Rejection
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.joined import JoinedFormat
from monitor.traffic.formats.otlp import OtlpFormat, traces_reader
from monitor.traffic.formats.wire import Format, Wire
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, PROTOBUF, format_of, lines, payload
from tests.unit.traffic.rewriting import rewritten
from tests.unit.traffic.test_mutations import KINDS, PAYLOADS, assert_records

OPENINFERENCE = "otlpjson_js_openinference_traces.json"
ROUNDS = 5
MUTATED = 50_000
GROWTH_MAX = 64 * 2**20
Parse = Callable[[bytes], object]


def litellm(name: str, count: int) -> list[bytes]:
    record = json.loads(payload(name))[0]
    return [json.dumps(record | {"litellm_call_id": str(i)}).encode() for i in range(count)]


def spans(name: str, span: bytes, count: int) -> list[bytes]:
    body = payload(name)
    assert span in body
    return [body.replace(span, f"{i + 1:0{len(span)}x}".encode()) for i in range(count)]


def protobuf(count: int) -> list[bytes]:
    export = ExportTraceServiceRequest.FromString(payload("otlp_genai_openai_span_only_traces.pb"))
    (span,) = export.resource_spans[0].scope_spans[0].spans
    bodies = []
    for i in range(count):
        span.span_id = (i + 1).to_bytes(8, "big")
        bodies.append(export.SerializeToString())
    return bodies


def auto() -> Format:
    return format_named("auto")


def received() -> Format:
    return JoinedFormat(OtlpFormat(read=traces_reader(PROTOBUF)), Joiner())


def seconds(records: Sequence[bytes], parse: Parse) -> float:
    started = time.perf_counter()
    for record in records:
        parse(record)
    return time.perf_counter() - started


in_json = msgspec.json.Decoder().decode


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("records", "make", "alone", "least"),
    [
        (litellm("litellm_sdk_generic_api_json_array.json", 5_000), auto, in_json, 1 / 3),
        (litellm("litellm_sdk_generic_api_full_base64.json", 300), auto, in_json, 1 / 4),
        (spans("otlpjson_py_traces.json", b"5eef8d01ea24b643", 5_000), auto, in_json, 1 / 15),
        (spans(OPENINFERENCE, b"0455b96ab55de3ed", 5_000), auto, in_json, 1 / 15),
        (protobuf(5_000), received, ExportTraceServiceRequest.FromString, 1 / 60),
    ],
    ids=["LiteLLM", "LiteLLM with images", "GenAI span", "OpenInference span", "protobuf span"],
)
def test_reading_a_record_costs_some_times_what_parsing_it_does(
    records: list[bytes],
    make: Callable[[], Format],
    alone: Parse,
    least: float,
    request: pytest.FixtureRequest,
) -> None:
    theirs, ours = [], []
    for _ in range(ROUNDS):
        form = make()
        theirs.append(seconds(records, alone))
        started = time.perf_counter()
        found = [record for body in records for record in form.parse(body, LATEST)]
        ours.append(time.perf_counter() - started)
        assert {type(record) for record in found} == {Wire}
    count = len(records)
    print(
        f"\n{request.node.callspec.id}, {len(records[0])} bytes: parsing alone "
        f"{min(theirs) / count * 1e6:.1f} us, read {min(ours) / count * 1e6:.1f} us",
        end="",
    )
    assert min(theirs) / min(ours) >= least


@pytest.mark.benchmark
def test_mutated_payloads_in_number_are_accounted_for_in_flat_memory() -> None:
    rng = random.Random(50)  # noqa: S311 - to repeat, not to hide
    found: Counter[str] = Counter()
    process = psutil.Process()
    bodies = [(name, line) for name in PAYLOADS for line in lines(name)]
    before = 0
    for i in range(MUTATED):
        name, line = bodies[i % len(bodies)]
        joiner = Joiner()
        if ".pb" in name and i % 2:
            damaged = rewritten(rng, line, is_logs="_logs" in name)
        else:
            damaged = rng.choice(KINDS)(rng, line)
        parsed = format_of(name, joiner).parse(damaged, LATEST)
        records = [*parsed, *joiner.flush()]
        assert_records(records)
        found.update(r.reason if isinstance(r, Rejection) else type(r).__name__ for r in records)
        if i == MUTATED // 5:
            before = process.memory_info().rss
    growth = process.memory_info().rss - before
    print(
        f"\n{MUTATED} mutated: {dict(found.most_common())}, {growth / 2**20:.0f} MiB more", end=""
    )
    assert growth < GROWTH_MAX
