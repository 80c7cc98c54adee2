"""Real prompts and answers of LLaVA-1.5-13b on LLaVA-Bench, the text side of it.

The images are not at hand, so our bound lacks its visual term; the published one has it, and other
encoders. What is compared is the order of the scenarios.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from monitor.encoders.builtin import BuiltinTextEncoder
from monitor.stats.bound import emid_bound_unscaled
from monitor.stats.rjsd import Spectrum, rjsd_from

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

PUBLISHED = "mllmshift_emi/published_natural_llava-v1.5-13b.json"
IN_DISTRIBUTION = "llava_bench_coco_English"  # has a published EMI, and no EMID of its own
PREFIX = "llava_bench_"


class LlavaBench:
    """Spectra of the prompts, the answers and the targets of a scenario."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder = BuiltinTextEncoder()
        self._splits = json.loads((folder / "wild_splits.json").read_text())

    def scenario(self, name: str) -> tuple[Spectrum, Spectrum, Spectrum]:
        *place, language = name.removeprefix(PREFIX).split("_")
        benchmark = "coco" if place == ["coco"] else "in_the_wild"
        targets = "coco" if place == ["coco"] else "wild"
        # Row numbers of the easy and the hard half; "normal" and coco are all rows.
        rows = self._splits.get(place[-1])
        answers = self._read(f"responses/{PREFIX}{benchmark}_{language}_llava-v1.5-13b.jsonl")
        return (
            self._spectrum([a["prompt"] for a in answers], rows),
            self._spectrum([a["text"] for a in answers], rows),
            self._spectrum([t["text"] for t in self._read(f"{targets}_targets_gpt4.jsonl")], rows),
        )

    def _read(self, name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self._folder / name).read_text().splitlines()]

    def _spectrum(self, texts: Sequence[str], rows: Sequence[int] | None) -> Spectrum:
        chosen = texts if rows is None else [texts[row] for row in rows]
        return Spectrum.of_rows(self._encoder.encode(chosen))


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Mapping[str, float]:
    bounds: Mapping[str, float] = json.loads((shared_data / PUBLISHED).read_text())["EMID_UB"]
    return bounds


def text_side_of_the_bound(bench: LlavaBench, scenarios: Sequence[str]) -> list[float]:
    normal_prompts, normal_answers, normal_targets = bench.scenario(IN_DISTRIBUTION)
    gap_reference = rjsd_from(normal_answers, normal_targets)
    values = []
    for name in scenarios:
        prompts, answers, targets = bench.scenario(name)
        bound = emid_bound_unscaled(
            visual=None,
            textual=rjsd_from(normal_prompts, prompts),
            gap_reference=gap_reference,
            gap_window=rjsd_from(answers, targets),
        )
        values.append(bound.value)
    return values


def test_the_bound_ranks_the_natural_scenarios_as_the_published_one_does(
    shared_data: Path, published: Mapping[str, float]
) -> None:
    assert len(published) == 27
    ours = text_side_of_the_bound(LlavaBench(shared_data / "llava_bench"), list(published))
    assert spearmanr(ours, list(published.values())).statistic >= 0.9
