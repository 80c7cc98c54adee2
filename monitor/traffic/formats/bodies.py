"""Bodies of API calls: OpenAI's chat completions and Responses, and Anthropic's messages."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.messages import Message, Part, Query, answer_of, query_of
from monitor.traffic.formats.wire import ABSENT, Identifier, Moment, Reason, StreamName, decode

Body = TypeVar("Body")


class Choice(Struct, gc=False):
    """One of the answers; the first is the one that counts."""

    message: Message | None = None


class Request(Struct, gc=False):
    """Body of a call; ``input`` is that of the Responses API."""

    messages: list[Message] | None = None
    input: str | list[Message] | None = None
    model: StreamName | None = None
    metadata: Raw = ABSENT

    def query(self) -> Query:
        turns = self.input if self.messages is None else self.messages
        if isinstance(turns, str):
            turns = [Message(role="user", content=turns)]
        return query_of(turns or ())


class Response(Struct, gc=False):
    """Body of an answer. Of Anthropic and where it is a bare message, ``content`` is in it."""

    id: Identifier | None = None
    created: Moment | None = None
    created_at: Moment | None = None
    model: StreamName | None = None
    choices: list[Choice] | None = None
    output: list[Message] | None = None
    content: str | list[Part | str] | None = None
    refusal: str | None = None
    error: Raw = ABSENT

    def text(self) -> str:
        """What the model said.

        Raises:
            RecordRejectedError: if it said nothing, or the call failed.
        """
        said = Message(content=self.content, refusal=self.refusal)
        if self.choices:
            answers = [choice.message or said for choice in self.choices[:1]]
        else:
            answers = self.output or [said]
        is_empty = not self.choices and self.output is None and self.content is None
        if self.error != ABSENT or (is_empty and not self.refusal):
            raise RecordRejectedError(Reason.FAILED_CALL, "the response has no choices")
        text = answer_of(answers)
        if not text:
            raise RecordRejectedError(Reason.NO_CONTENT, "expected an answer with a text")
        return text


def request_in(value: Raw | str) -> Request:
    """A request as it was sent, as a JSON text, as its messages alone, or as words."""
    body = _decoded(_decode_request, value)
    if isinstance(body, Request):
        return body
    return Request(input=body)


def response_in(value: Raw | str) -> Response:
    """A response as it came, as a JSON text, as its messages alone, or as words."""
    body = _decoded(_decode_response, value)
    if isinstance(body, Response):
        return body
    return Response(content=body) if isinstance(body, str) else Response(output=body)


def _decoded(decode_body: Callable[[bytes | Raw], Body | str], value: Raw | str) -> Body | str:
    if isinstance(value, Raw):
        body = decode(decode_body, value)
        if not isinstance(body, str):
            return body
        value = body
    if not value.lstrip().startswith(("{", "[", '"')):
        return value
    return decode(decode_body, value.encode())


_decode_request = msgspec.json.Decoder(Request | list[Message] | str).decode
_decode_response = msgspec.json.Decoder(Response | list[Message] | str).decode
