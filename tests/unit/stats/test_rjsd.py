import math

import pytest
import torch

from monitor.stats import SecondMoments, Spectrum, rjsd, rjsd_from
from tests.oracles import divergence as oracle
from tests.unit.stats.embeddings import rotation, rows


def divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    return rjsd(SecondMoments.of(p).density(), SecondMoments.of(q).density()).item()


@pytest.mark.parametrize(("n_p", "n_q", "dim"), [(1, 1, 2), (30, 7, 5), (3, 4, 12), (20, 3, 12)])
def test_rjsd_agrees_with_the_definition(n_p: int, n_q: int, dim: int) -> None:
    p, q = rows(n_p, dim, seed=1), rows(n_q, dim, seed=2, spread=0.3)
    assert divergence(p, q) == pytest.approx(oracle.rjsd(p, q), abs=1e-12)


@pytest.mark.parametrize(("n_p", "n_q", "dim"), [(1, 1, 2), (30, 7, 5), (3, 4, 12), (20, 3, 12)])
def test_known_entropies_give_the_same_divergence(n_p: int, n_q: int, dim: int) -> None:
    p, q = rows(n_p, dim, seed=1), rows(n_q, dim, seed=2, spread=0.3)
    value = rjsd_from(Spectrum.of_rows(p), Spectrum.of_rows(q))
    assert value == pytest.approx(divergence(p, q), abs=1e-12)


@pytest.mark.parametrize("n_q", [5000, 500, 100, 1])
def test_orthogonal_supports_are_ln_2_apart_whatever_their_counts(n_q: int) -> None:
    p, q = torch.zeros(5000, 8), torch.zeros(n_q, 8)
    p[:, :4], q[:, 4:] = rows(5000, 4, seed=3).float(), rows(n_q, 4, seed=4).float()
    assert divergence(p, q) == pytest.approx(math.log(2), abs=1e-9)


def test_two_pure_states_at_an_angle_have_the_closed_form_divergence() -> None:
    angle = 0.7
    p, q = torch.tensor([[1, 0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64).split(1)
    mixed = [(1 + math.cos(angle)) / 2, (1 - math.cos(angle)) / 2]  # eigenvalues of the mixture
    expected = -sum(v * math.log(v) for v in mixed)
    assert divergence(p, q) == pytest.approx(expected, abs=1e-12)


def test_rounding_takes_no_divergence_out_of_its_range() -> None:
    # Entropies that are off by more than any rounding.
    eye, off = torch.eye(2, dtype=torch.float64), 1e-3
    first, second, still = (
        Spectrum(torch.outer(z, z), entropy)
        for z, entropy in ((eye[0], -off), (eye[1], -off), (eye[0], off))
    )
    assert (rjsd_from(first, second), rjsd_from(still, still)) == (math.log(2), 0.0)


@pytest.mark.parametrize("name", ["density_p", "density_q"])
def test_a_matrix_that_is_no_density_is_named(name: str) -> None:
    eye = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"{name} must have trace 1"):
        rjsd(**{"density_p": eye / 3, "density_q": eye / 3, name: eye})


def test_rjsd_of_a_sample_with_itself_is_zero() -> None:
    z = rows(20, 6, seed=5)
    assert divergence(z, z) == pytest.approx(0, abs=1e-12)


def test_one_repeated_point_is_as_one_point() -> None:
    p, q = rows(20, 6, seed=6), rows(1, 6, seed=7)
    assert divergence(p, q.repeat(50, 1)) == pytest.approx(divergence(p, q), abs=1e-12)


def test_rjsd_is_symmetric() -> None:
    p, q = rows(20, 6, seed=8), rows(9, 6, seed=9)
    assert divergence(p, q) == pytest.approx(divergence(q, p), abs=1e-14)


def test_rjsd_is_unchanged_by_a_common_rotation() -> None:
    p, q, turn = rows(20, 6, seed=8), rows(9, 6, seed=9), rotation(6, 10)
    assert divergence(p @ turn, q @ turn) == pytest.approx(divergence(p, q), abs=1e-12)


def test_rjsd_is_unchanged_when_every_row_comes_twice() -> None:
    p, q = rows(20, 6, seed=8), rows(9, 6, seed=9)
    assert divergence(p, q.repeat(2, 1)) == pytest.approx(divergence(p, q), abs=1e-12)


def test_unnormalised_moments_are_refused() -> None:
    p = SecondMoments.of(rows(5, 3, seed=11))
    with pytest.raises(ValueError, match="density_q must have trace 1"):
        rjsd(p.density(), p.zz)


def test_different_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="share a shape"):
        rjsd_from(Spectrum.of_rows(rows(5, 3, seed=12)), Spectrum.of_rows(rows(5, 4, seed=12)))


def test_a_small_sample_keeps_its_rows_and_a_large_one_only_its_density() -> None:
    kept = [Spectrum.of_rows(rows(n, 8, seed=13)).root is not None for n in (1, 7, 8, 20)]
    assert kept == [True, True, False, False]
