"""Questions about scenes and their true answers, in several wordings and languages."""

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

import numpy as np

from monitor.simulate.scenes import (
    MAX_COUNT,
    Colour,
    Group,
    Place,
    Position,
    Scene,
    Shape,
    draw_group,
    pick,
)

QUESTION_WORDINGS = 3
ANSWER_WORDINGS = 3
FACTS = 5


class Language(StrEnum):
    ENGLISH = "en"
    GERMAN = "de"
    SPANISH = "es"
    FRENCH = "fr"
    CHINESE = "zh"
    HINDI = "hi"


class Kind(StrEnum):
    """What a question is about."""

    COUNT = "count"
    COLOUR = "colour"
    SHAPE = "shape"
    POSITION = "position"
    DESCRIPTION = "description"
    YES_NO = "yes_no"


@dataclass(frozen=True, slots=True)
class Fact:
    """Asked without an image; ``number`` counts the facts that every language has."""

    number: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, free of the language: replacing ``language`` asks the same in another."""

    language: Language
    about: Kind | Fact
    wording: int
    opener: int
    asked: Group | None = None  # what a yes-or-no question supposes


@dataclass(frozen=True, slots=True)
class _FactTexts:
    questions: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grammar:
    """One language of ``languages.toml``; its head explains the entries."""

    group: str
    numbers: Sequence[str | Mapping[str, str]]
    be: Sequence[str]
    forms: Mapping[str, int]
    question_openers: Sequence[str]
    answer_openers: Sequence[str]
    evasions: Sequence[str]
    also: str
    shapes: Mapping[Shape, Sequence[str]]
    colours: Mapping[Colour, Sequence[str]]
    places: Mapping[Place, str]
    positions: Mapping[Position, str]
    questions: Mapping[Kind, Sequence[str]]
    answers: Mapping[str, Sequence[str]]
    facts: Sequence[_FactTexts]
    stay: Sequence[str] = ()
    have: Sequence[str] = ()
    elisions: Sequence[tuple[str, str]] = ()


@functools.cache
def grammar(language: Language) -> Grammar:
    text = resources.files("monitor.simulate").joinpath("languages.toml").read_text("utf-8")
    entries = tomllib.loads(text)[language]
    facts = [_FactTexts(**fact) for fact in entries.pop("facts")]
    return Grammar(facts=facts, **entries)


def draw_question(rng: np.random.Generator, language: Language, scene: Scene | None) -> Question:
    """A question about the scene, or about a fact where there is none."""
    wording, opener = int(rng.integers(QUESTION_WORDINGS)), int(rng.integers(2**16))
    if scene is None:
        return Question(language, Fact(int(rng.integers(FACTS))), wording, opener)
    kind = pick(rng, Kind)
    if kind is not Kind.YES_NO:
        return Question(language, kind, wording, opener)
    supposed = draw_group(rng, scene.place, int(rng.integers(1, MAX_COUNT + 1)))
    asked = scene.group if rng.integers(2) else supposed
    return Question(language, kind, wording, opener, asked)


def question_text(question: Question, scene: Scene | None) -> str:
    words = grammar(question.language)
    opener = words.question_openers[question.opener % len(words.question_openers)]
    match question.about:
        case Fact(number):
            texts = words.facts[number].questions
            return opener + texts[question.wording % len(texts)]
        case kind:
            texts = words.questions[kind]
            return opener + _filled(texts[question.wording], words, _known(scene), question.asked)


def answer_text(question: Question, scene: Scene | None, wording: int) -> str:
    """The true answer in the language of the question; it repeats its subject."""
    words = grammar(question.language)
    match question.about:
        case Fact(number):
            return words.facts[number].answers[wording]
        case kind:
            scene = _known(scene)
            key = ("yes" if question.asked == scene.group else "no") if question.asked else kind
            text = _filled(words.answers[key][wording], words, scene, question.asked)
            if kind is Kind.DESCRIPTION and scene.other is not None:
                text += words.also.format(other=_phrase(words, scene.other))
            return text


def _known(scene: Scene | None) -> Scene:
    if scene is None:
        raise ValueError("a question about a scene needs the scene")
    return scene


def _filled(template: str, words: Grammar, scene: Scene, asked: Group | None) -> str:
    group = scene.group
    many = int(group.count > 1)
    asked = asked or group
    gender, singular, plural, the_one, the_many = words.shapes[group.shape]
    colours = words.colours[group.colour]
    agreed = _key(gender, group.count)
    text = template.format(
        where=words.places[scene.place],
        position=words.positions[scene.position],
        number=_number(words, gender, group.count),
        group=_phrase(words, group),
        asked=_phrase(words, asked),
        one=singular,
        many=plural,
        the=(the_one, the_many)[many],
        all=the_many,
        colour=colours[words.forms.get("bare", words.forms.get(agreed, 0))],
        alone=colours[words.forms.get("alone", 0)],
        be=words.be[many],
        ask_be=words.be[asked.count > 1],
        stay=(words.stay or words.be)[many],
        have=(words.have or words.be)[many],
    )
    for apart, joined in words.elisions:
        text = text.replace(apart, joined)
    return _sentence(text)


def _phrase(words: Grammar, group: Group) -> str:
    gender, singular, plural, *_ = words.shapes[group.shape]
    return words.group.format(
        number=_number(words, gender, group.count),
        colour=words.colours[group.colour][words.forms.get(_key(gender, group.count), 0)],
        noun=singular if group.count == 1 else plural,
    )


def _key(gender: str, count: int) -> str:
    return gender if count == 1 else gender + "p"


def _number(words: Grammar, gender: str, count: int) -> str:
    number = words.numbers[count - 1]
    return number if isinstance(number, str) else number[gender]


def _sentence(text: str) -> str:
    """With the first letter a capital, also behind an opening mark."""
    first = next(i for i, character in enumerate(text) if character.isalpha())
    return text[:first] + text[first].upper() + text[first + 1 :]
