"""The neighbour index against brute force."""

import numpy as np
import pytest

from monitor.reference import faiss_index
from monitor.reference.faiss_index import (
    Vectors,
    build_index,
    kth_distances,
    leave_one_out_distances,
    neighbours,
)


def unit(n: int, dim: int, seed: int) -> Vectors:
    z = np.random.default_rng(seed).standard_normal((n, dim))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def brute_distances(queries: Vectors, vectors: Vectors) -> np.ndarray:
    return np.linalg.norm(queries[:, None].astype(np.float64) - vectors[None], axis=2)


def test_kth_distances_agree_with_brute_force() -> None:
    vectors, queries = unit(80, 12, 1), unit(25, 12, 2)
    expected = np.sort(brute_distances(queries, vectors), axis=1)[:, 9]
    np.testing.assert_allclose(kth_distances(build_index(vectors), queries), expected, atol=1e-5)


def test_leave_one_out_distances_agree_with_brute_force_without_oneself() -> None:
    vectors = unit(60, 12, 3)
    distances = brute_distances(vectors, vectors)
    np.fill_diagonal(distances, np.inf)
    expected = np.sort(distances, axis=1)[:, 9]
    found = leave_one_out_distances(build_index(vectors), vectors)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vector_that_occurs_twice_has_its_double_as_nearest_other() -> None:
    vectors = unit(20, 8, 4)
    vectors[1] = vectors[0]
    assert leave_one_out_distances(build_index(vectors), vectors, k=1)[0] == pytest.approx(
        0, abs=1e-3
    )


def test_neighbours_are_named_by_the_given_positions() -> None:
    vectors = unit(5, 8, 5)
    positions, distances = neighbours(
        build_index(vectors, np.array([40, 10, 30, 20, 50])), vectors[2:3], k=2
    )
    assert positions[0, 0] == 30
    assert distances[0, 0] < distances[0, 1]


def test_fewer_vectors_than_neighbours_give_the_farthest_there_is() -> None:
    vectors, queries = unit(3, 8, 6), unit(4, 8, 7)
    expected = brute_distances(queries, vectors).max(axis=1)
    np.testing.assert_allclose(kth_distances(build_index(vectors), queries), expected, atol=1e-5)


def test_no_queries_have_no_distances() -> None:
    assert kth_distances(build_index(unit(3, 8, 8)), unit(0, 8, 9)).shape == (0,)


def test_batches_do_not_change_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit(50, 8, 10), unit(30, 8, 11)
    index = build_index(vectors)
    whole = kth_distances(index, queries)
    monkeypatch.setattr(faiss_index, "BATCH", 7)
    np.testing.assert_allclose(kth_distances(index, queries), whole, atol=1e-5)


def test_a_large_reference_is_searched_approximately_but_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faiss_index, "FLAT_MAX", 3_000)
    vectors = unit(4_000, 16, 12)
    exact = np.sort(brute_distances(vectors[:50], vectors), axis=1)[:, 9]
    found = kth_distances(build_index(vectors), vectors[:50])
    # Codes of 8 bits and unvisited lists move a distance, by a few per cent at most.
    np.testing.assert_allclose(found, exact, rtol=0.1)
