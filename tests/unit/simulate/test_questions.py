import itertools
import unicodedata

import numpy as np
import pytest

from monitor.simulate.questions import (
    ANSWER_WORDINGS,
    FACTS,
    QUESTION_WORDINGS,
    Fact,
    Kind,
    Language,
    Question,
    answer_text,
    draw_question,
    grammar,
    question_text,
)
from monitor.simulate.scenes import (
    Colour,
    Group,
    Place,
    Position,
    Scene,
    Shape,
    draw_group,
    draw_scene,
)

THREE_STARS = Scene(Place.MEADOW, Position.TOP, Group(Shape.STAR, Colour.RED, 3), None, grain=1)
ONE_STAR = Scene(Place.MEADOW, Position.TOP, Group(Shape.STAR, Colour.RED, 1), None, grain=1)


def ask(language: Language, kind: Kind, wording: int = 0) -> Question:
    asked = THREE_STARS.group if kind is Kind.YES_NO else None
    return Question(language, kind, wording, opener=0, asked=asked)


@pytest.mark.parametrize(
    ("language", "scene", "answer"),
    [
        (Language.ENGLISH, THREE_STARS, "There are three red stars on the meadow."),
        (Language.ENGLISH, ONE_STAR, "There is one red star on the meadow."),
        (Language.GERMAN, THREE_STARS, "Auf der Wiese sind drei rote Sterne zu sehen."),
        (Language.GERMAN, ONE_STAR, "Auf der Wiese ist ein roter Stern zu sehen."),
        (Language.SPANISH, THREE_STARS, "En el prado hay tres estrellas rojas."),
        (Language.SPANISH, ONE_STAR, "En el prado hay una estrella roja."),
        (Language.FRENCH, THREE_STARS, "Il y a trois étoiles rouges sur la prairie."),
        (Language.FRENCH, ONE_STAR, "Il y a une étoile rouge sur la prairie."),
        (Language.CHINESE, THREE_STARS, "草地上有三个红色五角星。"),
        (Language.HINDI, THREE_STARS, "घास के मैदान में तीन लाल तारे हैं।"),
        (Language.HINDI, ONE_STAR, "घास के मैदान में एक लाल तारा है।"),
    ],
)
def test_a_count_agrees_with_its_noun_in_every_language(
    language: Language, scene: Scene, answer: str
) -> None:
    assert answer_text(ask(language, Kind.COUNT), scene, 0) == answer


def test_french_joins_an_article_to_a_vowel() -> None:
    text = question_text(ask(Language.FRENCH, Kind.COUNT), THREE_STARS)
    assert text == "Combien d'étoiles voit-on sur la prairie ?"


def test_a_sentence_behind_an_opening_mark_begins_with_a_capital() -> None:
    text = question_text(ask(Language.SPANISH, Kind.COLOUR), THREE_STARS)
    assert text == "¿De qué color son las estrellas en el prado?"


def test_a_true_supposition_is_affirmed_and_a_false_one_denied() -> None:
    question = ask(Language.ENGLISH, Kind.YES_NO)
    assert answer_text(question, THREE_STARS, 0) == "Yes, there are three red stars on the meadow."
    assert answer_text(question, ONE_STAR, 0) == "No, there is one red star on the meadow."


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", Kind)
def test_the_answer_depends_on_what_is_asked_about(language: Language, kind: Kind) -> None:
    other = Scene(Place.LAKE, Position.LEFT, Group(Shape.HEART, Colour.BLUE, 1), None, grain=1)
    question = ask(language, kind)
    assert answer_text(question, THREE_STARS, 0) != answer_text(question, other, 0)
    assert question_text(question, THREE_STARS) != question_text(question, other)


@pytest.mark.parametrize("language", Language)
def test_every_combination_makes_a_finished_sentence(language: Language) -> None:
    rng = np.random.default_rng(7)
    for kind, wording in itertools.product(Kind, range(QUESTION_WORDINGS)):
        scene = draw_scene(rng)
        asked = draw_group(rng, scene.place, 2) if kind is Kind.YES_NO else None
        question = Question(language, kind, wording, opener=0, asked=asked)
        for text in (question_text(question, scene), answer_text(question, scene, wording)):
            assert text[-1] in ".?。？।"
            assert not set(text) & set("{}[]")
            assert "  " not in text
            assert unicodedata.is_normalized("NFC", text) or language is Language.HINDI


@pytest.mark.parametrize("language", Language)
def test_every_language_has_all_words_and_wordings(language: Language) -> None:
    words = grammar(language)
    assert set(words.shapes) == set(Shape)
    assert set(words.colours) == set(Colour)
    assert set(words.places) == set(Place)
    assert set(words.positions) == set(Position)
    assert set(words.questions) == set(Kind)
    assert set(words.answers) == {*Kind, "yes", "no"} - {Kind.YES_NO}
    assert {len(texts) for texts in words.questions.values()} == {QUESTION_WORDINGS}
    assert {len(set(texts)) for texts in words.answers.values()} == {ANSWER_WORDINGS}
    assert {len(set(fact.answers)) for fact in words.facts} == {ANSWER_WORDINGS}
    assert len(words.facts) == FACTS
    assert len(words.evasions) == ANSWER_WORDINGS
    assert {len(forms) for forms in words.colours.values()} == {
        1 + max(words.forms.values(), default=0)
    }


def test_without_a_scene_a_fact_is_asked() -> None:
    question = draw_question(np.random.default_rng(0), Language.GERMAN, None)
    assert isinstance(question.about, Fact)


def test_a_question_about_a_scene_needs_the_scene() -> None:
    with pytest.raises(ValueError, match="needs the scene"):
        question_text(ask(Language.ENGLISH, Kind.COUNT), None)


def test_half_of_the_suppositions_are_at_least_true() -> None:
    rng = np.random.default_rng(3)
    scenes = [draw_scene(rng) for _ in range(3000)]
    drawn = [(s, draw_question(rng, Language.ENGLISH, s)) for s in scenes]
    true = [q.asked == s.group for s, q in drawn if q.asked is not None]
    # 500 questions: a share of 0.4 lies more than four standard errors below a half.
    assert 0.4 < np.mean(true) < 0.65
