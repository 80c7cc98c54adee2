"""A stand-in for the deployed model: it answers with a set skill and fails as models do."""

from dataclasses import replace

import numpy as np

from monitor.simulate.questions import (
    ANSWER_WORDINGS,
    FACTS,
    Fact,
    Kind,
    Question,
    answer_text,
    grammar,
)
from monitor.simulate.scenes import (
    MAX_COUNT,
    Colour,
    Group,
    Position,
    Scene,
    Shape,
    draw_scene,
    pick,
)

# Of the answers that go wrong, the share that has nothing to do with the question; in the others
# the model answers, but misreads each attribute of the picture with the second probability.
LOST = 0.6
MISREAD = 0.5


def target_wording(rng: np.random.Generator) -> int:
    return int(rng.integers(ANSWER_WORDINGS))


def respond(
    question: Question,
    scene: Scene | None,
    *,
    competence: float,
    not_worded: int,
    rng: np.random.Generator,
) -> str:
    """What the model says.

    Args:
        question: what it is asked.
        scene: what the picture shows, None without one.
        competence: in [0, 1]; 1 always answers truly. Under the same ``rng`` state a lower
            competence keeps every failure of a higher one.
        not_worded: the wording of the target, so that the two never agree word for word.
        rng: decides everything that is left to chance.
    """
    if not 0 <= competence <= 1:
        raise ValueError(f"competence must lie in [0, 1], got {competence:g}")
    lapse = 1 - competence
    wording = (not_worded + int(rng.integers(1, ANSWER_WORDINGS))) % ANSWER_WORDINGS
    openers = grammar(question.language).answer_openers
    opener = openers[int(rng.integers(len(openers)))]
    # Every draw is made whether it is needed or not: that couples the levels of competence.
    lost = rng.random()
    perceived = _perceived(scene, lapse, rng)
    if lost < lapse * LOST:
        return opener + _astray(question, scene, wording, rng)
    return opener + answer_text(question, perceived, wording)


def _perceived(scene: Scene | None, lapse: float, rng: np.random.Generator) -> Scene | None:
    if scene is None:
        return None
    group = scene.group
    misread = rng.random(4) < lapse * MISREAD
    colour = pick(rng, Colour, other_than=group.colour)
    shape = pick(rng, Shape, other_than=group.shape)
    count = 1 + (group.count - 1 + int(rng.integers(1, MAX_COUNT))) % MAX_COUNT
    position = pick(rng, Position, other_than=scene.position)
    return replace(
        scene,
        group=Group(
            shape=shape if misread[0] else group.shape,
            colour=colour if misread[1] else group.colour,
            count=count if misread[2] else group.count,
        ),
        position=position if misread[3] else scene.position,
    )


def _astray(question: Question, scene: Scene | None, wording: int, rng: np.random.Generator) -> str:
    """An evasion, the answer to another question, or a scene that is not there."""
    match int(rng.integers(3)):
        case 0:
            return grammar(question.language).evasions[wording]
        case 1:
            return answer_text(_other_question(question, scene, rng), scene, wording)
        case _:
            imagined = replace(question, about=Kind.DESCRIPTION, asked=None)
            return answer_text(imagined, draw_scene(rng), wording)


def _other_question(question: Question, scene: Scene | None, rng: np.random.Generator) -> Question:
    match question.about:
        case Fact(number):
            return replace(question, about=Fact((number + int(rng.integers(1, FACTS))) % FACTS))
        case kind:
            about = pick(rng, Kind, other_than=kind)
            asked = scene.group if scene and about is Kind.YES_NO else None
            return replace(question, about=about, asked=asked)
