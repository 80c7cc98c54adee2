"""Payloads captured from real clients, read as the way they came in would read them."""

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from monitor.records import Exchange, Rejection
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.joined import JoinedFormat
from monitor.traffic.formats.otlp import OtlpFormat, logs_reader, traces_reader
from monitor.traffic.formats.reading import Reading
from monitor.traffic.formats.uploads import Uploads
from monitor.traffic.formats.wire import Format, Record, Wire
from monitor.traffic.joining import Joiner

FOLDER = Path(__file__).parents[2] / "fixtures" / "traffic" / "captured"
LATEST = datetime(2026, 12, 1, tzinfo=UTC)
PROTOBUF = "application/x-protobuf"


def payload(name: str) -> bytes:
    body = (FOLDER / name).read_bytes()
    return gzip.decompress(body) if name.endswith(".gz") else body


def lines(name: str) -> list[bytes]:
    """What is parsed at once: a line of a log, or a whole body."""
    body = payload(name)
    return [body] if ".pb" in name else [line for line in body.splitlines() if line.strip()]


def format_of(name: str, joiner: Joiner, uploads: Uploads | None = None) -> Format:
    uploads = uploads or Uploads()
    if ".pb" not in name:
        return format_named("auto", Reading(uploads=uploads), joiner=joiner)
    read = logs_reader(PROTOBUF) if "_logs" in name else traces_reader(PROTOBUF)
    return JoinedFormat(OtlpFormat(uploads, read), joiner)


def read(*names: str, joiner: Joiner | None = None, uploads: Uploads | None = None) -> list[Record]:
    """The records of payloads that tell of the same traffic, with what is left at its end."""
    joiner = joiner or Joiner()
    records: list[Record] = []
    for name in names:
        form = format_of(name, joiner, uploads)
        records += [record for line in lines(name) for record in form.parse(line, LATEST)]
    return records + joiner.flush()


def exchanges(records: Sequence[Record]) -> list[Exchange]:
    return [record.exchange() for record in records if isinstance(record, Wire)]


def reasons(records: Sequence[Record]) -> list[str]:
    return [record.reason for record in records if isinstance(record, Rejection)]
