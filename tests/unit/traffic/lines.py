"""Lines of traffic for tests, and what parsing them gives."""

import json
from datetime import UTC, datetime, timedelta

from monitor.records import Exchange, Rejection
from monitor.traffic.formats.wire import Caps, Format, Record, Wire

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATEST = NOON + timedelta(days=1)
PNG = "iVBORw0KGgo="


def native(**changes: object) -> bytes:
    """A native line; a field given as None is left out."""
    line: dict[str, object] = {
        "id": "req-1",
        "time": "2026-03-01T12:00:00Z",
        "stream": "live",
        "query": {"text": "What is unusual?"},
        "response": "A man is ironing.",
    }
    return _line(line | changes)


def chat(**changes: object) -> bytes:
    """A logged chat completion; a field given as None is left out."""
    line: dict[str, object] = {
        "request": request("What is in this image?"),
        "response": answer("A cat."),
    }
    return _line(line | changes)


def request(*contents: object) -> dict[str, object]:
    messages = [{"role": "user", "content": content} for content in contents]
    return {
        "model": "requested",
        "messages": [{"role": "system", "content": "Be kind."}, *messages],
    }


def answer(content: object, **message: object) -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    return {"id": "chatcmpl-1", "created": 1772366400, "model": "served", "choices": [choice]}


def records(form: Format, line: bytes) -> list[Record]:
    return list(form.parse(line, LATEST))


def exchange(form: Format, line: bytes, caps: Caps | None = None) -> Exchange:
    (record,) = records(form, line)
    assert isinstance(record, Wire), record
    return record.exchange(caps or Caps())


def refusal(form: Format, line: bytes) -> Rejection:
    (record,) = records(form, line)
    assert isinstance(record, Rejection), record
    return record


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()
