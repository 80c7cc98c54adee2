import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor.stats import RjsdAttribution, SecondMoments, rjsd, rjsd_attribution
from tests.oracles import divergence as oracle
from tests.unit.stats.embeddings import rotation, rows


def attribution(p: torch.Tensor, q: torch.Tensor) -> RjsdAttribution:
    return rjsd_attribution(SecondMoments.of(p).density(), SecondMoments.of(q).density())


@given(
    n_p=st.integers(1, 25),
    n_q=st.integers(1, 25),
    dim=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_shares_of_both_sides_sum_to_the_divergence(
    n_p: int, n_q: int, dim: int, seed: int
) -> None:
    p, q = rows(n_p, dim, seed), rows(n_q, dim, seed + 1, spread=0.3)
    split = attribution(p, q)
    total = split.window_shares(q).mean() + split.reference_shares(p).mean()
    expected = rjsd(SecondMoments.of(p).density(), SecondMoments.of(q).density())
    assert total.item() == pytest.approx(expected.item(), abs=1e-10)


def test_shares_sum_to_the_published_definition() -> None:
    p, q = rows(9, 5, seed=1), rows(14, 5, seed=2)
    split = attribution(p, q)
    total = split.window_shares(q).mean().item() + split.reference_part
    assert total == pytest.approx(oracle.rjsd(p, q), abs=1e-10)


def test_the_reference_part_is_the_mean_share_of_the_reference() -> None:
    p, q = rows(9, 12, seed=3), rows(4, 12, seed=4)
    split = attribution(p, q)
    assert split.reference_shares(p).mean().item() == pytest.approx(split.reference_part, abs=1e-12)


def test_slices_of_the_window_add_up() -> None:
    p, q = rows(9, 5, seed=5), rows(14, 5, seed=6)
    shares = attribution(p, q).window_shares(q)
    assert shares[:6].sum() + shares[6:].sum() == pytest.approx(shares.sum().item(), abs=1e-12)


def test_orthogonal_supports_share_ln_2_equally() -> None:
    eye = torch.eye(6, dtype=torch.float64)
    split = attribution(eye[:3], eye[3:])
    half = math.log(2) / 2
    assert split.window_shares(eye[3:]).tolist() == pytest.approx([half] * 3, abs=1e-12)


def test_shares_are_unchanged_by_a_common_rotation() -> None:
    p, q, turn = rows(9, 5, seed=7), rows(14, 5, seed=8), rotation(5, 9)
    there, turned = attribution(p, q), attribution(p @ turn, q @ turn)
    expected = there.window_shares(q).tolist()
    assert turned.window_shares(q @ turn).tolist() == pytest.approx(expected, abs=1e-10)


def test_foreign_events_have_the_largest_shares() -> None:
    p, ordinary = rows(200, 8, seed=10, spread=0.1), rows(80, 8, seed=11, spread=0.1)
    foreign = rows(20, 8, seed=12, spread=0.1).roll(1, dims=1)
    shares = attribution(p, torch.cat((ordinary, foreign))).window_shares
    assert shares(foreign).min() > shares(ordinary).max()


def test_a_window_equal_to_the_reference_has_no_share() -> None:
    z = rows(9, 5, seed=13)
    assert attribution(z, z).window_shares(z).tolist() == pytest.approx([0] * 9, abs=1e-12)


@pytest.mark.parametrize("at", [0, 1])
def test_a_matrix_that_is_no_density_is_refused(at: int) -> None:
    densities = [torch.eye(3, dtype=torch.float64) / 3] * 2
    densities[at] = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="trace 1"):
        rjsd_attribution(*densities)


def test_different_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="share a shape"):
        attribution(rows(5, 3, seed=14), rows(5, 4, seed=14))
