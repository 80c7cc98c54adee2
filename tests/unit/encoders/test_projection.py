import numpy as np

from monitor.encoders.projection import in_dimension
from monitor.reference.embedded import Embedded


def rows(n: int, dim: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    z = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_rows_that_have_the_dimension_are_left_alone() -> None:
    z = rows(3, 8)
    assert in_dimension(z, 8) is z


def test_projected_rows_are_unit_vectors_of_the_dimension_and_the_same_every_time() -> None:
    z = in_dimension(rows(5, 512), 768)
    assert z.shape == (5, 768)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(z, in_dimension(rows(5, 512), 768))


def test_inner_products_are_kept_up_to_the_noise_of_a_random_projection() -> None:
    z = rows(40, 64)
    projected = in_dimension(z, 1024)
    # Each error is about normal with a standard deviation of at most sqrt(2 / 1024); six of them.
    assert np.abs(projected @ projected.T - z @ z.T).max() < 6 * (2 / 1024) ** 0.5


def test_images_and_texts_of_different_dimensions_are_fused_in_that_of_the_texts() -> None:
    z_v, z_t = rows(2, 16), rows(3, 24, seed=1)
    has_image = np.array([True, False, True])
    nothing = np.zeros(3, dtype=np.bool_)
    events = Embedded(
        ids=("a", "b", "c"), z_t=z_t, z_y=z_t, z_v=z_v, has_image=has_image,
        z_target=z_t[:0], has_target=nothing,
    )  # fmt: skip
    fused = events.fused()
    np.testing.assert_allclose(fused[has_image], (in_dimension(z_v, 24) + z_t[has_image]) / 2)
    np.testing.assert_array_equal(fused[1], z_t[1])
