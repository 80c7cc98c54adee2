"""OwlEval: 82 real questions on 50 real images, answered by six multimodal models.

The reference is the answers of five models, the window those of the sixth, mPLUG-Owl. It is the
model that the set was made for, and it answers as most of the others do, in whole sentences about
the image; of the rest BLIP-2 answers in a few words, MM-ReAct gives up on many questions and
OpenFlamingo rambles, which is a change of the responses and found as one.

The set has no targets. The answers of MiniGPT-4 stand in for them, and for MiniGPT-4 those of
LLaVA: never those of the sixth model, and never a model's own.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.acceptance.program import Program

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

SIXTH = "mPLUG_Owl_7b"
FIVE = ("llava_13b", "MMreact", "blip2_13b", "minigpt4_13b", "openflanmingo")
TARGETS = {"minigpt4_13b": "llava_13b"}
TARGETS_OF_OTHERS = "minigpt4_13b"

CLEAN, BLURRED, SHUFFLED = "clean", "blurred", "shuffled"
START = datetime(2026, 3, 2, tzinfo=UTC)
WINDOWS = {name: START + timedelta(days=day) for day, name in enumerate((CLEAN, BLURRED, SHUFFLED))}
BLUR_SHARE = 0.01  # of the longest side; people still see everything that is asked about

Verdicts = Mapping[str, Mapping[str, str]]  # window -> signal -> verdict


class OwlEval:
    """Native lines made of the questions and answers."""

    def __init__(self, folder: Path) -> None:
        self.questions = _read(folder / "questions.jsonl")
        self.answers = {
            model: {
                row["question_id"]: row["answer"]
                for row in _read(folder / f"answer/{model}_answer.jsonl")
            }
            for model in (*FIVE, SIXTH)
        }

    def lines(
        self, model: str, start: datetime, images: str, order: Sequence[int] | None = None
    ) -> Iterator[str]:
        """One line for each question; with ``order`` the answer that was given to another one."""
        ids = [q["question_id"] for q in self.questions]
        targets = self.answers[TARGETS.get(model, TARGETS_OF_OTHERS)]
        for i, question in enumerate(self.questions):
            given_to = ids[i if order is None else order[i]]
            line = {
                "id": f"{model}-{images}-{start:%d}-{ids[i]}",
                "time": (start + timedelta(seconds=30 * i)).isoformat(),
                "stream": "owl",
                "query": {
                    "text": question["question"],
                    "images": [{"path": f"{images}/{question['image']}"}],
                },
                "response": self.answers[model][given_to],
                "target": targets[ids[i]],
            }
            yield json.dumps(line) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def blur_all(source: Path, destination: Path) -> None:
    destination.mkdir()
    for path in source.iterdir():
        with Image.open(path) as image:
            radius = BLUR_SHARE * max(image.size)
            blurred = image.convert("RGB").filter(ImageFilter.GaussianBlur(radius))
        blurred.save(destination / path.name, "PNG", compress_level=1)


@pytest.fixture(scope="module")
def verdicts(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """Verdict of every signal on every window, by the commands that people use."""
    folder = tmp_path_factory.mktemp("owleval")
    images = folder / "images"
    # Copied, because a link would lead out of the image root.
    shutil.copytree(shared_data / "owleval/images", images / CLEAN)
    blur_all(shared_data / "owleval/images", images / BLURRED)

    owl = OwlEval(shared_data / "owleval")
    normal = START - timedelta(days=1)
    with (folder / "reference.jsonl").open("w") as file:
        for hour, model in enumerate(FIVE):
            file.writelines(owl.lines(model, normal + timedelta(hours=hour), CLEAN))
    order = np.random.default_rng(7).permutation(len(owl.questions)).tolist()
    with (folder / "windows.jsonl").open("w") as file:
        file.writelines(owl.lines(SIXTH, WINDOWS[CLEAN], CLEAN))
        file.writelines(owl.lines(SIXTH, WINDOWS[BLURRED], BLURRED))
        file.writelines(owl.lines(SIXTH, WINDOWS[SHUFFLED], CLEAN, order))

    program = Program(
        folder,
        {
            "images": {"root": str(images)},
            "windows": {"pane": "5m", "length": "1h", "slide": "1h"},
            "reference": {"null_draws": 100},
        },
    )
    program.done("reference", "build", "reference.jsonl")
    measured = program.done("replay", "--json", "windows.jsonl").json_lines()
    return {
        name: {
            m["signal"]: m["verdict"]
            for m in measured
            if datetime.fromisoformat(m["window_start"]) == start
        }
        for name, start in WINDOWS.items()
    }


@pytest.mark.parametrize(
    "signal",
    [
        "visual_discrepancy",
        "textual_discrepancy",
        "response_discrepancy",
        "mi_query_response",
        "emi",
        "image_text_agreement",
    ],
)
def test_a_sixth_model_on_the_same_traffic_is_in_control(verdicts: Verdicts, signal: str) -> None:
    assert verdicts[CLEAN][signal] == "in_control"


def test_blurred_images_are_a_drift_of_the_images(verdicts: Verdicts) -> None:
    assert verdicts[BLURRED]["visual_discrepancy"] == "drifting"


@pytest.mark.parametrize(
    "signal",
    ["textual_discrepancy", "response_discrepancy", "output_gap", "mi_query_response", "emi"],
)
def test_blurred_images_leave_texts_and_answers_in_control(verdicts: Verdicts, signal: str) -> None:
    assert verdicts[BLURRED][signal] == "in_control"


@pytest.mark.parametrize("signal", ["mi_query_response", "emi", "emid"])
def test_answers_given_to_the_wrong_question_are_seen_as_worse(
    verdicts: Verdicts, signal: str
) -> None:
    assert verdicts[SHUFFLED][signal] == "drifting"


@pytest.mark.parametrize(
    "signal", ["visual_discrepancy", "textual_discrepancy", "response_discrepancy", "output_gap"]
)
def test_answers_given_to_the_wrong_question_leave_the_traffic_in_control(
    verdicts: Verdicts, signal: str
) -> None:
    assert verdicts[SHUFFLED][signal] == "in_control"
