"""Where reference answers stand in records, as the operator names the places."""

from dataclasses import dataclass

import msgspec

from monitor.traffic.formats.lookup import Lookup

# Where people put the reference answer; no convention names a place for it.
TARGET_KEYS = ("reference_answer", "expected_output", "expected_response", "ground_truth")


@dataclass(frozen=True, slots=True)
class AnswerPaths:
    """Names in the metadata of a call, or paths with dots in its record, in the order of trial.

    Metadata are at hand wherever a record was decoded; for a path it is decoded once more.
    """

    paths: tuple[str, ...] = TARGET_KEYS

    def find(self, metadata: Lookup, record: Lookup) -> str | None:
        """The first text that is there."""
        places = ((look, path) for path in self.paths for look in (metadata, record))
        wanted = ((look, path) for look, path in places if look is metadata or "." in path)
        found = (_text(look(path)) for look, path in wanted)
        return next((text for text in found if text), None)


USUAL_PATHS = AnswerPaths()


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    if not value.startswith('"'):
        return value
    try:  # attributes of telemetry may hold JSON texts
        return msgspec.json.decode(value, type=str)
    except msgspec.MsgspecError:
        return value
