"""Langfuse: its attributes on spans, the batches of its older clients, and its scores."""

import re
from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.answers import USUAL_PATHS, AnswerPaths
from monitor.traffic.formats.bodies import request_in, response_in
from monitor.traffic.formats.call import (
    Call,
    Label,
    Piece,
    client_name,
    labels_of,
)
from monitor.traffic.formats.genai import call_about
from monitor.traffic.formats.lookup import text_of, within_json
from monitor.traffic.formats.telemetry import SPAN_BYTES, TRACE_BYTES, Telemetry, hex_id
from monitor.traffic.formats.wire import (
    ABSENT,
    Identifier,
    Moment,
    Reason,
    decode,
    rejection,
    sensible_time,
)

KIND = "langfuse.observation.type"
_CORRECTION = "output"
_INPUT, _OUTPUT = "langfuse.observation.input", "langfuse.observation.output"
_METADATA = "langfuse.observation.metadata."


def langfuse_call(record: Telemetry, latest: datetime) -> Call | None:
    """What a span tells of a call; None if it is about none.

    Raises:
        RecordRejectedError: if nothing can be made of it.
    """
    if record.text(KIND) != "generation":
        return None
    asked, said = record.text(_INPUT), record.text(_OUTPUT)
    if record.is_failed and said is None:
        raise RecordRejectedError(Reason.FAILED_CALL, "the span ended with an error")
    answer = response_in(said) if said else None
    call = call_about(record, latest, answer.id if answer else None)
    call.stream = record.text("langfuse.observation.model.name", "gen_ai.request.model")
    call.query = request_in(asked).query() if asked else None
    call.response = answer.text() if answer else None
    return call


class Body(Struct, gc=False, rename="camel"):
    """A generation, whole or what is to change of it, or a score."""

    id: Identifier | None = None
    trace_id: Identifier | None = None
    observation_id: Identifier | None = None
    type: str | None = None
    input: Raw = ABSENT
    output: Raw = ABSENT
    model: str | None = None
    level: str | None = None
    environment: str | None = None
    metadata: Raw = ABSENT
    start_time: Moment | None = None
    end_time: Moment | None = None
    timestamp: Moment | None = None
    name: str | None = None
    value: Raw = ABSENT


class Event(Struct, gc=False):
    """One entry of a batch; ``timestamp`` is when it was written."""

    type: str = ""
    timestamp: Moment | None = None
    body: Body | None = None


class Batch(Struct, gc=False):
    """The body of ``POST /api/public/ingestion``."""

    batch: list[Raw]
    metadata: Raw = ABSENT


class LangfuseFormat:
    """Parses batches, and scores as they are sent alone; an update may come before its create."""

    name = "langfuse"

    def __init__(self, answers: AnswerPaths = USUAL_PATHS) -> None:
        self.passed_over = 0
        # A score of such a name is the answer that should have been given.
        self._corrections = frozenset({_CORRECTION, *answers.paths})

    def recognises(self, keys: frozenset[str]) -> bool:
        return "batch" in keys or {"traceId", "name", "value"} <= keys

    def pieces(self, line: bytes, latest: datetime) -> Iterator[Piece | Rejection]:
        try:
            batch = decode(_decode_batch, line)
        except RecordRejectedError as exc:
            score = decode(_decode_body, line)
            if exc.reason != Reason.MISSING_FIELD or score.trace_id is None:
                raise
            yield from self._told(self._label(score, score.timestamp, latest))
            return
        client = client_name(text_of(within_json(batch.metadata)("sdk_name")))
        for raw in batch.batch:
            try:
                piece = self._piece(decode(_decode_event, raw), latest)
                if isinstance(piece, Call):
                    piece.labels = {**piece.labels, **labels_of(client=client)}
                    piece.lookup = within_json(raw, "body.metadata", "body")
                yield from self._told(piece)
            except RecordRejectedError as exc:
                yield rejection(exc, bytes(raw))

    def _piece(self, event: Event, latest: datetime) -> Piece | None:
        body = event.body
        if body is None:
            return None
        if event.type == "score-create":
            return self._label(body, body.timestamp or event.timestamp, latest)
        return _generation(event, body, latest)

    def _label(self, score: Body, time: Moment | None, latest: datetime) -> Label | None:
        if score.name not in self._corrections or score.trace_id is None:
            return None
        if time is None:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected a timestamp")
        target = _text(score.value)
        if not target:
            return None
        key = _trace(score.trace_id)
        if score.observation_id is not None:
            key = _named(score.trace_id, score.observation_id)
        return Label(key, sensible_time(time, latest), target)

    def _told(self, piece: Piece | None) -> Iterator[Piece]:
        if piece is None:
            self.passed_over += 1
        else:
            yield piece


def _generation(event: Event, body: Body, latest: datetime) -> Call | None:
    is_generation = event.type in {"generation-create", "generation-update"}
    is_observation = event.type in {"observation-create", "observation-update"}
    if not is_generation and not (is_observation and body.type == "GENERATION"):
        return None
    time = body.end_time or body.start_time or event.timestamp
    if body.id is None or time is None:
        raise RecordRejectedError(Reason.MISSING_FIELD, "expected an id and a time")
    if body.level == "ERROR" and body.output == ABSENT:
        raise RecordRejectedError(Reason.FAILED_CALL, "the generation ended with an error")
    return Call(
        id=_named(body.trace_id, body.id),
        time=sensible_time(time, latest),
        stream=body.model,
        query=request_in(body.input).query() if body.input != ABSENT else None,
        response=response_in(body.output).text() if body.output != ABSENT else None,
        labels=labels_of(environment=body.environment),
        metadata=within_json(body.metadata),
        aliases=(body.id, body.trace_id) if body.trace_id else (body.id,),
    )


def _named(trace: str | None, observation: str) -> str:
    """As spans are named, since that is what newer clients send the same observation as."""
    if trace is None:
        return observation
    return f"{_trace(trace)}:{hex_id(observation, SPAN_BYTES) or observation}"


def _trace(trace: str) -> str:
    return (hex_id(trace, TRACE_BYTES) if _HEX.fullmatch(trace) else "") or trace


def _text(value: Raw) -> str | None:
    try:
        text: str | None = decode(_decode_text, value)
    except RecordRejectedError:
        return None
    return text


_HEX = re.compile(r"[\da-fA-F]{32}")
_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_body = msgspec.json.Decoder(Body).decode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_text = msgspec.json.Decoder(str | None).decode
