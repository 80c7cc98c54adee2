"""Logged exchanges with shifts put on them: what changes, what is left out, what is done once."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import DecodedImage, ImageLimits
from monitor.reference.artefact import Neighbourhood
from monitor.service.drill_events import Pool, Shift, Spoiling, UnseenLogs
from monitor.service.embedding import Embedder, ImageFiles
from monitor.service.reference_build import Embedding, select
from monitor.simulate.traffic import DriftKind
from tests.fakes import HashEncoder
from tests.integration.service.parts import (
    DIM,
    Clock,
    exchange,
    file_feed,
    inline,
    late_target,
    png,
)

NOISE, CUT = Shift(DriftKind.NOISE, 3), Shift(DriftKind.TRUNCATION, 3)
COUNT = 150  # more than are embedded at a time


class CountingEncoder(HashEncoder):
    """Counts how many images it has embedded."""

    seen = 0

    def encode(self, inputs: Iterable[str | DecodedImage]) -> Tensor:
        images = list(inputs)
        self.seen += len(images)
        return super().encode(images)


def quiet(stage: str, done: int, total: int) -> None:
    del stage, done, total


def spoilt(path: Path, visual: HashEncoder, left_out: Sequence[str] = ()) -> Pool:
    reader = UnseenLogs(lambda: file_feed(path, follow=False), None, Clock(), frozenset(left_out))
    selection = select(reader, seed=0, at_most=1_000, report=quiet)
    encoders = EncoderPair("hash", visual, HashEncoder(DIM, "t"))
    embedder = Embedder(encoders, ImageLimits(), with_thumbnails=False)
    embedding = Embedding(embedder, ImageFiles(None, ImageLimits()))
    spoiling = Spoiling(embedding, [NOISE, CUT], seed=0, workers=2)
    return spoiling.pool(reader, selection, Neighbourhood({}), quiet)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Every second exchange shows one of three images."""
    lines = [
        exchange(f"e{i}", i / 10, images=[inline(png(i % 3))] if i % 2 else [], target="A taxi.")
        for i in range(COUNT)
    ]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join([*lines, late_target("e5", "A bus.")]))
    return path


def test_an_image_is_embedded_once_as_it_is_and_once_spoilt(log: Path) -> None:
    visual = CountingEncoder(DIM, "v")
    pool = spoilt(log, visual)
    assert visual.seen == 2 * 3
    shown = [z for z in pool.packed[NOISE] if z is not None]
    assert (len(shown), len(set(shown))) == (COUNT // 2, 3)


def test_noise_changes_every_image_and_nothing_else(log: Path) -> None:
    pool = spoilt(log, HashEncoder(DIM, "v"))
    noisy = pool.shifted(NOISE)
    assert not np.isclose(noisy.z_v, pool.clean.z_v).all(axis=1).any()
    assert (noisy.has_image == pool.clean.has_image).all()
    for same in ("z_t", "z_y", "z_target"):
        assert getattr(noisy, same) is getattr(pool.clean, same)


def test_truncation_changes_the_queries_and_neither_responses_nor_targets(log: Path) -> None:
    pool = spoilt(log, HashEncoder(DIM, "v"))
    cut = pool.shifted(CUT)
    assert not np.isclose(cut.z_t, pool.clean.z_t).all(axis=1).any()
    for same in ("z_v", "z_y", "z_target"):
        assert getattr(cut, same) is getattr(pool.clean, same)


def test_what_a_reference_was_made_from_is_left_out_with_its_late_target(log: Path) -> None:
    ids = spoilt(log, HashEncoder(DIM, "v"), ["e5", "e7", "elsewhere"]).clean.ids
    assert set(ids) == {f"e{i}" for i in range(COUNT)} - {"e5", "e7"}


def test_what_was_left_out_is_counted_once_however_often_it_is_read(log: Path) -> None:
    reader = UnseenLogs(
        lambda: file_feed(log, follow=False), None, Clock(), frozenset({"e5", "elsewhere"})
    )
    for _ in range(2):
        assert sum(1 for _ in reader.records()) == COUNT - 1
    assert reader.met == {"e5"}


def test_the_same_log_and_seed_give_the_same_vectors(log: Path) -> None:
    once, again = (spoilt(log, HashEncoder(DIM, "v")) for _ in range(2))
    assert once.packed == again.packed
