import itertools

import numpy as np
import pytest

from monitor.simulate.questions import Fact, Kind, Language, Question, answer_text, draw_question
from monitor.simulate.responder import respond, target_wording
from monitor.simulate.scenes import Scene, draw_scene

SEEDS = range(200)


def situation(seed: int) -> tuple[Question, Scene]:
    rng = np.random.default_rng([seed, 0])
    scene = draw_scene(rng)
    return draw_question(rng, Language.ENGLISH, scene), scene


def answered(seed: int, competence: float) -> str:
    question, scene = situation(seed)
    return respond(
        question,
        scene,
        competence=competence,
        not_worded=seed % 3,
        rng=np.random.default_rng([seed, 1]),
    )


def is_true(seed: int, competence: float) -> bool:
    question, scene = situation(seed)
    truths = tuple(answer_text(question, scene, wording) for wording in range(3))
    return answered(seed, competence).endswith(truths)


def test_a_perfect_responder_always_tells_the_truth() -> None:
    assert all(is_true(seed, 1.0) for seed in SEEDS)


def test_even_a_perfect_responder_does_not_repeat_the_target() -> None:
    for seed in SEEDS:
        question, scene = situation(seed)
        assert not answered(seed, 1.0).endswith(answer_text(question, scene, seed % 3))


def test_a_lower_competence_keeps_every_failure_of_a_higher_one() -> None:
    right = [{s for s in SEEDS if is_true(s, c)} for c in (1.0, 0.8, 0.5, 0.2, 0.0)]
    assert all(worse <= better for better, worse in itertools.pairwise(right))
    assert len(right[-1]) < len(right[2]) < len(right[1]) < len(right[0])


def test_a_fact_is_answered_in_the_language_of_the_question() -> None:
    question = Question(Language.HINDI, Fact(2), wording=0, opener=0)
    said = respond(question, None, competence=1.0, not_worded=0, rng=np.random.default_rng(0))
    assert said.endswith(tuple(answer_text(question, None, wording) for wording in (1, 2)))


@pytest.mark.parametrize("competence", [-0.1, 1.1, float("nan")])
def test_a_competence_that_is_no_share_is_refused(competence: float) -> None:
    with pytest.raises(ValueError, match="competence"):
        answered(0, competence)


def test_the_wording_of_the_target_is_one_there_is() -> None:
    rng = np.random.default_rng(0)
    assert {target_wording(rng) for _ in range(100)} == {0, 1, 2}


def test_without_competence_an_answer_is_about_something_else_in_most_cases() -> None:
    kinds = {situation(s)[0].about for s in SEEDS}
    assert kinds == set(Kind)
    assert sum(is_true(s, 0.0) for s in SEEDS) < len(SEEDS) / 5
