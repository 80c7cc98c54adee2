"""All bounds that a set of divergences allows."""

from dataclasses import dataclass

from monitor.records import Signal
from monitor.stats.bound import Bound, emid_bound, emid_bound_unscaled, input_bound


@dataclass(frozen=True, slots=True)
class Divergences:
    """What the bounds are summed from, nats; None where there is none."""

    visual: float | None
    textual: float
    gap_reference: float | None
    gap_window: float | None

    def bounds(self, entropy_factor: float) -> dict[Signal, Bound]:
        """The bounds by signal; those on EMID only where both output gaps are known."""
        found = {Signal.INPUT_BOUND: input_bound(visual=self.visual, textual=self.textual)}
        if self.gap_reference is None or self.gap_window is None:
            return found
        found[Signal.EMID_BOUND_UNSCALED] = emid_bound_unscaled(
            visual=self.visual,
            textual=self.textual,
            gap_reference=self.gap_reference,
            gap_window=self.gap_window,
        )
        found[Signal.EMID_BOUND] = emid_bound(
            visual=self.visual,
            textual=self.textual,
            gap_reference=self.gap_reference,
            gap_window=self.gap_window,
            entropy_factor=entropy_factor,
        )
        return found
