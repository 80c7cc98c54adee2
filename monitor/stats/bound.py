"""Upper bounds of EMID from the discrepancies, and which terms each one has."""

from collections.abc import Mapping
from dataclasses import dataclass

VISUAL, TEXTUAL = "visual", "textual"
GAP_REFERENCE, GAP_WINDOW = "output_gap_reference", "output_gap_window"
DEGREES = {VISUAL: 2, TEXTUAL: 2, GAP_REFERENCE: 4, GAP_WINDOW: 4}  # of the roots
GAP_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound in nats and the names of the terms it was summed from.

    Bounds with different terms are never compared: an absent term is absent, not zero.
    """

    value: float
    terms: tuple[str, ...]
    weights: tuple[float, ...]  # of each term's root in the sum

    def slopes(self, divergences: Mapping[str, float]) -> dict[str, float] | None:
        """How fast it rises with each divergence that it was made from, by term.

        None where one of them is 0: the slope of a root is infinite there.
        """
        if not all(divergences.values()):
            return None
        weights = dict(zip(self.terms, self.weights, strict=True))
        return {
            name: weights[name] * d ** (1 / DEGREES[name] - 1) / DEGREES[name]
            for name, d in divergences.items()
        }


def input_bound(*, visual: float | None, textual: float | None) -> Bound:
    """The part of the bound that needs no targets, ``D_v^(1/2) + D_t^(1/2)``, without a factor.

    Args:
        visual: RJSD of the images, nats, or None for traffic without images.
        textual: RJSD of the query texts, nats, or None for traffic without text.

    Returns:
        Bound whose terms are those that were given.

    Raises:
        ValueError: if neither is given, or one is not a finite number >= 0.

    Source:
        Oh et al. (2025), the two input terms of the EMID upper bound.
    """
    given = {VISUAL: visual, TEXTUAL: textual}
    present = {name: value for name, value in given.items() if value is not None}
    if not present:
        raise ValueError("a bound needs the visual or the textual discrepancy, got neither")
    value = sum(_root(name, d) for name, d in present.items())
    return Bound(value, tuple(present), (1.0,) * len(present))


def emid_bound_unscaled(
    *, visual: float | None, textual: float | None, gap_reference: float, gap_window: float
) -> Bound:
    """``D_v^(1/2) + D_t^(1/2) + D_P^(1/4) + D_Q^(1/4)``, as the published tables have it.

    Args:
        visual: RJSD of the images, nats, or None for traffic without images.
        textual: RJSD of the query texts, nats, or None for traffic without text.
        gap_reference: RJSD of responses and targets of the reference, nats.
        gap_window: RJSD of responses and targets of the window, nats.

    Returns:
        Bound in nats up to the constants of ``emid_bound``: it ranks, it does not bound.

    Raises:
        ValueError: as ``input_bound``, also for the gaps.

    Source:
        Oh et al. (2025), the EMID upper bound without its constants.
    """
    inputs = input_bound(visual=visual, textual=textual)
    value = inputs.value + _gaps(gap_reference, gap_window)
    return Bound(value, _with_gaps(inputs), (*inputs.weights, 1.0, 1.0))


def emid_bound(
    *,
    visual: float | None,
    textual: float | None,
    gap_reference: float,
    gap_window: float,
    entropy_factor: float,
) -> Bound:
    """``H (D_v^(1/2) + D_t^(1/2)) + 4 (D_P^(1/4) + D_Q^(1/4))``.

    Args:
        visual: RJSD of the images, nats, or None for traffic without images.
        textual: RJSD of the query texts, nats, or None for traffic without text.
        gap_reference: RJSD of responses and targets of the reference, nats.
        gap_window: RJSD of responses and targets of the window, nats.
        entropy_factor: ``H``, the entropy of an answer, nats, > 0; a setting, not an estimate.

    Returns:
        Bound of EMID in nats, as far as ``H`` is right.

    Raises:
        ValueError: as ``emid_bound_unscaled``, also for the factor.

    Source:
        Oh et al. (2025), the EMID upper bound.
    """
    if not 0 < entropy_factor < float("inf"):
        raise ValueError(f"entropy_factor must be finite and positive, got {entropy_factor}")
    inputs = input_bound(visual=visual, textual=textual)
    value = entropy_factor * inputs.value + GAP_FACTOR * _gaps(gap_reference, gap_window)
    weights = (entropy_factor,) * len(inputs.terms) + (GAP_FACTOR, GAP_FACTOR)
    return Bound(value, _with_gaps(inputs), weights)


def _gaps(reference: float, window: float) -> float:
    return _root(GAP_REFERENCE, reference) + _root(GAP_WINDOW, window)


def _with_gaps(inputs: Bound) -> tuple[str, ...]:
    return (*inputs.terms, GAP_REFERENCE, GAP_WINDOW)


def _root(name: str, divergence: float) -> float:
    if not 0 <= divergence < float("inf"):  # also false for NaN
        raise ValueError(f"{name} must be a finite divergence >= 0, got {divergence}")
    return float(divergence ** (1 / DEGREES[name]))
