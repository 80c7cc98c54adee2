"""Small made-up traffic as native lines."""

import base64
import io
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("red", "blue", "green", "white", "black", "yellow", "orange", "grey")
THINGS = ("bench", "bicycle", "house", "tree", "boat", "lamp", "tower", "bridge", "truck", "tent")
PLACES = ("by the river", "on the hill", "in the square", "near the station", "at the harbour")
QUESTIONS = (
    "What stands {place}?",
    "Which colour is the {thing} {place}?",
    "Is there a {thing} {place}, and what does it look like?",
    "Describe what you see {place}.",
)
ANSWERS = ("A {colour} {thing} stands {place}.", "There is a {colour} {thing} {place}, I think.")

Line = dict[str, object]


class Traffic:
    """Exchanges about coloured things in places; the same seed gives the same ones."""

    def __init__(self, seed: int, image_share: float = 0.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._image_share = image_share

    def exchange(self, identifier: str, time: datetime, stream: str) -> Line:
        words = {
            name: choices[int(self._rng.integers(len(choices)))]
            for name, choices in (("colour", COLOURS), ("thing", THINGS), ("place", PLACES))
        }
        question = QUESTIONS[int(self._rng.integers(len(QUESTIONS)))]
        answer = ANSWERS[int(self._rng.integers(len(ANSWERS)))]
        query: Line = {"text": question.format(**words)}
        if self._rng.random() < self._image_share:
            query["images"] = [{"data": self._image()}]
        return {
            "id": identifier,
            "time": time.isoformat(),
            "stream": stream,
            "query": query,
            "response": answer.format(**words),
        }

    def evenly(
        self, count: int, stream: str, start: datetime, step: timedelta, *, with_targets: bool
    ) -> list[Line]:
        """Exchanges at equal steps, with an accepted answer where asked for."""
        lines = [self.exchange(f"{stream}-{i}", start + i * step, stream) for i in range(count)]
        if with_targets:
            lines = [line | {"target": f"{line['response']} That is all."} for line in lines]
        return lines

    def _image(self) -> str:
        pixels = self._rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def as_bytes(lines: Iterable[Mapping[str, object] | bytes]) -> bytes:
    """Lines of a file; bytes stay as they are."""
    return b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )


def write(path: Path, lines: Iterable[Mapping[str, object] | bytes]) -> Path:
    path.write_bytes(as_bytes(lines))
    return path
