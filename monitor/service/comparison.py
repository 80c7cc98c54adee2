"""Two windows of a stream beside each other: a description, without a verdict."""

from sqlalchemy.orm import Session

from monitor.records import Measurement, Modality, Sample, Signal, WindowSummary
from monitor.reference.artefact import spectrum
from monitor.reference.signals import single_threaded
from monitor.service.attribution import window_events
from monitor.service.case import Comparison, SignalChange
from monitor.service.dissection import events_of_slice, vectors_of
from monitor.service.embedding import columns
from monitor.service.measure import MeasureRules
from monitor.service.shelf import LoadedReference
from monitor.service.shifts import label_counts, shifts_between
from monitor.stats.rjsd import rjsd_from
from monitor.store.windows import measurements_of

VALUES = 20  # of each label


def compare_windows(
    session: Session,
    rules: MeasureRules,
    loaded: LoadedReference | None,
    base: WindowSummary,
    here: WindowSummary,
    slice_key: str,
) -> Comparison:
    """What was measured in both, how labels moved, and how far the events themselves are apart.

    ``loaded`` is the reference that judged ``here``; without it only what was measured is told.
    """
    changes = _changes(_measured(session, base, slice_key), _measured(session, here, slice_key))
    comparison = Comparison(base.stream, slice_key, base, here, changes, {}, ())
    if loaded is None:
        return comparison
    sides = [
        events_of_slice(
            window_events(session, rules, loaded, side.stream, side.window), rules, slice_key
        )
        for side in (base, here)
    ]
    known, fresh = sides
    return Comparison(
        stream=base.stream,
        slice_key=slice_key,
        base=base,
        here=here,
        signals=changes,
        divergences=_divergences(known, fresh, rules, loaded),
        shifts=shifts_between(label_counts(known), label_counts(fresh), VALUES),
        missing=_missing(known, fresh, rules.min_samples),
    )


def _measured(
    session: Session, summary: WindowSummary, slice_key: str
) -> dict[Signal, Measurement]:
    found = measurements_of(session, summary.stream, summary.window)
    return {m.signal: m for m in found if m.slice_key == slice_key}


def _changes(
    base: dict[Signal, Measurement], here: dict[Signal, Measurement]
) -> tuple[SignalChange, ...]:
    return tuple(
        SignalChange(s, base.get(s), here.get(s), _difference(base.get(s), here.get(s)))
        for s in Signal
        if s in base or s in here
    )


def _difference(base: Measurement | None, here: Measurement | None) -> float | None:
    if base is None or here is None or base.value is None or here.value is None:
        return None
    return here.value - base.value if base.reference == here.reference else None


def _divergences(
    base: list[Sample], here: list[Sample], rules: MeasureRules, loaded: LoadedReference
) -> dict[Modality, float]:
    found = {}
    with single_threaded():
        sides = [columns(side, loaded.reference.dim) for side in (base, here)]
        for modality in Modality:
            z_base, z_here = (vectors_of(side, modality)[1] for side in sides)
            if min(len(z_base), len(z_here)) >= rules.min_samples:
                found[modality] = rjsd_from(spectrum(z_base), spectrum(z_here))
    return found


def _missing(base: list[Sample], here: list[Sample], needed: int) -> str | None:
    if min(len(base), len(here)) >= needed:
        return None
    return (
        f"too few exchanges are stored to compare them: {len(base)} and {len(here)}, at least "
        f"{needed} are needed in each"
    )
