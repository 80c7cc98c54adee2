"""First-order influence of events against finite differences and against their exact shares."""

import pytest
import torch
from torch import Tensor

from monitor.errors import TooFewSamplesError
from monitor.stats import SecondMoments, Spectrum, rjsd, rjsd_attribution
from monitor.stats.influence import ROWS_MAX, Influence, Side, gap_influence, rjsd_influence
from tests.unit.stats.embeddings import generator, rotation, rows, unit

AGREES = 0.1  # of the spread; the integral over resolvents is a sum of five


def density(z: Tensor) -> Tensor:
    return SecondMoments.of(z).density()


def side(z: Tensor) -> Side:
    return Side(Spectrum.of_rows(z), z)


def centred(values: Tensor) -> Tensor:
    return values - values.mean()


def distance(found: Tensor, expected: Tensor) -> float:
    """Between two lists of influences, as a fraction of the expected ones' spread."""
    off = torch.linalg.vector_norm(centred(found) - centred(expected))
    return float(off / torch.linalg.vector_norm(centred(expected)))


@pytest.mark.parametrize(("n_p", "n_q", "dim"), [(60, 40, 6), (90, 20, 48), (90, 60, 48)])
@pytest.mark.parametrize("drift", [0.0, 0.6])
def test_influence_is_the_share_of_each_event_up_to_a_constant(
    n_p: int, n_q: int, dim: int, drift: float
) -> None:
    p, q = rows(n_p, dim, seed=1), rows(n_q, dim, seed=2, spread=1 - drift)
    shares = rjsd_attribution(density(p), density(q)).window_shares(q)
    assert distance(rjsd_influence(Spectrum.of_rows(p), side(q)).values, shares) < AGREES


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_five_points_are_enough_for_a_spectrum_as_steep_as_that_of_embeddings(
    drift: float,
) -> None:
    weights = 1 / torch.arange(1, 129, dtype=torch.float64)  # variances over four decades

    def steep(n: int, seed: int, by: float) -> Tensor:
        z = weights * torch.randn(n, 128, generator=generator(seed), dtype=torch.float64)
        z[:, 0] += 1
        z[:, 1] += by
        return unit(z)

    p, q = steep(256, 18, 0.0), steep(200, 19, drift)
    shares = rjsd_attribution(density(p), density(q)).window_shares(q)
    assert distance(rjsd_influence(Spectrum.of_rows(p), side(q)).values, shares) < 0.05


def test_influence_is_the_slope_of_the_divergence_towards_each_event() -> None:
    p, q = density(rows(60, 5, seed=3)), rows(40, 5, seed=4, spread=0.5)
    step = 1e-5

    def towards(z: Tensor) -> float:
        moved = (1 - step) * density(q) + step * torch.outer(z, z)
        return float(rjsd(p, moved) - rjsd(p, density(q))) / step

    slopes = torch.tensor([towards(z) for z in q], dtype=torch.float64)
    found = rjsd_influence(Spectrum.of_density(p), side(q))
    assert distance(found.values, slopes) < AGREES


def test_an_event_moves_both_sides_of_the_output_gap() -> None:
    y, target = rows(40, 8, seed=5), rows(40, 8, seed=6, spread=0.5)
    split = rjsd_attribution(density(y), density(target))
    shares = split.reference_shares(y) + split.window_shares(target)
    assert distance(gap_influence(side(y), side(target)).values, shares) < AGREES


def test_the_gap_is_the_same_from_either_side() -> None:
    y, target = side(rows(40, 8, seed=5)), side(rows(40, 8, seed=6))
    there, back = gap_influence(y, target), gap_influence(target, y)
    assert there.values.tolist() == pytest.approx(back.values.tolist(), abs=1e-6)


def test_sides_of_different_events_have_no_gap() -> None:
    with pytest.raises(ValueError, match="same events"):
        gap_influence(side(rows(40, 8, seed=5)), side(rows(39, 8, seed=6)))


def test_an_event_that_is_there_twice_has_its_influence_twice() -> None:
    p, q = Spectrum.of_rows(rows(60, 5, seed=7)), rows(30, 5, seed=8)
    once, twice = rjsd_influence(p, side(q)), rjsd_influence(p, side(torch.cat((q, q))))
    assert twice.values.tolist() == pytest.approx(once.values.tolist() * 2, abs=1e-5)


def test_influence_is_unchanged_by_a_common_rotation() -> None:
    p, q, turn = rows(60, 5, seed=9), rows(30, 5, seed=10), rotation(5, 11)
    there = rjsd_influence(Spectrum.of_rows(p), side(q))
    turned = rjsd_influence(Spectrum.of_rows(p @ turn), side(q @ turn))
    assert turned.values.tolist() == pytest.approx(there.values.tolist(), abs=1e-5)


def test_of_many_events_the_first_tell_the_error_of_all() -> None:
    q = rows(4 * ROWS_MAX, 5, seed=12)
    found = rjsd_influence(Spectrum.of_rows(rows(60, 5, seed=13)), side(q))
    of_shares = rjsd_attribution(density(rows(60, 5, seed=13)), density(q)).window_shares(q)
    expected = float(of_shares[:ROWS_MAX].std() / len(q) ** 0.5)
    assert found.stderr == pytest.approx(expected, rel=AGREES)


def test_equal_events_have_no_spread() -> None:
    q = rows(1, 5, seed=14).repeat(20, 1)
    found = rjsd_influence(Spectrum.of_rows(rows(60, 5, seed=15)), side(q))
    assert found.stderr == pytest.approx(0, abs=1e-6)


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    assert Influence(values, 4).stderr == pytest.approx(float(values.std()) / 2)


def test_two_events_have_an_error() -> None:
    assert Influence(torch.tensor([1.0, 3.0], dtype=torch.float64), 2).stderr == pytest.approx(1.0)


def test_deviations_of_two_statistics_add_up_to_those_of_their_sum() -> None:
    a, b = (torch.randn(9, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    both = Influence(a, 9).deviations + 3 * Influence(b, 9).deviations
    assert both.tolist() == pytest.approx(Influence(a + 3 * b, 9).deviations.tolist(), abs=1e-6)


def test_a_single_event_has_no_error() -> None:
    with pytest.raises(TooFewSamplesError, match="at least 2"):
        _ = rjsd_influence(Spectrum.of_rows(rows(60, 5, seed=16)), side(rows(1, 5, seed=17))).stderr
