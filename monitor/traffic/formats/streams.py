"""What streams are called: by the model, or by whatever the operator tells them apart by."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.traffic.formats.lookup import Lookup, text_of
from monitor.traffic.formats.wire import clean

MAX_STREAM_CHARS = 200
STREAM, MODEL, DEPLOYMENT = "stream", "model", "deployment"
UNKNOWN = "unknown"
_OWN = frozenset({STREAM, MODEL, DEPLOYMENT})


@dataclass(frozen=True, slots=True)
class StreamRule:
    """The parts of a stream's name; without any it is called as its format calls it.

    ``stream``, ``model`` and ``deployment`` are what each format takes for them; where it has no
    model or deployment, what it calls the stream stands in. All else is a label, or the path of a
    value in the record; where there is none, ``unknown``.
    """

    by: tuple[str, ...] = ()

    def parts(
        self, lookup: Lookup, labels: Mapping[str, str], known: Mapping[str, str | None]
    ) -> dict[str, str]:
        """What one record tells of the name. ``known`` are its model and deployment."""
        found: dict[str, str] = {}
        for part in self.by:
            value = known.get(part) if part in _OWN else labels.get(part) or text_of(lookup(part))
            if value:
                found[part] = value[:MAX_STREAM_CHARS]  # held as long as the call is
        return found

    def name(self, own: str, parts: Mapping[str, str]) -> str:
        """The name of the stream that its format calls ``own``; empty if there is none."""
        if not self.by:
            return clean(own, MAX_STREAM_CHARS)
        texts = [parts.get(part) or (own if part in _OWN else UNKNOWN) for part in self.by]
        if not all(texts):
            return ""
        # Each part has its share, so that a long one does not push the next out of the name.
        share = (MAX_STREAM_CHARS + 1) // len(texts) - 1
        return "/".join(clean(text, share) for text in texts)


BY_FORMAT = StreamRule()
