"""How labels are distributed in a window and in what it is compared with."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from monitor.records import Sample
from monitor.reference.artefact import Reference
from monitor.reference.image_states import STATES, named_counts, state_of
from monitor.service.case import Shift, ShiftRow
from monitor.service.measure import OTHER

WITHOUT = "(none)"  # exchanges that do not have the label
IMAGE_STATE = "image state"
MOST_LABELS = 30
ONE_EACH = 0.5  # values by events; a label that nearly names its event is no property of traffic

Counts = Mapping[str, int]


def label_counts(samples: Sequence[Sample]) -> dict[str, Counter[str]]:
    """How often each value of each label occurs, and how often none; no labels that are ids."""
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        for label, value in sample.labels.items():
            counts.setdefault(label, Counter())[value] += 1
    counts = {label: c for label, c in counts.items() if not _is_id(c)}
    for counter in counts.values():
        missing = len(samples) - counter.total()
        if missing:
            counter[WITHOUT] = missing
    codes = np.array([state_of(sample.image_states) for sample in samples], dtype=np.int8)
    counts[IMAGE_STATE] = Counter(named_counts(codes))  # of the exchanges that have an image
    return {label: c for label, c in counts.items() if c}


def few_valued_labels(samples: Sequence[Sample], first: Sequence[str]) -> list[str]:
    """Labels worth splitting by: the given ones, and those that are no ids, by name."""
    found = {label for label in label_counts(samples) if label != IMAGE_STATE}
    return [*first, *sorted(found - set(first))[: max(0, MOST_LABELS - len(first))]]


def reference_counts(reference: Reference) -> dict[str, Counter[str]]:
    """What a reference remembers of its labels; nothing where it was built before it did."""
    facts, found = reference.facts, dict[str, Counter[str]]()
    total = facts.get("exchanges")
    match facts.get("labels"):
        case dict(labels):
            for label, values in labels.items():
                if isinstance(values, dict):
                    counter = Counter({str(v): n for v, n in values.items() if isinstance(n, int)})
                    if isinstance(total, int) and total > counter.total():
                        counter[WITHOUT] = total - counter.total()
                    found[str(label)] = counter
    states = reference.frozen.image_states
    if states is not None:
        named = zip(STATES, states.tolist(), strict=True)
        found[IMAGE_STATE] = Counter({state.value: int(n) for state, n in named if n})
    return found


def shifts_between(
    base: Mapping[str, Counts], here: Mapping[str, Counts], most_values: int
) -> tuple[Shift, ...]:
    """Labels with their values on both sides, those that changed most first."""
    found = [
        _shift(label, base.get(label), here.get(label, {}), most_values)
        for label in sorted(base.keys() | here.keys())
    ]
    return tuple(
        sorted(found, key=lambda s: -1.0 if s.distance is None else s.distance, reverse=True)
    )[:MOST_LABELS]


def _shift(label: str, base: Counts | None, here: Counts, most: int) -> Shift:
    n_base, n = sum((base or {}).values()), sum(here.values())

    def share_base(value: str) -> float:
        return (base or {}).get(value, 0) / n_base if n_base else 0.0

    def share(value: str) -> float:
        return here.get(value, 0) / n if n else 0.0

    values = {*(base or {}), *here}
    ranked = sorted(values, key=lambda v: (-max(share_base(v), share(v)), v))
    shown, folded = ranked[:most], ranked[most:]
    rows = [_row(value, [value], base, here) for value in shown if value != OTHER]
    rest = [*folded, *({OTHER} & values)]
    if rest:
        rows.append(_row(OTHER, list(dict.fromkeys(rest)), base, here))
    distance = None
    if base is not None and n_base and n:
        distance = sum(abs(share(v) - share_base(v)) for v in values) / 2
    return Shift(label, distance, tuple(rows))


def _row(value: str, values: Iterable[str], base: Counts | None, here: Counts) -> ShiftRow:
    names = list(values)
    n = sum(here.get(name, 0) for name in names)
    total = sum(here.values())
    if base is None or not sum(base.values()):
        return ShiftRow(value, None, None, n, n / total if total else 0.0)
    n_base = sum(base.get(name, 0) for name in names)
    share = n / total if total else 0.0
    return ShiftRow(value, n_base, n_base / sum(base.values()), n, share)


def _is_id(counter: Counter[str]) -> bool:
    return len(counter) > MOST_LABELS and len(counter) > ONE_EACH * counter.total()
