"""Rows of tables and of Parquet files as the lines that formats read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

NEEDED = ("time", "stream", "query", "response")
NATIVE = ("id", *NEEDED, "target", "labels", "images")


def native_line(row: Mapping[Any, Any], *, or_id: object) -> bytes:
    """A native record of the columns ``NATIVE``; ``or_id`` is its id where there is no such."""
    record: dict[str, object] = {
        "id": str(row.get("id", or_id)),
        "time": _moment(row["time"]),
        "stream": row["stream"],
        "query": {"text": row["query"], "images": _raw(row.get("images"))},
        "response": row["response"],
        "target": row.get("target"),
        "labels": _raw(_labels(row.get("labels"))),
    }
    return _encode(record)


def json_of(value: object) -> bytes:
    """JSON, which some drivers give as text; nothing where there is nothing."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytes | memoryview) else _encode(value)


def _moment(value: object) -> object:
    """A time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _raw(value: object) -> object:
    return msgspec.Raw(json_of(value)) if isinstance(value, str | bytes) and value else value


def _labels(value: object) -> object:
    """Maps of Parquet come as pairs, and its structures have every key in every row."""
    if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
        value = dict(value)
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


_encode = msgspec.json.Encoder(enc_hook=str).encode
