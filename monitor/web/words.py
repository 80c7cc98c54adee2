"""What signals, verdicts and streams are called on the pages; the three questions kept apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.records import Measurement, Signal, Verdict


class Question(StrEnum):
    """What a signal answers. The order is that of the pages."""

    TRAFFIC = "traffic"
    ANSWERS = "answers"
    BOUND = "bound"
    LOGGING = "logging"


QUESTIONS = {
    Question.TRAFFIC: "Has the traffic changed?",
    Question.ANSWERS: "Have the answers got worse?",
    Question.BOUND: "How bad could it be?",
    Question.LOGGING: "Has the logging changed?",
}


class State(StrEnum):
    """How one question stands, or a whole stream. Worst first."""

    DRIFTING = "drifting"
    PERSISTENT = "persistent"
    UNKNOWN = "unknown"
    CALM = "calm"


STATES = {
    State.DRIFTING: "drifting",
    State.PERSISTENT: "slow drift",
    State.UNKNOWN: "too little data",
    State.CALM: "calm",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """One signal for people."""

    title: str
    question: Question
    about: str


_T, _A, _B, _L = Question.TRAFFIC, Question.ANSWERS, Question.BOUND, Question.LOGGING
WORDINGS = {
    Signal.VISUAL_DISCREPANCY: Wording("Images", _T, "divergence of the images from the reference"),
    Signal.TEXTUAL_DISCREPANCY: Wording("Texts", _T, "divergence of the queries' texts"),
    Signal.RESPONSE_DISCREPANCY: Wording("Responses", _T, "divergence of the responses"),
    Signal.IMAGE_TEXT_AGREEMENT: Wording(
        "Image-text pairing", _T, "how images and texts belong together"
    ),
    Signal.IMAGE_SHARE: Wording("Share with images", _T, "exchanges that carry an image"),
    Signal.NOVELTY_VISUAL: Wording("New kinds of images", _T, "share unlike the reference"),
    Signal.NOVELTY_TEXTUAL: Wording("New kinds of texts", _T, "share unlike the reference"),
    Signal.EMI: Wording("EMI", _A, "effective mutual information; lower is worse"),
    Signal.EMID: Wording("Drop of EMI", _A, "EMI of the reference minus that of the window"),
    Signal.MI_QUERY_RESPONSE: Wording("Query and response", _A, "mutual information of the two"),
    Signal.MI_QUERY_TARGET: Wording("Query and target", _A, "mutual information of the two"),
    Signal.OUTPUT_GAP: Wording("Output gap", _A, "divergence of responses from targets"),
    Signal.EMID_BOUND_UNSCALED: Wording("Bound, unscaled", _B, "on the drop of EMI"),
    Signal.EMID_BOUND: Wording("Bound", _B, "on the drop of EMI, with the entropy factor"),
    Signal.INPUT_BOUND: Wording("Input part of the bound", _B, "what the queries alone allow"),
    Signal.IMAGE_LOGGING: Wording(
        "Image logging", _L, "what became of images on their way into the log"
    ),
}
IN_ORDER: Sequence[Signal] = tuple(WORDINGS)


def wording(signal: Signal) -> Wording:
    """What a signal is called."""
    return WORDINGS[signal]


def of_question(measurements: Iterable[Measurement], question: Question) -> list[Measurement]:
    """Those that answer it, in the order of the pages."""
    found = [m for m in measurements if wording(m.signal).question is question]
    return sorted(found, key=lambda m: IN_ORDER.index(m.signal))


def state_of(measurements: Iterable[Measurement]) -> State:
    """The worst that any of them says."""
    measurements = list(measurements)
    if any(m.verdict is Verdict.DRIFTING for m in measurements):
        return State.DRIFTING
    if any(m.persistent for m in measurements):
        return State.PERSISTENT
    if any(m.verdict is Verdict.IN_CONTROL for m in measurements):
        return State.CALM
    return State.UNKNOWN


def worst_of(measurements: Iterable[Measurement]) -> Measurement | None:
    """The one that is furthest out, or else comes nearest to its threshold."""
    known = [m for m in measurements if m.excess_ratio is not None]
    return max(known, key=lambda m: (m.verdict is Verdict.DRIFTING, m.excess_ratio), default=None)
