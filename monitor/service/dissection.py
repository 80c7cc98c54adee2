"""A window taken apart: slices, exchanges, map, groups and shifts, all about one signal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from monitor.records import ALL, Modality, Sample, Signal
from monitor.reference.artefact import Embedded, Vectors
from monitor.reference.shares import SignalShares
from monitor.reference.signals import single_threaded
from monitor.service.attribution import (
    Depth,
    WindowAttribution,
    explain_events,
    slices_by_label,
    window_events,
)
from monitor.service.case import (
    Case,
    Cluster,
    Map,
    MapPoint,
    RankedExchange,
)
from monitor.service.characteristics import characteristic_words
from monitor.service.clusters import group, portion, worth_grouping
from monitor.service.exhibits import notes_on, ranked_exchange, why_too_few
from monitor.service.measure import Measurer, MeasureRules
from monitor.service.projection import evenly, in_plane, with_first
from monitor.service.ranking import MODALITY, ranked_slices, signal_to_rank_by, towards_drift
from monitor.service.shelf import LoadedReference
from monitor.service.shifts import (
    few_valued_labels,
    label_counts,
    reference_counts,
    shifts_between,
)
from monitor.store.exemplars import (
    exemplars,
    query_texts,
    reference_exemplars,
    reference_texts,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

READ_CHARS = 600  # of the texts that words are taken from


@dataclass(frozen=True, slots=True)
class CaseLimits:
    """How much a case holds."""

    exchanges: int = 20
    neighbours: int = 3
    points: int = 400  # on the map, of either side
    slices: int = 60
    clusters: int = 6
    words: int = 8
    values: int = 20  # of each label


def dissect(
    session: Session,
    rules: MeasureRules,
    loaded: LoadedReference,
    blank: Case,
    signal: Signal | None,
    limits: CaseLimits,
) -> Case:
    """The case with its parts, about the wanted signal or the leading one.

    Without them, and with the reason, where too little is stored.
    """
    samples = events_of_slice(
        window_events(session, rules, loaded, blank.stream, blank.window), rules, blank.slice_key
    )
    if len(samples) < rules.min_samples:
        return replace(blank, missing=why_too_few(blank, len(samples), rules.min_samples))
    own = blank.slice_key.partition("=")[0]
    labels = [x for x in few_valued_labels(samples, rules.slice_labels) if x != own]
    attribution = explain_events(
        samples,
        rules,
        loaded,
        slices_by_label(samples, labels, limits.values),
        alpha=alpha_of(blank, rules),
        depth=Depth(limits.exchanges, limits.neighbours),
    )
    ranked_by = signal_to_rank_by(signal or blank.leading, attribution.signals)
    if ranked_by is None:
        return replace(blank, missing="no signal of this window is a sum over its exchanges")
    with single_threaded():
        window = _Dissected(session, loaded, attribution, attribution.signals[ranked_by], limits)
        measured = {m.signal: m for m in blank.measurements}
        here = label_counts(samples)
        here.pop(own, None)
        exchanges = window.exchanges()
        return replace(
            blank,
            ranked_by=ranked_by,
            modality=window.modality,
            slices=ranked_slices(window.split, measured.get(ranked_by), limits.slices),
            exchanges=exchanges,
            map=window.map(),
            clusters=window.clusters(),
            shifts=shifts_between(
                {k: v for k, v in reference_counts(loaded.reference).items() if k != own},
                here,
                limits.values,
            ),
            notes=tuple(notes_on(blank, window.split, exchanges)),
        )


def alpha_of(blank: Case, rules: MeasureRules) -> float:
    """With which the case was measured: that depends on how many slices its window has."""
    alpha = Measurer(rules).alpha(sum(key != ALL for key in blank.slice_keys))
    return alpha.overall if blank.slice_key == ALL else alpha.per_slice or alpha.overall


def events_of_slice(samples: Sequence[Sample], rules: MeasureRules, slice_key: str) -> list[Sample]:
    """The samples of one slice as it is measured, in the order of the window."""
    if slice_key == ALL:
        return list(samples)
    label = slice_key.partition("=")[0]
    for part in slices_by_label(samples, [label], rules.max_per_label):
        if part.value is not None and f"{label}={part.value}" == slice_key:
            return [samples[i] for i in part.rows.tolist()]
    return []


def vectors_of(events: Embedded, modality: Modality) -> tuple[Ints, Vectors]:
    """Positions and embeddings of the events that have this modality."""
    if modality is Modality.VISUAL:
        return np.flatnonzero(events.has_image), events.z_v
    return np.arange(len(events)), events.z_t if modality is Modality.TEXTUAL else events.z_y


class _Dissected:
    """One split window, shown from several sides."""

    def __init__(
        self,
        session: Session,
        loaded: LoadedReference,
        attribution: WindowAttribution,
        split: SignalShares,
        limits: CaseLimits,
    ) -> None:
        self.split = split
        self.modality = MODALITY[split.signal]
        self._session = session
        self._loaded = loaded
        self._attribution = attribution
        self._limits = limits
        self._shares = np.full(len(attribution.samples), np.nan)
        self._shares[split.events] = split.shares
        self._first = split.ranked()[: limits.exchanges]

    def exchanges(self) -> tuple[RankedExchange, ...]:
        """Those that push most towards drift, with their content and their neighbours'."""
        samples, limits = self._attribution.samples, self._limits
        content = exemplars(self._session, [samples[i].id for i in self._first])
        events = {event.position: event for event in self._attribution.events}
        chosen = [events[i] for i in self._first.tolist() if samples[i].id in content]
        positions = {n.position for e in chosen for near in e.neighbours.values() for n in near}
        known = reference_exemplars(self._session, self._loaded.reference.digest, sorted(positions))
        thresholds = self._loaded.reference.frozen.novelty_thresholds
        return tuple(
            ranked_exchange(event, content[event.sample_id], known, thresholds, self._shares)
            for event in chosen[: limits.exchanges]
        )

    def map(self) -> Map | None:
        """Both sides, the first exchanges of the ranking among the points."""
        most, reference = self._limits.points, self._loaded.reference
        rows, z = vectors_of(self._attribution.embedded, self.modality)
        known_rows, known = vectors_of(reference.density, self.modality)
        if len(z) < 2 or len(known) < 2:  # noqa: PLR2004 - a line needs two points
            return None
        known_at = evenly(len(known), most)
        at = with_first(np.flatnonzero(np.isin(rows, self._first)), len(rows), most)
        plane = in_plane(known[known_at], z[at])
        positions = reference.density_positions[known_rows[known_at]]
        points = [
            MapPoint(float(x), float(y), "reference", position=int(position))
            for (x, y), position in zip(plane.reference, positions, strict=True)
        ]
        for (x, y), row in zip(plane.window, rows[at].tolist(), strict=True):
            sample, share = self._attribution.samples[row], float(self._shares[row])
            points.append(
                MapPoint(
                    float(x),
                    float(y),
                    "window",
                    share=None if np.isnan(share) else share,
                    sample_id=sample.id,
                    exchange_id=sample.exchange_id,
                )
            )
        return Map(self.modality, plane.explained, tuple(points))

    def clusters(self) -> tuple[Cluster, ...]:
        """Groups of what is new, each with the words that it alone has."""
        rows, z = vectors_of(self._attribution.embedded, self.modality)
        is_part = ~np.isnan(self._shares[rows])
        rows, z = rows[is_part], z[is_part]
        towards = towards_drift(self.split.signal) * self._shares[rows]
        chosen = worth_grouping(self._is_novel(rows), towards)
        texts = self._texts()
        reference = self._reference_texts()
        found = []
        for members in (g.rows for g in group(z, chosen, self._limits.clusters)):
            inside = set(rows[members].tolist())
            outside = [t for i, t in texts.items() if i not in inside]
            share = float(self._shares[rows[members]].sum())
            found.append(
                Cluster(
                    n=len(members),
                    share=share,
                    part=portion(float(towards[members].sum()), towards),
                    words=characteristic_words(
                        [texts[i] for i in sorted(inside) if i in texts],
                        outside + reference,
                        self._limits.words,
                    ),
                    examples=tuple(
                        self._attribution.samples[i].id
                        for i in rows[members][: self._limits.exchanges].tolist()
                    ),
                )
            )
        return tuple(found)

    def _is_novel(self, rows: Ints) -> npt.NDArray[np.bool_]:
        threshold = self._loaded.reference.frozen.novelty_thresholds.get(self.modality)
        known = self._attribution.novelty.get(self.modality, {})
        ids = [self._attribution.samples[i].id for i in rows.tolist()]
        if threshold is None:
            return np.zeros(len(rows), dtype=np.bool_)
        return np.array([known.get(i, 0.0) > threshold for i in ids], dtype=np.bool_)

    def _texts(self) -> dict[int, str]:
        """What the events say, by position: of responses these, else the queries."""
        samples = self._attribution.samples
        content = query_texts(self._session, [s.id for s in samples], READ_CHARS)
        found = {}
        for i, sample in enumerate(samples):
            text, response = content.get(sample.id, (None, None))
            said = response if self.modality is Modality.RESPONSE else text
            if said:
                found[i] = said
        return found

    def _reference_texts(self) -> list[str]:
        reference = self._loaded.reference
        at = evenly(len(reference.density), self._limits.points)
        positions = reference.density_positions[at].tolist()
        content = reference_texts(self._session, reference.digest, positions, READ_CHARS)
        column = 1 if self.modality is Modality.RESPONSE else 0
        return [said for pair in content if (said := pair[column])]
