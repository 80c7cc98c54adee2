"""Formats by name, and the one that looks at each line to tell."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Raw

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.native import NativeFormat
from monitor.traffic.formats.openai_chat import OpenAIChatFormat
from monitor.traffic.formats.wire import Format, Reason, Record, decode, rejection

AUTO = "auto"
NAMES = (AUTO, NativeFormat.name, OpenAIChatFormat.name)


def format_named(name: str, *, label_keys: Sequence[str] = ()) -> Format:
    """A fresh instance of the format with one of ``NAMES``."""
    formats = {f.name: f for f in (NativeFormat(label_keys), OpenAIChatFormat())}
    return AutoFormat(tuple(formats.values())) if name == AUTO else formats[name]


class AutoFormat:
    """Tells formats by their top-level keys; tries first what fitted last."""

    name = AUTO

    def __init__(self, formats: Sequence[Format]) -> None:
        self._formats = tuple(formats)
        self._last = self._formats[0]

    @property
    def unknown_keys(self) -> int:
        return sum(f.unknown_keys for f in self._formats)

    def recognises(self, keys: frozenset[str]) -> bool:
        return any(f.recognises(keys) for f in self._formats)

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        records = self._last.parse(line, latest)
        if not (len(records) == 1 and isinstance(records[0], Rejection)):
            return records
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


_decode_keys = msgspec.json.Decoder(dict[str, Raw]).decode
