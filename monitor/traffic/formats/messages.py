"""Messages of a chat, in any of the ways that clients and telemetry write them.

One pair of types reads OpenAI's chat completions and Responses, Anthropic's messages and
OpenTelemetry's parts: their fields hardly collide, and loggers mix them.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.records import ImageState, LoggedImage
from monitor.traffic.formats.images import logged_image
from monitor.traffic.formats.wire import ABSENT, MAX_IMAGES, Caps, Reason, decode

ImageSource = Raw | LoggedImage  # a JSON string, or an object that says where the image is


class Holder(Struct, gc=False):
    """``image_url`` of OpenAI, ``source`` of Anthropic."""

    url: Raw = ABSENT
    data: Raw = ABSENT
    file_id: Raw = ABSENT


class Part(Struct, gc=False):
    """A piece of a message; other kinds than text and images are passed over."""

    type: str | None = None
    text: str | None = None
    content: Raw = ABSENT
    refusal: str | None = None
    modality: str | None = None
    mime_type: str | None = None
    uri: Raw = ABSENT
    file_id: Raw = ABSENT
    image_url: Raw = ABSENT
    source: Raw = ABSENT

    def words(self) -> str:
        if self.type in _TEXTS and not self._is_medium():
            return self.text or (_text_in(self.content) if self.content != ABSENT else "")
        return (self.refusal or "") if self.type == "refusal" else ""

    def image(self) -> ImageSource | None:
        if self.type in {"image_url", "input_image", "image"}:
            held = next((h for h in (self.image_url, self.source) if h != ABSENT), None)
            if held is None and self.file_id != ABSENT:
                return LoggedImage(ImageState.PROVIDER_FILE)
            return ABSENT if held is None else held
        if not self._is_medium() or not self._is_picture():
            return None
        if self.type == "file" or self.file_id != ABSENT:
            return LoggedImage(ImageState.PROVIDER_FILE)
        return self.uri if self.uri != ABSENT else self.content

    def is_of_a_tool(self) -> bool:
        return self.type in {"tool_result", "tool_call_response", "function_call_output"}

    def _is_medium(self) -> bool:
        # The type may be behind the place where a length limit cut.
        return self.type in {"blob", "uri", "file"} or (not self.type and self.modality is not None)

    def _is_picture(self) -> bool:
        if self.modality is not None:
            return self.modality == "image"
        return (self.mime_type or "image/").startswith("image/")


class Message(Struct, gc=False):
    """One turn, or an item of the Responses API. ``refusal`` is what a model says that declines."""

    role: str | None = None
    content: str | list[Part | str] | dict[str, Raw] | None = None
    parts: list[Part | str] | None = None
    refusal: str | None = None

    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content or self.refusal or ""
        pieces = (p if isinstance(p, str) else p.words() for p in self._pieces())
        return "\n".join(piece for piece in pieces if piece) or self.refusal or ""

    def images(self) -> list[ImageSource]:
        found = (p.image() for p in self._pieces() if isinstance(p, Part))
        return [image for image in found if image is not None]

    def is_of_a_tool(self) -> bool:
        pieces = self._pieces()
        return bool(pieces) and all(isinstance(p, Part) and p.is_of_a_tool() for p in pieces)

    def ends_with_an_image(self) -> bool:
        pieces = self._pieces()
        return bool(pieces) and isinstance(pieces[-1], Part) and pieces[-1].image() is not None

    def _pieces(self) -> Sequence[Part | str]:
        return (self.content if isinstance(self.content, list) else self.parts) or ()


class Query(Struct, gc=False):
    """The last turn of the user, and how much came before it."""

    text: str
    images: list[ImageSource]
    context_turns: int = 0
    context_images: int = 0


def query_of(messages: Sequence[Message], *, is_cut: bool = False) -> Query:
    """The query that the messages end with; ``is_cut``: the last of them is not whole.

    Raises:
        RecordRejectedError: if there is no such turn, or nothing is in it.
    """
    last = len(messages) - 1
    for at in range(last, -1, -1):
        message = messages[at]
        if message.role == "user" and not message.is_of_a_tool():
            break
    else:
        raise RecordRejectedError(Reason.NO_CONTENT, "expected a message with the role user")
    if is_cut and at != last:
        raise RecordRejectedError(Reason.LOST_QUERY, "cut before the query")
    images = message.images()
    if len(images) > MAX_IMAGES:
        raise RecordRejectedError(Reason.TOO_LONG, f"{len(images)} images in one message")
    if is_cut and message.ends_with_an_image():
        images[-1] = LoggedImage(ImageState.TRUNCATED)
    text = message.text()
    if not images and not text:
        raise RecordRejectedError(Reason.NO_CONTENT, "expected a query text or an image")
    before = [m for m in messages[:at] if m.role not in {"system", "developer"}]
    return Query(text, images, len(before), sum(len(m.images()) for m in before if m.role))


def answer_of(messages: Sequence[Message]) -> str:
    """What the model said; the first message with words is the one that counts."""
    return next((text for message in messages if (text := message.text())), "")


def image_of(source: ImageSource, caps: Caps) -> LoggedImage:
    """Decode an image at last."""
    if isinstance(source, LoggedImage):
        return source
    if bytes(memoryview(source)[:1]) != b"{":
        return logged_image(source, caps)
    try:
        holder = decode(_decode_holder, source)
    except RecordRejectedError:
        return LoggedImage(ImageState.REJECTED)
    if holder.data != ABSENT:
        return logged_image(holder.data, caps)
    if holder.url == ABSENT and holder.file_id != ABSENT:
        return LoggedImage(ImageState.PROVIDER_FILE)
    return logged_image(holder.url, caps)


def messages_in(value: object) -> tuple[list[Message], bool]:
    """Messages as a JSON text or as plain values, and whether the text had been cut.

    Raises:
        RecordRejectedError: if it is neither.
    """
    if not isinstance(value, str):
        return decode(_decode_messages, msgspec.json.encode(value)), False
    try:
        return decode(_decode_messages, value.encode()), False
    except RecordRejectedError as exc:
        if exc.reason != Reason.BROKEN_JSON:
            raise
        for candidate in _mended(value):
            try:
                return decode(_decode_messages, candidate.encode()), True
            except RecordRejectedError:
                continue
        raise


def _text_in(content: Raw) -> str:
    try:
        return decode(_decode_text, content) or ""
    except RecordRejectedError:
        return ""


def _mended(text: str) -> Iterator[str]:
    """What a JSON text that was cut may have been up to there, best first."""
    closers: list[str] = []
    end = 0  # up to where all values are whole
    is_open = False
    for count, token in enumerate(_TOKEN.finditer(text)):
        sign = token[0]
        if sign in "[{":
            closers.append("]" if sign == "[" else "}")
            end = token.end()
        elif sign in "]}":
            if not closers or closers.pop() != sign:
                return
            end = token.end()
        elif sign == ",":
            end = token.start()
        else:
            is_open = not token[1]
        if len(closers) > _MAX_DEPTH or count > _MAX_TOKENS:
            return
    closed_by = "".join(reversed(closers))
    yield (_HALF_ESCAPE.sub("", text) + '"' if is_open else text) + closed_by
    yield text[:end] + closed_by


_TEXTS = frozenset({"text", "input_text", "output_text", "", None})
_MAX_DEPTH = 64
_MAX_TOKENS = 100_000
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{},]', re.DOTALL)
_HALF_ESCAPE = re.compile(r"\\(?:u[\da-fA-F]{0,3})?\Z")
_decode_holder = msgspec.json.Decoder(Holder).decode
_decode_messages = msgspec.json.Decoder(list[Message]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
