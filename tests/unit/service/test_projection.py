import numpy as np

from monitor.service.projection import evenly, in_plane, with_first
from tests.populations import unit


def test_a_window_elsewhere_is_elsewhere_on_the_map() -> None:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((90, 20)) * 0.1 + np.eye(20)[0]
    moved = rng.standard_normal((60, 20)) * 0.1 + np.eye(20)[1]
    plane = in_plane(unit(normal), unit(moved))
    assert (plane.reference.shape, plane.window.shape) == ((90, 2), (60, 2))
    between = plane.window.mean(axis=0) - plane.reference.mean(axis=0)
    spread = plane.reference.std(axis=0).max()
    assert np.linalg.norm(between) > 5 * spread
    assert plane.explained[0] > 0.5 > plane.explained[1]


def test_few_events_turn_the_axes_as_much_as_many() -> None:
    rng = np.random.default_rng(1)
    normal = unit(rng.standard_normal((400, 20)) * 0.1 + np.eye(20)[0])
    moved = unit(rng.standard_normal((12, 20)) * 0.1 + np.eye(20)[1])
    plane = in_plane(normal, moved)
    between = abs(plane.window[:, 0].mean() - plane.reference[:, 0].mean())
    assert between > 1.0  # of sqrt(2) between the two directions


def test_distances_on_the_map_are_never_larger_than_those_of_the_embeddings() -> None:
    rng = np.random.default_rng(2)
    a, b = (unit(rng.standard_normal((30, 16))) for _ in range(2))
    plane = in_plane(a, b)
    flat = np.linalg.norm(plane.reference[:, None] - plane.window[None], axis=2)
    true = np.linalg.norm(a[:, None] - b[None], axis=2)
    assert (flat <= true + 1e-6).all()


def test_the_same_events_give_the_same_map() -> None:
    rng = np.random.default_rng(3)
    a, b = (unit(rng.standard_normal((30, 16))) for _ in range(2))
    assert (in_plane(a, b).window == in_plane(a, b).window).all()


def test_points_are_bounded_and_hold_the_first_of_the_ranking() -> None:
    assert evenly(1000, 4).tolist() == [0, 333, 666, 999]
    assert evenly(3, 10).tolist() == [0, 1, 2]
    assert with_first(np.array([70, 90]), 100, 5).tolist() == [0, 1, 2, 70, 90]
