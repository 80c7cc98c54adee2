"""Logged API calls: a line with the request's and the response's body."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.answers import USUAL_PATHS, AnswerPaths
from monitor.traffic.formats.bodies import Request, Response
from monitor.traffic.formats.call import Call, client_name, labels_of
from monitor.traffic.formats.lookup import either, within_json
from monitor.traffic.formats.streams import BY_FORMAT, StreamRule
from monitor.traffic.formats.wire import (
    ABSENT,
    Identifier,
    Labels,
    Moment,
    Reason,
    Record,
    StreamName,
    decode,
    exact_id,
    label_texts,
    rejection,
    sensible_time,
)


class Line(Struct, gc=False):
    """A logged call. Bodies may be JSON strings; ``stream`` may be the flag of that name."""

    request: Request | str | None = None
    response: Response | str | None = None
    error: Raw = ABSENT
    id: Identifier | int | None = None
    request_id: Identifier | int | None = None
    time: Moment | None = None
    timestamp: Moment | None = None
    created: Moment | None = None
    stream: StreamName | bool | None = None
    target: str | None = None
    labels: Labels | None = None
    user_agent: str | None = None
    metadata: Raw = ABSENT
    # Of a body that stands alone:
    messages: Raw = ABSENT
    input: Raw = ABSENT
    role: Raw = ABSENT
    choices: Raw = ABSENT


class OpenAIChatFormat:
    """Parses logged chat completions, Responses and Anthropic messages."""

    unknown_keys = 0  # whatever else an API body holds is expected there
    duplicates = passed_over = 0

    def __init__(
        self,
        name: str = "openai",
        rule: StreamRule = BY_FORMAT,
        answers: AnswerPaths = USUAL_PATHS,
    ) -> None:
        self.name = name
        self._rule = rule
        self._answers = answers

    def recognises(self, keys: frozenset[str]) -> bool:
        is_pair = "request" in keys and not keys.isdisjoint({"response", "error"})
        return is_pair or any(alone <= keys for alone in _ALONE)

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        try:
            call = _call(decode(_decode_line, line), latest)
            call.lookup = within_json(line, "metadata", "request.metadata", "request")
            return (call.noted(self._rule, self._answers).wire(self._rule),)
        except RecordRejectedError as exc:
            return (rejection(exc, line),)

    def finish(self) -> Sequence[Record]:
        return ()

    def attempt(self) -> AbstractContextManager[None]:
        return nullcontext()


def _call(line: Line, latest: datetime) -> Call:
    request, response = line.request, line.response
    if request is None:
        raise _half(line)
    if isinstance(request, str):
        request = decode(_decode_request, request.encode())
    if isinstance(response, str):
        response = decode(_decode_response, response.encode())
    if response is None:
        raise RecordRejectedError(Reason.FAILED_CALL, "the response has no choices")
    said = response.text()
    name = line.stream if isinstance(line.stream, str) else None
    identifier = line.request_id or response.id if line.id is None else line.id
    time = line.time or line.timestamp or line.created or response.created or response.created_at
    stream = name or response.model or request.model
    if identifier is None or time is None or stream is None:
        raise RecordRejectedError(
            Reason.MISSING_FIELD, "expected an id, a time, and a stream or model"
        )
    return Call(
        id=exact_id(identifier),
        time=sensible_time(time, latest),
        stream=stream,
        query=request.query(),
        response=said,
        target=line.target,
        metadata=either(within_json(line.metadata), within_json(request.metadata)),
        labels={**labels_of(client=client_name(line.user_agent)), **label_texts(line.labels)},
        model=response.model or request.model,
        deployment=request.model,
    )


def _half(line: Line) -> RecordRejectedError:
    if any(value != ABSENT for value in (line.messages, line.input, line.role)):
        return RecordRejectedError(Reason.LOST_RESPONSE, "a request without its response")
    if line.choices != ABSENT:
        return RecordRejectedError(Reason.LOST_QUERY, "a response without its request")
    return RecordRejectedError(Reason.MISSING_FIELD, "expected request and response")


_ALONE = (
    frozenset({"messages", "model"}),
    frozenset({"input", "model"}),
    frozenset({"choices", "model"}),
    frozenset({"role", "content"}),
    frozenset({"role", "parts"}),
)
_decode_line = msgspec.json.Decoder(Line).decode
_decode_request = msgspec.json.Decoder(Request).decode
_decode_response = msgspec.json.Decoder(Response).decode
