from datetime import UTC, datetime, timedelta

import pytest

from monitor.records import Measurement, ReferenceVersion, Signal, Verdict, WindowId, WindowSummary
from monitor.service.snapshot import StreamState
from monitor.web.overview import Standing, stream_standing
from monitor.web.words import State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, SLIDE = timedelta(hours=1), timedelta(minutes=15)
WINDOW = WindowId(NOW - HOUR, NOW)


def state(verdict: Verdict, *, persistent: bool = False) -> StreamState:
    measured = Measurement(
        stream="shop",
        slice_key="all",
        signal=Signal.TEXTUAL_DISCREPANCY,
        window=WINDOW,
        n=300,
        verdict=verdict,
        reference="normal@0",
        persistent=persistent,
    )
    summary = WindowSummary("shop", WINDOW, "normal@0", 1, 300, 300, 0, {}, NOW)
    reference = ReferenceVersion("0" * 64, "normal", NOW, "1" * 64, {})
    return StreamState(NOW, reference, summary, (measured,))


@pytest.mark.parametrize(
    ("verdict", "persistent", "standing"),
    [
        (Verdict.DRIFTING, False, Standing.CHANGED),
        (Verdict.IN_CONTROL, True, Standing.SLOW),
        (Verdict.IN_CONTROL, False, Standing.SILENT),
    ],
)
def test_whoever_sees_how_a_stream_stood_is_told_that_nothing_came_since(
    verdict: Verdict, *, persistent: bool, standing: Standing
) -> None:
    found = state(verdict, persistent=persistent)
    assert stream_standing(found, NOW + 3 * HOUR, SLIDE)[::2] == (
        standing,
        "no new window for a while",
    )


def test_a_stream_that_is_measured_has_nothing_to_add() -> None:
    found = state(Verdict.DRIFTING)
    assert stream_standing(found, NOW + HOUR, SLIDE) == (Standing.CHANGED, State.DRIFTING, "")
