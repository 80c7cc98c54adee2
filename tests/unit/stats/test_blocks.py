import numpy as np
import numpy.typing as npt
import pytest

from monitor.stats import BlockDispersion, block_dispersion

N, D = 1024, 24
SCALES = 0.8 ** np.arange(D)  # a few directions weigh more than others, as in embeddings


def rows(seed: int, n: int = N) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((n, D)) * SCALES


def walk(rho: float, seed: int) -> npt.NDArray[np.float64]:
    """An autoregressive process in every direction."""
    noise, found = rows(seed), np.empty((N, D))
    last = noise[0]
    for i, step in enumerate(noise):
        found[i] = last = rho * last + (1 - rho**2) ** 0.5 * step
    return found


def by_size(found: list[BlockDispersion]) -> dict[int, BlockDispersion]:
    return {blocks.size: blocks for blocks in found}


def test_blocks_double_while_there_are_eight_of_them() -> None:
    assert list(by_size(block_dispersion(rows(1)))) == [2, 4, 8, 16, 32, 64, 128]


@pytest.mark.parametrize("n", [16, 37, 45])
def test_the_dispersion_of_blocks_is_that_of_its_definition(n: int) -> None:
    z = rows(7, n)
    centred = z - z.mean(axis=0)
    covariance = np.cov(z.T, ddof=0)
    for found in block_dispersion(z):
        size, k = found.size, n // found.size
        means = [centred[b * size : (b + 1) * size].mean(axis=0) for b in range(k)]
        spread = sum(m @ m for m in means) / k / np.mean([row @ row for row in centred])
        ratio = size * spread * (n - 1) / (n - size)
        weights = np.trace(covariance @ covariance) / np.trace(covariance) ** 2
        error = (2 * (1 - 1 / size) * weights / k) ** 0.5
        assert (found.ratio, found.z_score) == pytest.approx((ratio, (ratio - 1) / error))


def test_rows_in_any_order_have_a_ratio_of_one_on_average() -> None:
    z, rng, orders = rows(8, 33), np.random.default_rng(9), 3000
    ratios = [[b.ratio for b in block_dispersion(rng.permutation(z))] for _ in range(orders)]
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / orders**0.5
    assert np.abs((mean - 1) / error).max() < 4.5


def test_neither_scale_nor_place_of_the_rows_matters() -> None:
    found, moved = (block_dispersion(z) for z in (rows(1, 64), 1e-3 * rows(1, 64) + 0.5))
    assert [b.z_score for b in moved] == pytest.approx([b.z_score for b in found])


def test_z_scores_of_independent_rows_are_standard_at_every_size() -> None:
    repeats = 400
    scores = np.array(
        [[b.z_score for b in block_dispersion(rows(seed))] for seed in range(repeats)]
    )
    # The standard error of a mean, and of the spread of laws with an excess kurtosis of up to 3.
    assert np.abs(scores.mean(axis=0)).max() < 4 / repeats**0.5
    assert scores.std(axis=0) == pytest.approx(1, abs=4 * (5 / (4 * repeats)) ** 0.5)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_an_autoregressive_walk_has_the_dispersion_of_its_law(rho: float) -> None:
    found = by_size(block_dispersion(walk(rho, seed=2)))[16]
    lags = np.arange(1, 16)
    expected = 1 + 2 * float(((1 - lags / 16) * rho**lags).sum())
    assert found.ratio == pytest.approx(expected, rel=0.2)


def test_a_rhythm_is_seen_by_large_blocks_and_not_by_small_ones() -> None:
    shifted = rows(3)
    shifted[:, 0] += 0.3 * np.sin(np.arange(N) * 2 * np.pi / 512)
    found = by_size(block_dispersion(shifted))
    assert found[128].z_score > 5
    assert found[2].z_score < 5


def test_repeated_rows_are_seen_at_once() -> None:
    assert block_dispersion(np.repeat(rows(4, N // 2), 2, axis=0))[0].z_score > 5


@pytest.mark.parametrize("z", [rows(5, 15), rows(5, 0), np.ones((N, D))])
def test_too_few_or_equal_rows_say_nothing(z: npt.NDArray[np.float64]) -> None:
    assert block_dispersion(z) == []


def test_fewer_rows_than_columns_have_the_same_error() -> None:
    wide = np.pad(rows(6, 64), ((0, 0), (0, 100)))
    narrow, padded = block_dispersion(rows(6, 64)), block_dispersion(wide)
    assert [b.z_score for b in padded] == pytest.approx([b.z_score for b in narrow])
