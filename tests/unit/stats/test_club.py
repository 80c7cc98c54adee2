import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import TooFewSamplesError
from monitor.stats import ClubMoments, Prediction, club_terms, mutual_information
from tests.oracles import information as oracle
from tests.unit.stats.embeddings import answers, generator


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (7, 3), (30, 8), (5, 20)])
def test_moments_agree_with_the_pairwise_definition(n: int, dim: int) -> None:
    y, mu, logvar = answers(n, dim, seed=n)
    expected = oracle.club(y, mu, logvar)
    assert ClubMoments.of(y, mu, logvar).estimate() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (7, 3), (30, 8), (5, 20)])
def test_terms_average_to_the_pairwise_definition(n: int, dim: int) -> None:
    y, mu, logvar = answers(n, dim, seed=n)
    expected = oracle.club(y, mu, logvar)
    assert club_terms(y, mu, logvar).mean().item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "dim"), [(7, 3), (30, 8), (5, 20)])
def test_standard_error_is_the_leave_one_out_jackknife(n: int, dim: int) -> None:
    y, mu, logvar = answers(n, dim, seed=n)
    expected = oracle.jackknife_stderr(y, mu, logvar)
    assert mutual_information(y, mu, logvar).stderr == pytest.approx(expected, rel=1e-9)


def test_influence_averages_to_the_estimate() -> None:
    y, mu, logvar = answers(30, 8, seed=1)
    influence = Prediction.of(mu, logvar).influence(y)
    expected = oracle.club(y, mu, logvar)
    assert influence.mean().item() == pytest.approx(expected, abs=1e-12)


def test_exact_gaussian_q_gives_the_closed_form() -> None:
    n, dim, rho = 200_000, 2, 0.5
    x, noise = torch.randn(2, n, dim, generator=generator(2), dtype=torch.float64)
    y = rho * x + (1 - rho**2) ** 0.5 * noise
    logvar = torch.full_like(x, 1 - rho**2).log()
    estimate = mutual_information(y, rho * x, logvar)
    # Under exact q CLUB tends to d ρ² / (1 - ρ²), above the MI of -d/2 log(1 - ρ²).
    closed_form = dim * rho**2 / (1 - rho**2)
    assert estimate.value == pytest.approx(closed_form, abs=5 * estimate.stderr)


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_merging_panes_in_any_split_equals_the_whole(sizes: list[int], seed: int) -> None:
    whole = answers(sum(sizes) + 2, 4, seed)
    parts = zip(*(t.split([*sizes, 2]) for t in whole), strict=True)
    merged = functools.reduce(
        ClubMoments.merge, (ClubMoments.of(*p) for p in parts), ClubMoments.empty(4)
    )
    expected = ClubMoments.of(*whole).estimate()
    assert merged.estimate() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_order_of_events_does_not_matter() -> None:
    y, mu, logvar = answers(20, 4, seed=3)
    there = mutual_information(y, mu, logvar)
    back = mutual_information(y.flip(0), mu.flip(0), logvar.flip(0))
    assert (back.value, back.stderr) == pytest.approx((there.value, there.stderr), abs=1e-12)


def test_terms_are_the_same_for_float32_input_as_for_its_values_in_float64() -> None:
    y, mu, logvar = (t.float() for t in answers(20, 4, seed=4))
    expected = club_terms(y.double(), mu.double(), logvar.double())
    assert club_terms(y, mu, logvar).tolist() == expected.tolist()


def test_one_repeated_event_carries_no_information() -> None:
    y, mu, logvar = (t.repeat(9, 1) for t in answers(1, 4, seed=5))
    estimate = mutual_information(y, mu, logvar)
    assert (estimate.value, estimate.stderr) == pytest.approx((0, 0), abs=1e-12)


def test_answers_given_to_other_queries_have_lower_terms() -> None:
    y, _, logvar = answers(40, 16, seed=6)
    honest = club_terms(y, y, 0 * logvar)
    swapped = y.clone()
    swapped[:5] = y[1:6]
    assert (club_terms(swapped, y, 0 * logvar)[:5] < honest[:5]).all()


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_events_are_too_few(n: int) -> None:
    y, mu, logvar = answers(n, 3, seed=7)
    with pytest.raises(TooFewSamplesError, match="at least 2"):
        mutual_information(y, mu, logvar)


@pytest.mark.parametrize("n", [0, 1])
def test_moments_of_fewer_than_two_events_have_no_estimate(n: int) -> None:
    with pytest.raises(TooFewSamplesError, match="at least 2"):
        ClubMoments.of(*answers(n, 3, seed=7)).estimate()


def test_no_event_has_no_terms() -> None:
    assert club_terms(*answers(0, 3, seed=8)).shape == (0,)


def test_answers_of_another_shape_than_the_prediction_are_refused() -> None:
    y, mu, logvar = answers(6, 3, seed=9)
    with pytest.raises(ValueError, match="shape"):
        club_terms(y[:5], mu, logvar)


@pytest.mark.parametrize(
    ("mu", "logvar"), [((6, 3), (6, 2)), ((6, 3), (5, 3)), ((6,), (6,)), ((2, 3, 4), (2, 3, 4))]
)
def test_a_prediction_of_other_shapes_is_refused(
    mu: tuple[int, ...], logvar: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="share a shape"):
        Prediction.of(torch.zeros(mu), torch.zeros(logvar))


def test_a_part_of_a_prediction_is_the_prediction_of_that_part() -> None:
    rng = np.random.default_rng(8)
    mu, logvar, y = (torch.from_numpy(a) for a in rng.standard_normal((3, 9, 4)))
    rows = torch.tensor([7, 2, 5])
    part = Prediction.of(mu, logvar).take(rows)
    expected = Prediction.of(mu[rows], logvar[rows]).influence(y[rows])
    assert part.influence(y[rows]).tolist() == pytest.approx(expected.tolist())
