"""What an endpoint says: an answer, or one of the ways in which there is none."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import Struct

from monitor.errors import MonitorError

MAX_TOKENS = 10_000_000  # who says more is not believed


class Outcome(StrEnum):
    """How a call ended; the closed set that it is counted by."""

    ANSWERED = "answered"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    DENIED = "denied"  # the key or the address
    REFUSED = "refused"  # this question
    REDIRECTED = "redirected"
    GARBAGE = "garbage"
    TOO_LARGE = "too_large"
    CUT_OFF = "cut_off"
    DECLINED = "declined"  # by the model


# Asking the same again would end the same.
ABOUT_THE_QUESTION = frozenset(
    {Outcome.REFUSED, Outcome.GARBAGE, Outcome.TOO_LARGE, Outcome.CUT_OFF, Outcome.DECLINED}
)
# The endpoint did its work; what came of it is no reason to leave it alone.
OF_THE_MODEL = frozenset({Outcome.ANSWERED, Outcome.CUT_OFF, Outcome.DECLINED})


class TeacherError(MonitorError):
    """A call without an answer. Says nothing of what was asked or answered, nor the key."""

    def __init__(
        self,
        outcome: Outcome,
        detail: str,
        *,
        retry_after: float | None = None,
        tokens: int | None = None,
    ) -> None:
        super().__init__(f"the teacher did not answer ({outcome}): {detail}")
        self.outcome = outcome
        self.retry_after = retry_after
        self.tokens = tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """What the teacher said, and what it cost where that is told."""

    text: str
    tokens: int | None


def answer_in(body: bytes) -> Answer:
    """The answer in a chat completion.

    Raises:
        TeacherError: if there is none that could be a target.
    """
    try:
        completion = msgspec.json.decode(body, type=_Completion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise TeacherError(Outcome.GARBAGE, "expected a chat completion") from None
    told = completion.usage.total_tokens if completion.usage else None
    tokens = told if told is not None and 0 <= told <= MAX_TOKENS else None
    if not completion.choices:
        raise TeacherError(Outcome.GARBAGE, "expected a choice", tokens=tokens)
    choice = completion.choices[0]
    text = (choice.message.content or "").strip()
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise TeacherError(Outcome.DECLINED, "the model declined", tokens=tokens)
    if choice.finish_reason == "length":  # half an answer is not what others are compared with
        raise TeacherError(Outcome.CUT_OFF, "the answer has no end", tokens=tokens)
    if not text:
        raise TeacherError(Outcome.GARBAGE, "expected a text", tokens=tokens)
    return Answer(text, tokens)


def models_in(body: bytes) -> list[str] | None:
    """The models in a list of them; None if it is none."""
    try:
        return [model.id for model in msgspec.json.decode(body, type=_Models).data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _Message(Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(Struct):
    total_tokens: int | None = None


class _Completion(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]
