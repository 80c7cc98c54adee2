import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import TooFewSamplesError
from monitor.stats import SecondMoments, entropy_of_rows, von_neumann_entropy
from tests.oracles import divergence as oracle
from tests.unit.stats.embeddings import rotation, rows


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (2, 5), (7, 7), (40, 6)])
def test_density_agrees_with_the_sum_of_outer_products(n: int, dim: int) -> None:
    z = rows(n, dim, seed=n)
    assert SecondMoments.of(z).density().numpy() == pytest.approx(oracle.density(z), abs=1e-15)


def test_entropy_agrees_with_the_matrix_logarithm() -> None:
    rho = SecondMoments.of(rows(40, 6, seed=1)).density()
    expected = oracle.entropy_by_matrix_logarithm(rho.numpy())
    assert von_neumann_entropy(rho).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "dim"), [(1, 3), (3, 9), (9, 9), (30, 9)])
def test_entropy_of_rows_is_that_of_their_density(n: int, dim: int) -> None:
    z = rows(n, dim, seed=n)
    expected = von_neumann_entropy(SecondMoments.of(z).density()).item()
    assert entropy_of_rows(z) == pytest.approx(expected, abs=1e-12)


def test_entropy_of_orthonormal_rows_is_the_logarithm_of_their_number() -> None:
    assert entropy_of_rows(torch.eye(5, 8, dtype=torch.float64)) == pytest.approx(math.log(5))


def test_entropy_of_one_repeated_point_is_zero() -> None:
    assert entropy_of_rows(rows(1, 4, seed=2).repeat(9, 1)) == pytest.approx(0, abs=1e-12)


def test_entropy_is_unchanged_by_rotation_and_order() -> None:
    z = rows(12, 6, seed=3)
    turned = z[torch.randperm(12, generator=torch.Generator().manual_seed(0))] @ rotation(6, 4)
    assert entropy_of_rows(turned) == pytest.approx(entropy_of_rows(z), abs=1e-12)


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_merging_panes_in_any_split_equals_the_whole(sizes: list[int], seed: int) -> None:
    whole = rows(sum(sizes) + 1, 4, seed)
    parts = whole.split([*sizes, 1])
    merged = functools.reduce(SecondMoments.merge, map(SecondMoments.of, parts))
    assert torch.allclose(merged.density(), SecondMoments.of(whole).density(), atol=1e-14)


def test_merging_with_the_empty_changes_nothing() -> None:
    moments = SecondMoments.of(rows(5, 3, seed=5))
    merged = SecondMoments.empty(3).merge(moments)
    assert (merged.n, merged.zz.tolist()) == (5, moments.zz.tolist())


def test_density_of_rows_rounded_to_float16_still_has_trace_one() -> None:
    z = rows(50, 64, seed=6).to(torch.float16)
    assert SecondMoments.of(z).density().trace().item() == pytest.approx(1, abs=1e-12)


def test_density_of_no_rows_is_refused() -> None:
    with pytest.raises(TooFewSamplesError):
        SecondMoments.empty(3).density()


def test_entropy_of_no_rows_is_refused() -> None:
    with pytest.raises(TooFewSamplesError):
        entropy_of_rows(torch.empty(0, 3))


@pytest.mark.parametrize("bad", [math.nan, 0.0, 2.0])
def test_rows_that_are_not_unit_vectors_are_refused(bad: float) -> None:
    z = rows(4, 3, seed=7)
    z[2] *= bad
    with pytest.raises(ValueError, match="norm 1"):
        SecondMoments.of(z)


def test_moments_of_different_dimensions_do_not_merge() -> None:
    with pytest.raises(ValueError, match="dimension"):
        SecondMoments.empty(3).merge(SecondMoments.empty(4))


@pytest.mark.parametrize("trace", [3.0, 0.3, 1 + 2e-6, math.nan])
def test_entropy_of_an_unnormalised_moment_is_refused(trace: float) -> None:
    with pytest.raises(ValueError, match="trace 1"):
        von_neumann_entropy(trace / 3 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(9,), (2, 3), (3, 3, 3)])
def test_entropy_of_what_is_not_square_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square"):
        von_neumann_entropy(torch.full(shape, 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 3)])
def test_rows_that_are_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"rows \(n, d\)"):
        SecondMoments.of(torch.full(shape, 3**-0.5))
