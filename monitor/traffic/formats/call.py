"""What one record tells of a call. Whatever it leaves out, another record of the call may tell."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Raw, Struct
from msgspec.structs import replace

from monitor.errors import RecordRejectedError
from monitor.records import Exchange, Rejection
from monitor.traffic.formats.answers import USUAL_PATHS, AnswerPaths
from monitor.traffic.formats.lookup import Lookup, nowhere
from monitor.traffic.formats.messages import Query, image_of
from monitor.traffic.formats.streams import BY_FORMAT, DEPLOYMENT, MODEL, StreamRule
from monitor.traffic.formats.wire import MAX_ID_CHARS, Caps, Reason, Wire, clean, exact_id

MAX_ALIASES = 8
_VERSION = re.compile(r"(?:[/ ]+v?\d|\s*[(;,]).*", re.DOTALL)
_REDACTED = frozenset({"redacted-by-litellm", "__REDACTED__"})


class Call(Struct):
    """A call as far as it is known.

    ``id`` is the same in every record of the call, save for those of nested instrumentations: they
    share ``twin`` and the ``interval`` of one holds that of the other. ``aliases`` are further
    names that labels and other logs may call it by; they need not be unique. ``stream`` is the
    model or its route; ``service`` stands in for it where no record of the call names one.
    ``is_turn``: the query is one message of several, which are told one by one. ``lookup``, and
    ``metadata`` in what the application said of the call, find further values in the record, until
    ``noted`` has taken ``parts`` of the stream's name and the target from it.
    """

    id: str
    time: datetime
    stream: str | None = None
    query: Query | None = None
    response: str | None = None
    target: str | None = None
    labels: Mapping[str, str] = {}
    service: str | None = None
    aliases: tuple[str, ...] = ()
    twin: str | None = None
    interval: tuple[int, int] | None = None
    is_turn: bool = False
    model: str | None = None
    deployment: str | None = None
    lookup: Lookup = nowhere
    metadata: Lookup = nowhere
    parts: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        self.id = exact_id(self.id)
        self.aliases = tuple(name for name in self.aliases if len(name) <= MAX_ID_CHARS)
        if self.twin is not None and len(self.twin) > 2 * MAX_ID_CHARS:
            self.twin = None

    @property
    def is_complete(self) -> bool:
        return bool(self.stream) and self.query is not None and self.response is not None

    def joined(self, other: "Call") -> "Call":
        """What both records tell together; where they differ, this one holds."""
        query = self.query or other.query
        if self.query and other.query and (self.is_turn or other.is_turn):
            before = self.query
            query = replace(
                other.query,
                context_turns=before.context_turns + 1,
                context_images=before.context_images + len(before.images),
            )
        return replace(
            self,
            # The time of the answer is that of the exchange, whichever record comes first.
            time=other.time if self.response is None and other.response else self.time,
            stream=self.stream or other.stream,
            query=query,
            response=self.response or other.response,
            target=self.target if self.target is not None else other.target,
            labels={**other.labels, **self.labels},
            aliases=_names(self, other),
            service=self.service or other.service,
            parts={**other.parts, **self.parts},
        )

    def noted(self, rule: StreamRule, answers: AnswerPaths = USUAL_PATHS) -> "Call":
        """The same with what is looked for in its record, and without the record."""
        if self.target is None:
            self.target = answers.find(self.metadata, self.lookup)
        known = {MODEL: self.model, DEPLOYMENT: self.deployment}
        self.parts = {**self.parts, **rule.parts(self.lookup, self.labels, known)}
        self.lookup = self.metadata = nowhere
        return self

    def kept(self) -> "Call":
        """The same without holding on to the line that it was read from."""
        if self.query is None:
            return self
        images = [i.copy() if isinstance(i, Raw) else i for i in self.query.images]
        return replace(self, query=replace(self.query, images=images))

    def held_bytes(self) -> int:
        """About what it takes in memory."""
        query = self.query
        if query is None:
            return len(self.response or "") + len(self.target or "")
        images = sum(len(memoryview(i)) for i in query.images if isinstance(i, Raw))
        texts = (query.text, self.response, self.target)
        return images + sum(len(text or "") for text in texts)

    def wire(self, rule: StreamRule = BY_FORMAT) -> Wire:
        """The record of an exchange; its stream is called as the rule says.

        Raises:
            RecordRejectedError: if the half of it is missing, or a logger took the texts away.
        """
        if self.response is None and self.query is None:
            raise RecordRejectedError(Reason.NO_CONTENT, "no record brought the messages")
        if self.query is None:
            raise RecordRejectedError(Reason.LOST_QUERY, "no record brought the query")
        if self.response is None:
            raise RecordRejectedError(Reason.LOST_RESPONSE, "no record brought the response")
        if not _REDACTED.isdisjoint((self.query.text, self.response)):
            raise RecordRejectedError(Reason.REDACTED, "the logger is set to leave texts out")
        stream = rule.name(self.stream or self.service or "", self.parts)
        if not stream:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected the name of a model")
        return Wire(self.id, self.time, stream, self)

    def exchange(self, wire: Wire, caps: Caps) -> Exchange:
        assert self.query is not None  # noqa: S101 - `wire` made sure of both
        assert self.response is not None  # noqa: S101
        return Exchange(
            id=wire.id,
            time=wire.time,
            stream=wire.stream,
            text=clean(self.query.text, caps.max_text_chars),
            response=clean(self.response, caps.max_text_chars),
            images=tuple(image_of(image, caps) for image in self.query.images),
            target=None if self.target is None else clean(self.target, caps.max_text_chars),
            labels={**self.labels, **context_labels(self.query)},
            aliases=_names(self),
        )


class Label(Struct, gc=False):
    """A target told apart from its call; ``key`` is the id or an alias of that."""

    key: str
    time: datetime
    target: str

    def __post_init__(self) -> None:
        self.key = exact_id(self.key)


Piece = Call | Label


class PieceFormat(Protocol):
    """A format whose records may tell a part of a call each. ``passed_over`` counts the others."""

    name: str
    passed_over: int

    def recognises(self, keys: frozenset[str]) -> bool: ...

    def pieces(self, line: bytes, latest: datetime) -> Iterable[Piece | Rejection]: ...


def _names(*calls: Call) -> tuple[str, ...]:
    """What else the first of these may be called; the first names are the most exact."""
    names = dict.fromkeys(name for call in calls for name in (call.id, *call.aliases) if name)
    return tuple(names)[1 : 1 + MAX_ALIASES]


def context_labels(query: Query) -> dict[str, str]:
    """What came before the query in a chat of several turns."""
    if not query.context_turns:
        return {}
    return {
        "context_turns": str(query.context_turns),
        "context_images": str(query.context_images),
    }


def labels_of(**values: object) -> dict[str, str]:
    """Labels of those values that are there."""
    return {key: clean(str(value), 200) for key, value in values.items() if value}


def client_name(agent: str | None) -> str | None:
    """Who called, by a user agent or the name of an instrumentation, without versions."""
    return _VERSION.sub("", agent)[:64] if agent else None
