"""OpenTelemetry's conventions for generative AI: spans, events, and the older event a message."""

import re
from datetime import datetime
from typing import Any

import msgspec

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.call import Call, client_name, labels_of
from monitor.traffic.formats.messages import Query, answer_of, messages_in, query_of
from monitor.traffic.formats.telemetry import Plain, Telemetry
from monitor.traffic.formats.uploads import Uploads
from monitor.traffic.formats.wire import Reason, decode

DETAILS = "gen_ai.client.inference.operation.details"
_USER, _CHOICE = "gen_ai.user.message", "gen_ai.choice"
_INPUT, _OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_TOLD = (_INPUT, _OUTPUT, "gen_ai.request.model", "gen_ai.response.model", "gen_ai.response.id")
_BEFORE = {_INPUT: "gen_ai.prompt.", _OUTPUT: "gen_ai.completion."}
_UNNAMED = "unknown_service"  # what SDKs call a service that nobody named
# An agent's span repeats what its calls of the model say.
_NO_CHAT = frozenset(
    ["embeddings", "execute_tool", "create_agent", "invoke_agent", "invoke_workflow", "retrieval"]
)
# Another record of the call may have what this one has lost.
_LOST = frozenset({Reason.NO_CONTENT, Reason.LOST_QUERY, Reason.BROKEN_JSON})


def genai_call(record: Telemetry, latest: datetime, uploads: Uploads) -> Call | None:
    """What a span or log record tells of a call; None if it is about none.

    Raises:
        RecordRejectedError: if nothing can be made of it.
    """
    if record.name in {_USER, _CHOICE} and not record.is_span:
        return _message(record, latest)
    if not record.is_span and record.name != DETAILS:
        return None
    if record.text("gen_ai.operation.name") in _NO_CHAT:
        return None
    if not any(key in record.attributes for key in _TOLD):
        return None
    response = _response(record, uploads)
    if record.is_failed and response is None:
        raise RecordRejectedError(Reason.FAILED_CALL, "the span ended with an error")
    call = call_about(record, latest, record.text("gen_ai.response.id"))
    call.stream = record.text("gen_ai.response.model", "gen_ai.request.model")
    call.query = _query(record, uploads)
    call.response = response
    return call


def call_about(record: Telemetry, latest: datetime, response_id: str | None) -> Call:
    """A call named as every record of it names it.

    Raises:
        RecordRejectedError: if it has no id or no sensible time.
    """
    names = [record.text("litellm.call_id"), record.id, response_id]
    known = [name for name in names if name is not None]
    if not known:
        raise RecordRejectedError(Reason.BAD_ID, "expected a trace and span id or a response id")
    service = record.fact("service.name")
    return Call(
        id=known[0],
        time=record.time(latest),
        service=service,
        labels=labels_of(
            service=service if service and not service.startswith(_UNNAMED) else None,
            environment=record.fact("deployment.environment.name", "deployment.environment"),
            provider=record.text("gen_ai.provider.name", "gen_ai.system", "llm.system"),
            client=client_name(
                record.text("user_agent.original", "metadata.user_agent") or record.scope
            ),
        ),
        aliases=(*known[1:], record.trace) if record.trace else tuple(known[1:]),
        twin=f"{record.trace}|{response_id}" if record.trace and response_id else None,
        interval=(record.start, record.end),
        deployment=record.text("gen_ai.request.model"),
        lookup=record.look_up,
        metadata=record.look_up,
    )


def _query(record: Telemetry, uploads: Uploads) -> Query | None:
    value = _content(record, _INPUT, uploads)
    if value is None:
        return None
    try:
        messages, is_cut = messages_in(value)
        return query_of(messages, is_cut=is_cut)
    except RecordRejectedError as exc:
        if exc.reason in _LOST:
            return None
        raise


def _response(record: Telemetry, uploads: Uploads) -> str | None:
    value = _content(record, _OUTPUT, uploads)
    if value is None:
        return None
    try:
        messages, _ = messages_in(value)
    except RecordRejectedError as exc:
        if exc.reason in _LOST:
            return None
        raise
    text = answer_of(messages[:1])
    if not text and messages and messages[0].parts:
        raise RecordRejectedError(Reason.NO_CONTENT, "expected an answer with a text")
    return text or None


def _content(record: Telemetry, key: str, uploads: Uploads) -> Plain:
    if (value := record.attributes.get(key)) is not None:
        return value
    if ref := record.text(f"{key}_ref"):
        return uploads.read(ref)
    return _numbered(record, _BEFORE[key]) or None


def _numbered(record: Telemetry, prefix: str) -> list[Plain]:
    """The messages that openllmetry wrote before there was a convention: an attribute a field."""
    found: dict[int, dict[str, Plain]] = {}
    for key, value in record.attributes.items():
        leaf = _NUMBERED.fullmatch(key) if key.startswith(prefix) else None
        if leaf is not None and isinstance(value, str):
            found.setdefault(int(leaf["at"]), {})[leaf["field"]] = _parts(value)
    return [found[at] for at in sorted(found)]


def _parts(content: str) -> Plain:
    if not content.startswith("[{"):
        return content
    try:
        return list(decode(_decode_parts, content.encode()))
    except RecordRejectedError:
        return content


def _message(record: Telemetry, latest: datetime) -> Call | None:
    body = record.body if isinstance(record.body, dict) else {}
    call = call_about(record, latest, None)
    if record.name == _USER:
        call.is_turn = True
        if body.get("content"):
            messages, _ = messages_in([{"role": "user", "content": body["content"]}])
            call.query = query_of(messages)
        return call
    if body.get("index", 0) not in (0, "0"):  # a list would have no hash
        return None
    messages, _ = messages_in([body.get("message") or {}])
    call.response = answer_of(messages) or None
    return call


_NUMBERED = re.compile(r"gen_ai\.(?:prompt|completion)\.(?P<at>\d{1,6})\.(?P<field>role|content)")
_decode_parts = msgspec.json.Decoder(list[dict[str, Any]]).decode
