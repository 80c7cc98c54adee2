"""Logged OpenAI chat completions: a line with the request's and the response's body."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.records import Exchange
from monitor.traffic.formats.images import image_from_text, logged_image
from monitor.traffic.formats.wire import (
    ABSENT,
    MAX_IMAGES,
    Caps,
    Identifier,
    Labels,
    Moment,
    Reason,
    Record,
    StreamName,
    Wire,
    clean,
    decode,
    label_texts,
    rejection,
    wire,
)


class ImageUrl(Struct, gc=False):
    """Where an image part has its image: a data URI or an address."""

    url: Raw = ABSENT


class Part(Struct, gc=False):
    """A piece of a message; other kinds than text and images are passed over."""

    type: str = ""
    text: str | None = None
    image_url: ImageUrl | str | None = None


class Message(Struct, gc=False):
    """One turn. ``refusal`` is the answer where the model declined."""

    role: str = ""
    content: str | list[Part] | None = None
    refusal: str | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(p.text for p in self.content if p.type == "text" and p.text)
        return self.content or self.refusal or ""

    def images(self) -> list[ImageUrl | str]:
        parts = self.content if isinstance(self.content, list) else ()
        return [part.image_url for part in parts if part.image_url is not None]


class Choice(Struct, gc=False):
    """One of the answers; the first is the one that counts."""

    message: Message | None = None


class Request(Struct, gc=False):
    """Body of the call."""

    messages: list[Message] = []
    model: StreamName | None = None


class Response(Struct, gc=False):
    """Body of the answer."""

    id: Identifier | None = None
    created: Moment | None = None
    model: StreamName | None = None
    choices: list[Choice] | None = None
    error: Raw = ABSENT


class Line(Struct, gc=False):
    """A logged call. Bodies may be JSON strings; ``stream`` may be the flag of that name."""

    request: Request | str
    response: Response | str | None = None
    error: Raw = ABSENT
    id: Identifier | int | None = None
    request_id: Identifier | int | None = None
    time: Moment | None = None
    timestamp: Moment | None = None
    created: Moment | None = None
    stream: StreamName | bool | None = None
    target: str | None = None
    labels: Labels | None = None


class Call(Struct, gc=False):
    """A call whose parts have been found."""

    question: Message
    answer: Message
    line: Line

    def exchange(self, wire: Wire, caps: Caps) -> Exchange:
        target = self.line.target
        return Exchange(
            id=wire.id,
            time=wire.time,
            stream=wire.stream,
            text=clean(self.question.text(), caps.max_text_chars),
            response=clean(self.answer.text(), caps.max_text_chars),
            images=tuple(
                image_from_text(image, caps)
                if isinstance(image, str)
                else logged_image(image.url, caps)
                for image in self.question.images()
            ),
            target=None if target is None else clean(target, caps.max_text_chars),
            labels=label_texts(self.line.labels),
        )


class OpenAIChatFormat:
    """Parses logged chat completions."""

    name = "openai"
    unknown_keys = 0  # whatever else an API body holds is expected there

    def recognises(self, keys: frozenset[str]) -> bool:
        return "request" in keys and not keys.isdisjoint({"response", "error"})

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        try:
            return (_record(decode(_decode_line, line), latest),)
        except RecordRejectedError as exc:
            return (rejection(exc, line),)


def _record(line: Line, latest: datetime) -> Record:
    request = line.request
    if isinstance(request, str):
        request = decode(_decode_request, request.encode())
    response = line.response
    if isinstance(response, str):
        response = decode(_decode_response, response.encode())
    if response is None or not response.choices or response.error != ABSENT:
        raise RecordRejectedError(Reason.FAILED_CALL, "the response has no choices")
    answer = response.choices[0].message
    if answer is None or not answer.text():
        raise RecordRejectedError(Reason.NO_CONTENT, "expected an answer with a text")
    name = line.stream if isinstance(line.stream, str) else None
    identifier = line.request_id or response.id if line.id is None else line.id
    time = line.time or line.timestamp or line.created or response.created
    stream = name or response.model or request.model
    if identifier is None or time is None or stream is None:
        raise RecordRejectedError(
            Reason.MISSING_FIELD, "expected an id, a time, and a stream or model"
        )
    return wire(identifier, time, stream, Call(_question(request), answer, line), latest)


def _question(request: Request) -> Message:
    for message in reversed(request.messages):
        if message.role == "user":
            images = len(message.images())
            if images > MAX_IMAGES:
                raise RecordRejectedError(Reason.TOO_LONG, f"{images} images in one message")
            if images or message.text():
                return message
            raise RecordRejectedError(Reason.NO_CONTENT, "expected a query text or an image")
    raise RecordRejectedError(Reason.NO_CONTENT, "expected a message with the role user")


_decode_line = msgspec.json.Decoder(Line).decode
_decode_request = msgspec.json.Decoder(Request).decode
_decode_response = msgspec.json.Decoder(Response).decode
