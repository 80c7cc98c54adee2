"""A stream of exchanges made from a seed, with drift on demand."""

import base64
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import TypeVar

import numpy as np

from monitor.records import Exchange, ImageState, LoggedImage
from monitor.simulate.corruptions import (
    SEVERITIES,
    ImageCorruption,
    TextCorruption,
    corrupt_image,
    corrupt_text,
)
from monitor.simulate.drawing import encode, render
from monitor.simulate.questions import (
    Language,
    Question,
    answer_text,
    draw_question,
    question_text,
)
from monitor.simulate.responder import respond, target_wording
from monitor.simulate.scenes import Look, Scene, draw_scene


class DriftKind(StrEnum):
    """What can go wrong; the first two blocks have the values of the corruptions they apply."""

    BLUR = "blur"
    NOISE = "noise"
    FROST = "frost"
    CONTRAST = "contrast"
    JPEG = "jpeg"

    TYPOS = "typos"
    SYNONYMS = "synonyms"
    TRUNCATION = "truncation"
    CODE_SWITCHING = "code_switching"

    LANGUAGE = "language"  # asked in a language that normal traffic does not have
    SKETCH = "sketch"  # images of another domain
    TEXTURE = "texture"
    WRONG_IMAGE = "wrong_image"  # the log pairs the exchange with the image of another one
    SHUFFLED_ANSWERS = "shuffled_answers"
    WORSE_RESPONDER = "worse_responder"


# What each step of severity takes from the competence of the responder.
_DAMAGE: dict[DriftKind, float] = {
    DriftKind.BLUR: 0.09,
    DriftKind.NOISE: 0.08,
    DriftKind.FROST: 0.1,
    DriftKind.CONTRAST: 0.06,
    DriftKind.JPEG: 0.06,
    DriftKind.SKETCH: 0.08,
    DriftKind.TEXTURE: 0.08,
    DriftKind.TYPOS: 0.06,
    DriftKind.SYNONYMS: 0.04,
    DriftKind.TRUNCATION: 0.1,
    DriftKind.CODE_SWITCHING: 0.06,
    DriftKind.LANGUAGE: 0.06,
    DriftKind.WORSE_RESPONDER: 0.14,
}
_LOOKS = frozenset({DriftKind.SKETCH, DriftKind.TEXTURE})
_NEEDS_IMAGE = _LOOKS | {DriftKind.WRONG_IMAGE} | {DriftKind(c.value) for c in ImageCorruption}
_NEW_LANGUAGES = (Language.CHINESE, Language.HINDI)
_REPEAT_REACH = 40  # a repeated image is one of so many exchanges before


@dataclass(frozen=True, slots=True)
class Drift:
    """A change that holds for ``[start, end)`` and hits a share of the exchanges with ``labels``.

    ``severity`` runs from 1 to 5; of a language, a sketch and a texture it is how much the
    responder suffers, and wrong images and shuffled answers have none.
    """

    kind: DriftKind
    severity: int = 3
    share: float = 1.0
    start: datetime | None = None
    end: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be an integer from 1 to 5, got {self.severity!r}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {self.share:g}")

    def holds(self, time: datetime, labels: Mapping[str, str]) -> bool:
        if (self.start and time < self.start) or (self.end and time >= self.end):
            return False
        return all(labels.get(key) == value for key, value in self.labels.items())


@dataclass(frozen=True, slots=True)
class Mix:
    """What normal traffic is made of.

    Shares lie in [0, 1]; the weights of tenants and languages have any unit. Repeated images
    make exchanges depend on each other: at a ``repeat_share`` of 0.2 the visual discrepancy of a
    window of 200 is a fifth above that of 200 exchanges picked at random (at 0.05, 3 %).

    With ``truth`` the label ``drift`` says what was done to an exchange, for experiments that need
    to know it.
    """

    stream: str = "simulated"
    per_minute: float = 60.0
    skill: float = 0.95
    text_only_share: float = 0.1
    target_share: float = 1.0
    repeat_share: float = 0.05  # asked about an image of a moment ago
    tenants: Mapping[str, float] = field(
        default_factory=lambda: {"acme": 0.5, "globex": 0.3, "initech": 0.2}
    )
    languages: Mapping[Language, float] = field(
        default_factory=lambda: {
            Language.ENGLISH: 0.55,
            Language.GERMAN: 0.15,
            Language.SPANISH: 0.15,
            Language.FRENCH: 0.15,
        }
    )
    truth: bool = False


def simulate(
    seed: int,
    *,
    start: datetime,
    count: int | None = None,
    first: int = 0,
    drifts: Sequence[Drift] = (),
    mix: Mix | None = None,
) -> Iterator[Exchange]:
    """Exchanges ``first``, ``first + 1``, ... in order of time; without a count it never ends.

    Exchange ``i`` depends on ``i`` and the other arguments alone, so a generator that is started
    again at ``i`` goes on as the first would have.
    """
    simulation = _Simulation(seed, start, tuple(drifts), mix or Mix())
    numbers = itertools.count(first) if count is None else range(first, first + count)
    return (simulation.exchange(number) for number in numbers)


def as_native_line(exchange: Exchange) -> bytes:
    """The exchange as a line of JSON, its line feed included; images inline."""
    query: dict[str, object] = {"text": exchange.text}
    if exchange.images:
        query["images"] = [_image_entry(image) for image in exchange.images]
    record: dict[str, object] = {
        "id": exchange.id,
        "time": exchange.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "stream": exchange.stream,
        "query": query,
        "response": exchange.response,
    }
    if exchange.target is not None:
        record["target"] = exchange.target
    if exchange.labels:
        record["labels"] = dict(exchange.labels)
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _image_entry(image: LoggedImage) -> dict[str, str]:
    if image.data is None:
        raise ValueError(f"only inline images can be written, got one that is {image.state}")
    kind = "png" if image.data.startswith(b"\x89PNG") else "jpeg"
    return {"data": base64.b64encode(image.data).decode(), "media_type": f"image/{kind}"}


class _Purpose(IntEnum):
    """Chance has a generator of its own for each, so a drift changes only what it corrupts."""

    PLAN = 0
    SCENE = 1
    QUESTION = 2
    RESPONSE = 3
    PIXELS = 4
    TEXT = 5
    OTHER_SCENE = 6
    DRIFT = 7


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything about an exchange that is decided before pictures and words are made."""

    number: int
    time: datetime
    labels: Mapping[str, str]
    scene: Scene | None
    question: Question
    target_wording: int
    has_target: bool
    drifts: tuple[Drift, ...]

    def severity(self, kind: DriftKind) -> int | None:
        return next((drift.severity for drift in self.drifts if drift.kind is kind), None)


@dataclass(frozen=True, slots=True)
class _Simulation:
    seed: int
    start: datetime
    drifts: tuple[Drift, ...]
    mix: Mix

    def exchange(self, number: int) -> Exchange:
        plan = self._plan(number)
        giver = plan
        if plan.severity(DriftKind.SHUFFLED_ANSWERS):
            giver = self._plan(number + 1)
        labels = dict(plan.labels)
        if self.mix.truth:
            labels["drift"] = "+".join(drift.kind for drift in plan.drifts) or "none"
        target = answer_text(plan.question, plan.scene, plan.target_wording)
        return Exchange(
            id=f"{self.mix.stream}-{self.seed}-{number}",
            time=plan.time,
            stream=self.mix.stream,
            text=self._text(plan),
            response=self._response(giver),
            images=() if plan.scene is None else (self._image(plan, plan.scene),),
            target=target if plan.has_target else None,
            labels=labels,
        )

    def _chance(self, number: int, purpose: _Purpose) -> np.random.Generator:
        return np.random.default_rng((self.seed, number, purpose))

    def _plan(self, number: int) -> _Plan:
        rng = self._chance(number, _Purpose.PLAN)
        moment, pictured, repeated, targeted, tenant, tongue = rng.random(6).tolist()
        time = self.start + timedelta(minutes=(number + moment) / self.mix.per_minute)
        language = _weighted(self.mix.languages, tongue)
        labels = {"tenant": _weighted(self.mix.tenants, tenant), "language": language.value}
        has_image = pictured >= self.mix.text_only_share
        drifts = tuple(
            drift
            for drift, luck in zip(self.drifts, self._luck(number), strict=True)
            if luck < drift.share
            and drift.holds(time, labels)
            and (has_image or drift.kind not in _NEEDS_IMAGE)
        )
        scene = None
        if has_image:
            back = int(rng.integers(1, _REPEAT_REACH)) if repeated < self.mix.repeat_share else 0
            scene_rng = self._chance(max(number - back, 0), _Purpose.SCENE)
            scene = draw_scene(scene_rng, _look(drifts))
        question_rng = self._chance(number, _Purpose.QUESTION)
        question = draw_question(question_rng, language, scene)
        wording = target_wording(question_rng)
        if any(drift.kind is DriftKind.LANGUAGE for drift in drifts):
            question = replace(question, language=_NEW_LANGUAGES[wording % len(_NEW_LANGUAGES)])
            labels["language"] = question.language.value
        return _Plan(
            number=number,
            time=time,
            labels=labels,
            scene=scene,
            question=question,
            target_wording=wording,
            has_target=targeted < self.mix.target_share,
            drifts=drifts,
        )

    def _luck(self, number: int) -> list[float]:
        rng = self._chance(number, _Purpose.DRIFT)
        return [rng.random() for _ in self.drifts]

    def _text(self, plan: _Plan) -> str:
        rng = self._chance(plan.number, _Purpose.TEXT)
        text = question_text(plan.question, plan.scene)
        for corruption in TextCorruption:
            if severity := plan.severity(DriftKind(corruption.value)):
                text = corrupt_text(text, corruption, severity, rng)
        return text

    def _image(self, plan: _Plan, scene: Scene) -> LoggedImage:
        if plan.severity(DriftKind.WRONG_IMAGE):
            other = self._chance(plan.number, _Purpose.OTHER_SCENE)
            scene = draw_scene(other, scene.look)
        rng = self._chance(plan.number, _Purpose.PIXELS)
        pixels = render(scene)
        for corruption in ImageCorruption:
            if severity := plan.severity(DriftKind(corruption.value)):
                pixels = corrupt_image(pixels, corruption, severity, rng)
        return LoggedImage(ImageState.INLINE, data=encode(pixels, scene.media))

    def _response(self, plan: _Plan) -> str:
        kept = (1 - _DAMAGE.get(drift.kind, 0.0) * drift.severity for drift in plan.drifts)
        return respond(
            plan.question,
            plan.scene,
            competence=self.mix.skill * math.prod(kept),
            not_worded=plan.target_wording,
            rng=self._chance(plan.number, _Purpose.RESPONSE),
        )


def _look(drifts: Sequence[Drift]) -> Look:
    looks = [Look(drift.kind.value) for drift in drifts if drift.kind in _LOOKS]
    return looks[-1] if looks else Look.PAINTED


Choice = TypeVar("Choice", bound=str)


def _weighted(weights: Mapping[Choice, float], luck: float) -> Choice:
    """The choice at the share ``luck`` of all weights, in [0, 1)."""
    reached = luck * sum(weights.values())
    for choice, weight in weights.items():
        reached -= weight
        if reached < 0:
            return choice
    raise ValueError(f"the weights must be positive numbers, got {list(weights.values())}")
