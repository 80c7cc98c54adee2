"""Damage inside of exports in protobuf, which other bytes hardly ever leave readable."""

import random
from collections.abc import Iterator

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

from tests.unit.traffic.test_mutations import KINDS

OTHER_VALUES = [
    AnyValue(),
    AnyValue(bool_value=True),
    AnyValue(int_value=-(2**63)),
    AnyValue(double_value=float("nan")),
    AnyValue(bytes_value=b"\xff\0"),
    AnyValue(string_value="\0"),
    AnyValue(array_value=ArrayValue(values=[AnyValue()])),
]


def rewritten(rng: random.Random, body: bytes, *, is_logs: bool) -> bytes:
    """An export that is one still, with damage in values: other bytes hardly ever are."""
    export = ExportLogsServiceRequest() if is_logs else ExportTraceServiceRequest()
    export.ParseFromString(body)
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
