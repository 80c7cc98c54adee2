"""The published scenarios of LLaVA-Bench with LLaVA-1.5-13b, the text side of them.

The images are not at hand, so our bound lacks its visual term; the published one has it, and other
encoders. What can be compared is the order of the scenarios.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from monitor.encoders.builtin import BuiltinTextEncoder
from monitor.stats.bound import emid_bound_unscaled
from monitor.stats.rjsd import Spectrum, rjsd_from

MODEL = "llava-v1.5-13b"
IN_DISTRIBUTION = {"natural": "llava_bench_coco_English", "synthetic": "llava_bench_coco"}
HALVES = ("easy", "normal", "hard")  # of the questions in the wild; normal is all of them


@dataclass(frozen=True, slots=True)
class Scenario:
    """Spectra of the prompts, the answers and the targets."""

    prompts: Spectrum
    answers: Spectrum
    targets: Spectrum


class LlavaBench:
    """Scenarios by their published names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder = BuiltinTextEncoder()
        self._splits: Mapping[str, list[int]] = json.loads(
            (folder / "wild_splits.json").read_text()
        )

    def scenario(self, name: str) -> Scenario:
        half = next((half for half in HALVES if f"_{half}_" in name), "")
        rows, file = self._splits.get(half), name.replace(f"_{half}_", "_") if half else name
        answers = self._read(f"responses/{file}_{MODEL}.jsonl")
        targets = self._read(f"{'wild' if half else 'coco'}_targets_gpt4.jsonl")
        return Scenario(
            self._spectrum([a["prompt"] for a in answers], rows),
            self._spectrum([a["text"] for a in answers], rows),
            self._spectrum([t["text"] for t in targets], rows),
        )

    def _read(self, name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self._folder / name).read_text().splitlines()]

    def _spectrum(self, texts: Sequence[str], rows: Sequence[int] | None) -> Spectrum:
        chosen = texts if rows is None else [texts[row] for row in rows]
        return Spectrum.of_rows(self._encoder.encode(chosen))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Published bounds of the scenarios of one kind of shift, and the text side of ours."""

    names: tuple[str, ...]
    ours: tuple[float, ...]
    published: tuple[float, ...]

    @classmethod
    def of(cls, data: Path, shift: str) -> Self:
        file = data / "mllmshift_emi" / f"published_{shift}_{MODEL}.json"
        published: Mapping[str, float] = json.loads(file.read_text())["EMID_UB"]
        bench = LlavaBench(data / "llava_bench")
        normal = bench.scenario(IN_DISTRIBUTION[shift])
        gap = rjsd_from(normal.answers, normal.targets)
        scenarios = map(bench.scenario, published)
        ours = tuple(
            emid_bound_unscaled(
                visual=None,
                textual=rjsd_from(normal.prompts, scenario.prompts),
                gap_reference=gap,
                gap_window=rjsd_from(scenario.answers, scenario.targets),
            ).value
            for scenario in scenarios
        )
        return cls(tuple(published), ours, tuple(published.values()))
