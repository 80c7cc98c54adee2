from datetime import UTC, datetime

import pytest

from monitor.records import Measurement, Sample, Signal, TargetSource, Verdict, WindowId
from monitor.service.target_mix import (
    NOT_COMPARABLE,
    TEACHER_TARGETS,
    comparable_targets,
    saying_why,
    teacher_share,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
LOGGED, TEACHER = TargetSource.LOGGED, TargetSource.TEACHER


def sample(source: TargetSource | None) -> Sample:
    target = None if source is None else b"t"
    vectors = (None, b"t", b"y", target)
    return Sample(1, "a", START, 1, {}, (), "e", *vectors, None, None, None, source)


def window(**counts: int) -> list[Sample]:
    return [
        *(sample(LOGGED) for _ in range(counts.get("logged", 0))),
        *(sample(TEACHER) for _ in range(counts.get("teacher", 0))),
        *(sample(None) for _ in range(3)),
    ]


@pytest.mark.parametrize(
    ("share", "logged", "teacher", "left"),
    [
        (0.0, 10, 0, (10, 0)),
        (0.0, 10, 10, (10, 10)),
        (0.0, 9, 11, (9, 0)),
        (0.0, 0, 20, (0, 0)),
        (1.0, 0, 20, (0, 20)),
        (1.0, 11, 9, (0, 9)),
        (0.6, 0, 20, (0, 20)),
        (0.6, 20, 0, (0, 0)),
        (0.0, 0, 0, (0, 0)),
    ],
)
def test_targets_of_a_kind_that_the_reference_lacks_are_left_out(
    share: float, logged: int, teacher: int, left: tuple[int, int]
) -> None:
    before = window(logged=logged, teacher=teacher)
    after, is_mixed = comparable_targets(before, {TEACHER_TARGETS: share})
    kept = [s.target_source for s in after if s.z_target is not None]
    assert (kept.count(LOGGED), kept.count(TEACHER)) == left
    assert is_mixed == (left != (logged, teacher))
    assert len(after) == len(before)


def test_a_reference_that_says_nothing_has_no_teacher() -> None:
    samples, is_mixed = comparable_targets(window(teacher=5), {})
    assert (teacher_share(samples), is_mixed) == (0.0, True)


def test_only_what_needs_targets_and_is_missing_says_why() -> None:
    def measurement(signal: Signal, verdict: Verdict) -> Measurement:
        at = WindowId(START, START)
        return Measurement("s", "all", signal, at, 1, verdict, "r", reason="too_few_events")

    missing, judged = Verdict.INSUFFICIENT, Verdict.IN_CONTROL
    before = [
        measurement(Signal.EMI, missing),
        measurement(Signal.OUTPUT_GAP, judged),
        measurement(Signal.VISUAL_DISCREPANCY, missing),
    ]
    reasons = [m.reason for m in saying_why(before)]
    assert reasons == [NOT_COMPARABLE, "too_few_events", "too_few_events"]
