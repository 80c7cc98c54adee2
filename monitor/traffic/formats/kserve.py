"""Requests and responses of KServe's logger: CloudEvents apart, joined by their id."""

from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.bodies import request_in, response_in
from monitor.traffic.formats.call import Call, labels_of
from monitor.traffic.formats.lookup import within_json
from monitor.traffic.formats.wire import (
    ABSENT,
    Identifier,
    Moment,
    Reason,
    StreamName,
    decode,
    sensible_time,
)

_REQUEST, _RESPONSE = "inference.request", "inference.response"


class Event(Struct, gc=False):
    """A CloudEvent in its structured form."""

    id: Identifier
    type: str
    source: str | None = None
    time: Moment | None = None
    inferenceservicename: StreamName | None = None
    namespace: str | None = None
    component: str | None = None
    data: Raw = ABSENT


class KServeFormat:
    """Parses one event a line; the logger gives a request and its response the same id."""

    name = "kserve"

    def __init__(self) -> None:
        self.passed_over = 0

    def recognises(self, keys: frozenset[str]) -> bool:
        return {"specversion", "type", "id"} <= keys

    def pieces(self, line: bytes, latest: datetime) -> Iterator[Call]:
        event = decode(_decode_event, line)
        if not event.type.endswith((_REQUEST, _RESPONSE)):
            self.passed_over += 1
            return
        if event.time is None:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected a time")
        call = Call(
            id=event.id,
            time=sensible_time(event.time, latest),
            stream=event.inferenceservicename,
            service=event.source,
            labels=labels_of(namespace=event.namespace, component=event.component),
            deployment=event.inferenceservicename,
            lookup=within_json(line),
        )
        if event.type.endswith(_REQUEST):
            request = request_in(event.data)
            call.query, call.metadata = request.query(), within_json(request.metadata)
        else:
            response = response_in(event.data)
            call.response = response.text()
            call.model = response.model
            call.stream = call.stream or response.model
        yield call


_decode_event = msgspec.json.Decoder(Event).decode
