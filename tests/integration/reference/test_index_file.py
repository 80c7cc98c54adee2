"""The index on disk: whole, damaged, cut, missing, foreign."""

from pathlib import Path

import numpy as np
import pytest

from monitor.errors import IndexUnusableError
from monitor.reference.faiss_index import (
    MAGIC,
    Vectors,
    build_index,
    kth_distances,
    load_index,
    open_index,
    save_index,
)


@pytest.fixture
def vectors() -> Vectors:
    z = np.random.default_rng(1).standard_normal((60, 16))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path, vectors: Vectors) -> Path:
    path = tmp_path / "folder" / "textual.faiss"
    save_index(build_index(vectors), path)
    return path


def test_a_saved_index_answers_as_before(path: Path, vectors: Vectors) -> None:
    expected = kth_distances(build_index(vectors), vectors)
    np.testing.assert_array_equal(kth_distances(load_index(path), vectors), expected)


def test_saving_leaves_no_partial_file_behind(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("place", [0, len(MAGIC) + 3, 200, -1])
def test_a_flipped_bit_is_noticed(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexUnusableError, match="rebuild"):
        load_index(path)


@pytest.mark.parametrize("length", [0, 5, 40, 500])
def test_a_cut_file_is_noticed(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(IndexUnusableError, match="rebuild"):
        load_index(path)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(IndexUnusableError, match="cannot read"):
        load_index(tmp_path / "none.faiss")


def test_a_damaged_file_is_replaced_by_one_built_from_the_vectors(
    path: Path, vectors: Vectors
) -> None:
    path.write_bytes(b"rubbish")
    opened = open_index(path, vectors)
    np.testing.assert_array_equal(
        kth_distances(load_index(path), vectors), kth_distances(opened, vectors)
    )


def test_an_index_of_other_vectors_is_replaced(path: Path, vectors: Vectors) -> None:
    assert open_index(path, vectors[:40]).shape == (40, 16)
    assert load_index(path).shape == (40, 16)


def test_a_whole_file_is_not_written_again(path: Path, vectors: Vectors) -> None:
    before = path.stat().st_mtime_ns, path.stat().st_ino
    open_index(path, vectors)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
