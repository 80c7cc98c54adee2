from datetime import UTC, datetime

import numpy as np
import pytest

from monitor.records import Measurement, Signal, Verdict, WindowId
from monitor.reference.shares import SignalShares, SliceShare
from monitor.service.ranking import ranked_slices, signal_to_rank_by

AT = datetime(2026, 3, 1, tzinfo=UTC)
VISUAL, EMI = Signal.VISUAL_DISCREPANCY, Signal.EMI


def split(signal: Signal, shares: list[float], reference: float = 0.0) -> SignalShares:
    """The first half of the events is of acme, the second of globex; all have one image."""
    values, half = np.array(shares), len(shares) // 2
    acme, globex = (float(part.sum()) for part in (values[:half], values[half:]))
    return SignalShares(
        signal=signal,
        value=float(values.sum()) + reference,
        events=np.arange(len(values)),
        shares=values,
        slices=(
            SliceShare("images", "1", len(values), float(values.sum())),
            SliceShare("tenant", "acme", half, acme),
            SliceShare("tenant", "globex", len(values) - half, globex),
        ),
        reference_events=np.arange(1 if reference else 0),
        reference_shares=np.array([reference] if reference else []),
    )


def measured(signal: Signal, verdict: Verdict, null_mean: float) -> Measurement:
    window = WindowId(AT, AT)
    return Measurement("s", "all", signal, window, 4, verdict, "r@1", null_mean=null_mean)


def test_a_slice_counts_by_what_it_adds_beyond_its_size() -> None:
    # Healthy events would add half of the null mean, as the window's part is half of the value.
    drift = split(VISUAL, [4.0, 4.0, 1.0, 1.0], reference=10.0)
    first, *rest = ranked_slices(drift, measured(VISUAL, Verdict.DRIFTING, 4.0), 10)
    assert (first.slice_key, first.n, first.portion, first.share) == ("tenant=acme", 2, 0.5, 8.0)
    assert first.excess == pytest.approx(8.0 - 1.0)
    assert first.part == pytest.approx(7.0 / 8.0)
    assert {s.slice_key for s in rest} == {"images=1", "tenant=globex"}


def test_excesses_of_a_label_add_up_to_that_of_the_window() -> None:
    drift = split(VISUAL, [4.0, 4.0, 1.0, 1.0], reference=10.0)
    found = ranked_slices(drift, measured(VISUAL, Verdict.DRIFTING, 4.0), 10)
    tenants = [s.excess for s in found if s.label == "tenant"]
    assert sum(x for x in tenants if x is not None) == pytest.approx(10.0 - 2.0)


def test_of_a_signal_that_falls_those_come_first_that_pull_it_down() -> None:
    drift = split(EMI, [-3.0, -3.0, -0.5, -0.5])
    first, *_ = ranked_slices(drift, measured(EMI, Verdict.DRIFTING, -2.0), 10)
    assert first.slice_key == "tenant=acme"
    assert first.excess == pytest.approx(6.0 - 1.0)
    assert first.part == 1.0


def test_in_a_window_in_control_nobody_is_to_blame() -> None:
    calm = ranked_slices(split(VISUAL, [1.0] * 4), measured(VISUAL, Verdict.IN_CONTROL, 4.0), 10)
    assert {(s.excess, s.part) for s in calm} == {(None, None)}


def test_slices_are_bounded() -> None:
    assert len(ranked_slices(split(VISUAL, [1.0] * 4), None, 2)) == 2


def test_a_signal_that_is_no_sum_is_explained_by_one_that_is() -> None:
    known = {s: split(s, [1.0, 1.0]) for s in (Signal.TEXTUAL_DISCREPANCY, VISUAL)}
    assert signal_to_rank_by(VISUAL, known) is VISUAL
    assert signal_to_rank_by(Signal.NOVELTY_VISUAL, known) is VISUAL
    assert signal_to_rank_by(EMI, known) is Signal.TEXTUAL_DISCREPANCY
    assert signal_to_rank_by(None, {}) is None
