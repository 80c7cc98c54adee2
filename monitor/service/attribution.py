"""Why a window is what it is, for those who explain it: its samples, split and ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from monitor.errors import TooFewSamplesError
from monitor.records import Modality, Sample, Signal, WindowId
from monitor.reference.artefact import Embedded
from monitor.reference.comparable import comparable_rows
from monitor.reference.shares import SignalShares, Slice, split_shares, split_signals
from monitor.reference.signals import single_threaded
from monitor.service.embedding import columns
from monitor.service.measure import Measurer, MeasureRules, Novelty, slices_of, uniform_sample
from monitor.service.shelf import LoadedReference
from monitor.store.panes import pane_states
from monitor.store.samples import window_samples


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An event of the reference, by its position there, and how far it is."""

    position: int
    distance: float


@dataclass(frozen=True, slots=True)
class NotableEvent:
    """An event of the window that stands out in at least one signal."""

    position: int  # in the window
    sample_id: int
    exchange_id: str
    labels: Mapping[str, str]
    shares: Mapping[Signal, float]
    novelty: Mapping[Modality, float]  # distance to the 10th nearest of the reference
    neighbours: Mapping[Modality, tuple[Neighbour, ...]]  # nearest first


@dataclass(frozen=True, slots=True)
class WindowAttribution:
    """All signals of a window that can be split, and the events that stand out in them."""

    reference: str
    samples: tuple[Sample, ...]  # by position in the window
    embedded: Embedded
    novelty: Mapping[Modality, Mapping[int, float]]  # by sample id, see ``NotableEvent``
    signals: Mapping[Signal, SignalShares]
    events: tuple[NotableEvent, ...]


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is told: events of each signal, and neighbours of each of these."""

    events: int = 10
    neighbours: int = 5


def window_events(
    session: Session,
    rules: MeasureRules,
    reference: LoadedReference,
    stream: str,
    window: WindowId,
) -> list[Sample]:
    """The samples that the measure job judges."""
    panes = pane_states(session, stream, window.start, window.end)
    samples = window_samples(session, stream, window.start, window.end)
    samples = uniform_sample(samples, panes, rules.per_pane)
    return Measurer(rules).judged(samples, reference)


def explain_events(
    samples: Sequence[Sample],
    rules: MeasureRules,
    reference: LoadedReference,
    slices: Sequence[Slice],
    *,
    alpha: float,
    depth: Depth,
) -> WindowAttribution:
    """The split of all signals of these events, those of a window or of one slice of it.

    ``alpha`` is what they were measured with: it decides whether logging changed, and so from
    which of them a signal was computed. Shares then sum to what was measured, unless the window has
    changed since.

    Raises:
        TooFewSamplesError: if they are too few to be measured.
    """
    if len(samples) < rules.min_samples:
        raise TooFewSamplesError("an explanation", n=len(samples), n_min=rules.min_samples)
    novelty = Measurer(rules).novelty(samples, reference)
    with single_threaded():
        embedded = columns(samples, reference.reference.dim)
        comparable = comparable_rows(reference.reference, embedded, alpha=alpha)
        signals = split_signals(embedded, reference.reference, slices, comparable)
        signals |= _novelty_shares(samples, reference, novelty, slices)
        events = _notable(samples, reference, novelty, signals, depth)
    return WindowAttribution(
        reference=reference.reference.identity,
        samples=tuple(samples),
        embedded=embedded,
        novelty={Modality.VISUAL: novelty.visual, Modality.TEXTUAL: novelty.textual},
        signals=signals,
        events=events,
    )


def slices_by_label(
    samples: Sequence[Sample], labels: Sequence[str], max_per_label: int
) -> list[Slice]:
    """As they are measured and, label by label, the samples that are in none of them."""
    found = []
    for label in labels:
        rest = np.ones(len(samples), dtype=np.bool_)
        for key, rows in slices_of(samples, [label], max_per_label).items():
            found.append(Slice(label, key.removeprefix(f"{label}="), rows))
            rest[rows] = False
        if rest.any():
            found.append(Slice(label, None, np.flatnonzero(rest)))
    return found


def _novelty_shares(
    samples: Sequence[Sample], reference: LoadedReference, novelty: Novelty, slices: Sequence[Slice]
) -> dict[Signal, SignalShares]:
    """A share of new kinds is a sum as well: every event of a new kind adds one of n."""
    frozen, found = reference.reference.frozen, {}
    for signal, modality, distances in (
        (Signal.NOVELTY_VISUAL, Modality.VISUAL, novelty.visual),
        (Signal.NOVELTY_TEXTUAL, Modality.TEXTUAL, novelty.textual),
    ):
        threshold = frozen.novelty_thresholds.get(modality)
        events = np.flatnonzero([sample.id in distances for sample in samples])
        if threshold is not None and len(events) >= frozen.smallest_window:
            is_new = np.array([distances[samples[i].id] > threshold for i in events.tolist()])
            found[signal] = split_shares(signal, events, is_new / len(events), slices)
    return found


def _notable(
    samples: Sequence[Sample],
    reference: LoadedReference,
    novelty: Novelty,
    signals: Mapping[Signal, SignalShares],
    depth: Depth,
) -> tuple[NotableEvent, ...]:
    """The first of every signal's ranking, each event once, in the order of the window."""
    chosen = sorted({int(i) for s in signals.values() for i in s.ranked()[: depth.events]})
    picked = [samples[i] for i in chosen]
    distances = {Modality.VISUAL: novelty.visual, Modality.TEXTUAL: novelty.textual}
    near = _neighbours(picked, reference, depth.neighbours)
    return tuple(
        NotableEvent(
            position=position,
            sample_id=sample.id,
            exchange_id=sample.exchange_id,
            labels=sample.labels,
            shares={
                signal: float(split.shares[at[0]])
                for signal, split in signals.items()
                if len(at := np.flatnonzero(split.events == position))
            },
            novelty={m: known[sample.id] for m, known in distances.items() if sample.id in known},
            neighbours={m: found[sample.id] for m, found in near.items() if sample.id in found},
        )
        for position, sample in zip(chosen, picked, strict=True)
    )


def _neighbours(
    samples: Sequence[Sample], reference: LoadedReference, k: int
) -> dict[Modality, dict[int, tuple[Neighbour, ...]]]:
    """Nearest of the reference by sample id, in every modality that has an index."""
    window = columns(samples, reference.reference.dim)
    with_image = [sample.id for sample in samples if sample.z_v is not None]
    rows = {
        Modality.VISUAL: (with_image, window.z_v),
        Modality.TEXTUAL: ([sample.id for sample in samples], window.z_t),
    }
    found = {}
    for modality in reference.neighbourhood.indexes:
        ids, z = rows[modality]
        positions, distances = reference.neighbourhood.nearest(modality, z, k)
        pairs = zip(positions.tolist(), distances.tolist(), strict=True)
        found[modality] = {
            i: tuple(Neighbour(*pair) for pair in zip(*nearest, strict=True))
            for i, nearest in zip(ids, pairs, strict=True)
        }
    return found
