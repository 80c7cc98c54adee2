import math
from collections.abc import Callable
from functools import partial

import pytest

from monitor.stats import Bound, emid_bound, emid_bound_unscaled, input_bound
from tests.oracles import divergence as oracle

VALUES = (0.2, 0.1, 0.3, 0.4)


def test_unscaled_bound_agrees_with_the_formula() -> None:
    v, t, p, q = VALUES
    bound = emid_bound_unscaled(visual=v, textual=t, gap_reference=p, gap_window=q)
    assert bound.value == pytest.approx(oracle.bound_unscaled(*VALUES), abs=1e-14)


def test_bound_agrees_with_the_formula() -> None:
    v, t, p, q = VALUES
    bound = emid_bound(visual=v, textual=t, gap_reference=p, gap_window=q, entropy_factor=10)
    assert bound.value == pytest.approx(oracle.bound(*VALUES, entropy=10), abs=1e-14)


def test_input_bound_is_the_unscaled_bound_without_its_gaps() -> None:
    full = emid_bound_unscaled(visual=0.2, textual=0.1, gap_reference=0, gap_window=0)
    assert input_bound(visual=0.2, textual=0.1).value == full.value


def test_an_absent_modality_is_not_among_the_terms() -> None:
    bound = emid_bound_unscaled(visual=None, textual=0.1, gap_reference=0.3, gap_window=0.4)
    assert bound.terms == ("textual", "output_gap_reference", "output_gap_window")


def test_a_modality_without_divergence_is_among_the_terms() -> None:
    assert input_bound(visual=0.0, textual=0.1).terms == ("visual", "textual")


def test_nothing_diverging_bounds_by_zero() -> None:
    zero = emid_bound(visual=0, textual=0, gap_reference=0, gap_window=0, entropy_factor=5)
    assert zero.value == 0


def test_a_bound_of_no_input_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        input_bound(visual=None, textual=None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1])
def test_a_divergence_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="output_gap_window"):
        emid_bound_unscaled(visual=0.1, textual=0.1, gap_reference=0.1, gap_window=bad)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_entropy_factor_multiplies_the_inputs_alone(factor: float) -> None:
    inputs = input_bound(visual=0.2, textual=0.1).value
    bound = emid_bound(
        visual=0.2, textual=0.1, gap_reference=0, gap_window=0, entropy_factor=factor
    )
    assert bound.value == pytest.approx(factor * inputs)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_an_entropy_factor_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="entropy_factor"):
        emid_bound(visual=0.1, textual=0.1, gap_reference=0.1, gap_window=0.1, entropy_factor=bad)


INPUTS = {"visual": 0.2, "textual": 0.05}
GAPS = {"gap_reference": 0.03, "gap_window": 0.1}


@pytest.mark.parametrize(
    ("bound", "at"),
    [
        (input_bound, INPUTS),
        (input_bound, {"visual": None, "textual": 0.05}),
        (emid_bound_unscaled, INPUTS | GAPS),
        (partial(emid_bound, entropy_factor=7), INPUTS | GAPS),
    ],
)
def test_a_bound_rises_with_each_divergence_as_its_slopes_say(
    bound: Callable[..., Bound], at: dict[str, float | None]
) -> None:
    given, step = {name: d for name, d in at.items() if d is not None}, 1e-7
    numeric = [
        (bound(**(at | {name: d + step})).value - bound(**at).value) / step
        for name, d in given.items()
    ]
    terms = {f"output_{name}" if name in GAPS else name: d for name, d in given.items()}
    slopes = bound(**at).slopes(terms)
    assert slopes is not None
    assert list(slopes.values()) == pytest.approx(numeric, rel=1e-5)


def test_a_bound_has_no_slope_where_a_divergence_is_zero() -> None:
    bound = input_bound(visual=0.0, textual=0.1)
    assert bound.slopes({"visual": 0.0, "textual": 0.1}) is None
