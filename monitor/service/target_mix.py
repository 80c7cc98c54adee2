"""Whose the targets of a window are, and which of them compare with those of its reference."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from monitor.records import Measurement, Sample, Signal, TargetSource, Verdict

TEACHER_TARGETS = "teacher_targets"  # fact of a reference: the teacher's share of its targets
LARGEST_DIFFERENCE = 0.5
NOT_COMPARABLE = "targets_of_another_kind_than_the_reference"
OF_TARGETS = frozenset(
    {
        Signal.OUTPUT_GAP,
        Signal.MI_QUERY_TARGET,
        Signal.EMI,
        Signal.EMID,
        Signal.EMID_BOUND,
        Signal.EMID_BOUND_UNSCALED,
    }
)


def teacher_targets(samples: Sequence[Sample]) -> tuple[int, int]:
    """Targets, and how many of them are the teacher's."""
    sources = [s.target_source for s in samples if s.z_target is not None]
    return len(sources), sources.count(TargetSource.TEACHER)


def teacher_share(samples: Sequence[Sample]) -> float:
    """The teacher's share of the targets; 0 where there is none."""
    targets, of_teacher = teacher_targets(samples)
    return of_teacher / targets if targets else 0.0


def comparable_targets(
    samples: Sequence[Sample], facts: Mapping[str, object]
) -> tuple[Sequence[Sample], bool]:
    """The samples, and whether targets were left out of them.

    Where the teacher's share differs strongly from the reference's, those of the kind that the
    reference has less of are left out: how a teacher writes is no sign of how answers have changed.
    """
    of_reference = facts.get(TEACHER_TARGETS)
    share = of_reference if isinstance(of_reference, float) else 0.0
    difference = teacher_share(samples) - share
    if abs(difference) <= LARGEST_DIFFERENCE:
        return samples, False
    left_out = TargetSource.TEACHER if difference > 0 else TargetSource.LOGGED
    return [replace(s, z_target=None) if s.target_source == left_out else s for s in samples], True


def saying_why(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same; what is missing because targets were left out says so."""
    return [
        replace(m, reason=NOT_COMPARABLE)
        if m.signal in OF_TARGETS and m.verdict is Verdict.INSUFFICIENT
        else m
        for m in measurements
    ]
