"""OpenInference: a chat flattened into one attribute for each leaf."""

import re
from collections.abc import Mapping
from datetime import datetime

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.bodies import Response, request_in, response_in
from monitor.traffic.formats.call import Call
from monitor.traffic.formats.genai import call_about
from monitor.traffic.formats.lookup import text_of
from monitor.traffic.formats.messages import Message, Query, answer_of, messages_in, query_of
from monitor.traffic.formats.telemetry import Plain, Telemetry
from monitor.traffic.formats.wire import Reason

KIND = "openinference.span.kind"
MAX_MESSAGES = 4_096


def openinference_call(record: Telemetry, latest: datetime) -> Call | None:
    """What a span tells of a call; None if it is about none.

    Raises:
        RecordRejectedError: if nothing can be made of it.
    """
    if record.text(KIND) != "LLM":
        return None
    answer = _output(record)
    response = answer_of(_messages(record.attributes, "output")) or _text_of(answer)
    if record.is_failed and not response:
        raise RecordRejectedError(Reason.FAILED_CALL, "the span ended with an error")
    call = call_about(record, latest, answer.id if answer else None)
    call.stream = record.text("llm.model_name") or (answer.model if answer else None)
    asked = text_of(record.look_up("llm.invocation_parameters.model"))
    call.deployment = call.deployment or asked
    call.query = _query(record)
    call.response = response
    return call


def _query(record: Telemetry) -> Query | None:
    messages = _messages(record.attributes, "input")
    try:
        if messages:
            return query_of(messages)
        value = record.text("input.value")
        return request_in(value).query() if value else None
    except RecordRejectedError as exc:
        if exc.reason in {Reason.NO_CONTENT, Reason.BROKEN_JSON}:
            return None
        raise


def _output(record: Telemetry) -> Response | None:
    # The id of the response is nowhere else.
    value = record.text("output.value")
    try:
        return response_in(value) if value else None
    except RecordRejectedError:
        return None


def _text_of(answer: Response | None) -> str | None:
    try:
        return answer.text() if answer else None
    except RecordRejectedError:
        return None


def _messages(attributes: Mapping[str, Plain], direction: str) -> list[Message]:
    """The messages in order. Where a limit dropped the oldest, empty ones stand for them."""
    found: dict[int, dict[str, Plain]] = {}
    parts: dict[int, dict[int, dict[str, Plain]]] = {}
    for key, value in attributes.items():
        leaf = _LEAF.fullmatch(key)
        if leaf is None or leaf["direction"] != direction or not isinstance(value, str):
            continue
        at = int(leaf["message"])
        if at >= MAX_MESSAGES:
            continue
        message = found.setdefault(at, {})
        if leaf["plain"]:
            message[leaf["plain"]] = value
        else:
            part = parts.setdefault(at, {}).setdefault(int(leaf["part"]), {})
            part[_PART_KEYS[leaf["leaf"]]] = value
    for at, pieces in parts.items():
        found[at]["content"] = [_part(pieces[i]) for i in sorted(pieces)]
    return messages_in([found.get(at, {}) for at in range(max(found, default=-1) + 1)])[0]


def _part(part: dict[str, Plain]) -> Plain:
    return part | {"type": "image_url"} if "image_url" in part else part


_PART_KEYS = {"type": "type", "text": "text", "image.image.url": "image_url"}
_LEAF = re.compile(
    r"llm\.(?P<direction>input|output)_messages\.(?P<message>\d{1,6})\.message\."
    r"(?:(?P<plain>role|content)"
    r"|contents\.(?P<part>\d{1,6})\.message_content\.(?P<leaf>type|text|image\.image\.url))"
)
