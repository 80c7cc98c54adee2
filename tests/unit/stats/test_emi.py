import math

import pytest
import torch

from monitor.errors import TooFewSamplesError
from monitor.stats import (
    MiEstimate,
    emi,
    emi_terms,
    emid,
    mutual_information,
    paired_information,
)
from tests.oracles import information as oracle
from tests.unit.stats.embeddings import answers, generator


def pair(n: int, dim: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Response, target, mean and log variance; the response repeats most of the target."""
    target, mu, logvar = answers(n, dim, seed)
    noise = torch.randn(n, dim, generator=generator(seed + 1), dtype=torch.float64)
    return 0.9 * target + 0.2 * noise, target, mu, logvar


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (7, 3), (5, 20)])
def test_emi_agrees_with_the_definition(n: int, dim: int) -> None:
    events = pair(n, dim, seed=n)
    assert emi(*events).value == pytest.approx(oracle.emi(*events), abs=1e-12)


def test_emi_terms_average_to_emi() -> None:
    events = pair(12, 4, seed=1)
    assert emi_terms(*events).mean().item() == pytest.approx(emi(*events).value, abs=1e-12)


def test_emi_of_a_response_that_is_its_target_is_exactly_zero() -> None:
    _, target, mu, logvar = pair(12, 4, seed=2)
    assert emi(target, target, mu, logvar) == MiEstimate(0.0, 0.0, 12)


def test_standard_error_of_emi_is_the_jackknife_of_the_difference() -> None:
    response, target, mu, logvar = pair(9, 3, seed=3)
    n = 9
    without = []
    for k in range(n):
        rest = [i for i in range(n) if i != k]
        without.append(oracle.emi(response[rest], target[rest], mu[rest], logvar[rest]))
    centred = [v - sum(without) / n for v in without]
    expected = math.sqrt((n - 1) / n * sum(c * c for c in centred))
    assert emi(response, target, mu, logvar).stderr == pytest.approx(expected, rel=1e-9)


def test_pairing_makes_emi_surer_than_its_two_informations() -> None:
    both = paired_information(*pair(200, 8, seed=4))
    assert both.emi.stderr < 0.5 * math.hypot(both.response.stderr, both.target.stderr)


def test_paired_informations_are_those_of_response_and_target_alone() -> None:
    response, target, mu, logvar = pair(20, 4, seed=5)
    both = paired_information(response, target, mu, logvar)
    alone = mutual_information(response, mu, logvar), mutual_information(target, mu, logvar)
    assert (both.response, both.target) == alone


def test_emi_does_not_depend_on_the_order_of_events() -> None:
    events = pair(20, 4, seed=6)
    there, back = emi(*events), emi(*(t.flip(0) for t in events))
    assert (back.value, back.stderr) == pytest.approx((there.value, there.stderr), abs=1e-12)


def test_responses_to_other_queries_lower_emi() -> None:
    response, target, mu, logvar = pair(60, 8, seed=7)
    assert emi(response.roll(1, 0), target, mu, logvar).value < emi(*pair(60, 8, seed=7)).value


@pytest.mark.parametrize("n", [0, 1])
def test_emi_of_fewer_than_two_events_is_refused(n: int) -> None:
    with pytest.raises(TooFewSamplesError):
        emi(*pair(n, 3, seed=8))


def test_emid_is_positive_when_the_window_is_worse() -> None:
    difference = emid(MiEstimate(0.5, 0.03, 400), MiEstimate(0.3, 0.04, 90))
    assert (difference.value, difference.stderr, difference.n) == pytest.approx((0.2, 0.05, 90))
