"""Formats by name, and the one that looks at each line to tell."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from msgspec import Raw

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.call import PieceFormat
from monitor.traffic.formats.joined import JoinedFormat
from monitor.traffic.formats.kserve import KServeFormat
from monitor.traffic.formats.langfuse import LangfuseFormat
from monitor.traffic.formats.litellm import LiteLLMFormat
from monitor.traffic.formats.mlflow import MlflowFormat
from monitor.traffic.formats.native import NativeFormat
from monitor.traffic.formats.openai_chat import OpenAIChatFormat
from monitor.traffic.formats.otlp import OtlpFormat, Reader, logs_reader, traces_reader
from monitor.traffic.formats.reading import AS_LOGGED, Reading
from monitor.traffic.formats.wire import (
    MAX_RECORDS,
    Format,
    Reason,
    Record,
    decode,
    rejection,
    too_many_records,
)
from monitor.traffic.joining import Joiner

AUTO = "auto"
_JOINED: dict[str, Callable[[Reading], PieceFormat]] = {
    "otlp": lambda reading: OtlpFormat(reading.uploads),
    "litellm": lambda _: LiteLLMFormat(),
    "langfuse": lambda reading: LangfuseFormat(reading.answers),
    "mlflow": lambda _: MlflowFormat(),
    "kserve": lambda _: KServeFormat(),
}
NAMES = (AUTO, "native", "openai", "anthropic", *_JOINED)
# Whole messages of a source that has such, named like the Collector's topics.
IN_PROTOBUF: dict[str, Callable[[str], Reader]] = {
    "otlp_spans": traces_reader,
    "otlp_logs": logs_reader,
}


def format_named(
    name: str, reading: Reading = AS_LOGGED, *, joiner: Joiner | None = None
) -> Format:
    """A fresh instance of the format with one of ``NAMES``, or of the two in protobuf.

    Give one ``joiner``, made for the same ``reading``, to the formats of all sources that may
    tell of the same calls.
    """
    native = NativeFormat(reading.label_keys, reading.streams, reading.answers)
    if name == "native":
        return native
    if name in {"openai", "anthropic"}:
        return OpenAIChatFormat(name, reading.streams, reading.answers)
    joiner = joiner or Joiner(rule=reading.streams, answers=reading.answers)
    if reader := IN_PROTOBUF.get(name):
        return JoinedFormat(OtlpFormat(reading.uploads, reader("application/x-protobuf")), joiner)
    joined: list[Format] = [
        JoinedFormat(make(reading), joiner) for key, make in _JOINED.items() if name in {AUTO, key}
    ]
    if name == AUTO:
        bodies = OpenAIChatFormat(rule=reading.streams, answers=reading.answers)
        return AutoFormat([native, *joined, bodies], joiner)
    return AutoFormat(joined, joiner, name)


class AutoFormat:
    """Takes arrays apart and tells formats by top-level keys; tries first what fitted last."""

    def __init__(self, formats: Sequence[Format], joiner: Joiner, name: str = AUTO) -> None:
        self.name = name
        self.attempt = joiner.attempt
        self.finish = joiner.flush
        self._joiner = joiner
        self._formats = tuple(formats)
        self._last = self._formats[0]

    @property
    def unknown_keys(self) -> int:
        return sum(f.unknown_keys for f in self._formats)

    @property
    def duplicates(self) -> int:
        return self._joiner.duplicates

    @property
    def passed_over(self) -> int:
        return sum(f.passed_over for f in self._formats)

    def recognises(self, keys: frozenset[str]) -> bool:
        return any(f.recognises(keys) for f in self._formats)

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        records = self._last.parse(line, latest)
        if not _is_refused(records):
            return records
        elements = _elements(line)
        if len(elements) > MAX_RECORDS:
            return (rejection(too_many_records(), line),)
        if elements:
            return [
                record for element in elements for record in self._element(bytes(element), latest)
            ]
        return self._otherwise(line, latest, records)

    def _element(self, line: bytes, latest: datetime) -> Sequence[Record]:
        records = self._last.parse(line, latest)
        return self._otherwise(line, latest, records) if _is_refused(records) else records

    def _otherwise(
        self, line: bytes, latest: datetime, records: Sequence[Record]
    ) -> Sequence[Record]:
        try:
            keys = frozenset(decode(_decode_keys, line))
        except RecordRejectedError:
            return records
        meant = next((f for f in self._formats if f.recognises(keys)), None)
        if meant is None:
            error = RecordRejectedError(
                Reason.UNKNOWN_FORMAT,
                "expected the keys of one of: " + ", ".join(f.name for f in self._formats),
            )
            return (rejection(error, line),)
        if meant is self._last:
            return records
        self._last = meant
        return meant.parse(line, latest)


def _elements(line: bytes) -> list[Raw]:
    """What is in an array of records; nothing if it is none."""
    if not _ARRAY.match(line):
        return []
    try:
        elements: list[Raw] = decode(_decode_elements, line)
    except RecordRejectedError:
        return []
    return elements


def _is_refused(records: Sequence[Record]) -> bool:
    return len(records) == 1 and isinstance(records[0], Rejection)


_ARRAY = re.compile(rb"\s*\[\s*\{")
_decode_keys = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_elements = msgspec.json.Decoder(list[Raw]).decode
