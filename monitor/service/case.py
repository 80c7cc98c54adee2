"""A window under investigation, as data: what the page, ``explain`` and the API all show.

Texts and labels in it were written by strangers, and long texts are cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from monitor.records import Measurement, Modality, Signal, WindowId, WindowSummary
from monitor.store.exemplars import ExemplarImage


@dataclass(frozen=True, slots=True)
class RankedSlice:
    """What the events with one value of a label add to the signal; None are those without it.

    ``share`` is exact: the slices of a label add up to the window's part of the signal's value.
    ``excess`` is by how much that is more towards drift than its size alone would give in
    healthy traffic, ``part`` that as a portion of everything which is in excess among the slices of
    this label, in [0, 1]. Both are None where the signal is not out of its normal range.
    """

    label: str
    value: str | None
    n: int
    portion: float  # of the events that the signal is computed from, in [0, 1]
    share: float  # in the unit of the signal, nats
    excess: float | None = None
    part: float | None = None

    @property
    def slice_key(self) -> str | None:
        """The key that measurements of this slice have; None for those without the label."""
        return None if self.value is None else f"{self.label}={self.value}"


@dataclass(frozen=True, slots=True)
class NearestOfReference:
    """An exchange of the reference that is near one of the window. Its content may be gone."""

    position: int
    distance: float
    exchange_id: str
    text: str | None
    response: str | None
    target: str | None
    has_thumbnail: bool


@dataclass(frozen=True, slots=True)
class RankedExchange:
    """An exchange of the window beside its nearest ones of the reference. Content may be gone.

    ``share`` is what it adds to the signal that the case is ranked by, ``shares`` that of every
    signal that it is part of. ``novelty`` is its distance to the tenth nearest of the reference,
    ``novel`` names the modalities in which that is more than the reference's threshold.
    """

    sample_id: int
    exchange_id: str
    time: datetime
    labels: Mapping[str, str]
    text: str | None
    response: str | None
    target: str | None
    target_source: str | None  # where it is known: ``logged`` or ``teacher``
    images: tuple[ExemplarImage, ...]
    share: float
    shares: Mapping[Signal, float]
    novelty: Mapping[Modality, float]
    novel: tuple[Modality, ...]
    neighbours: Mapping[Modality, tuple[NearestOfReference, ...]]  # nearest first

    def neighbours_by(
        self, modality: Modality | None
    ) -> Mapping[Modality, tuple[NearestOfReference, ...]]:
        """Those to look at in a case about this modality; all, where it has none of its own."""
        some = {m: near for m, near in self.neighbours.items() if near}
        return {m: near for m, near in some.items() if m is modality} or some


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One event on the map; one of the reference has a position there, one of the window ids."""

    x: float
    y: float
    kind: Literal["reference", "window"]
    share: float | None = None  # of the ranked signal
    position: int | None = None
    sample_id: int | None = None
    exchange_id: str | None = None


@dataclass(frozen=True, slots=True)
class Map:
    """Reference and window in the plane of their largest variance.

    ``explained`` is the portion of the variance that each axis shows: where it is small, points
    that look close need not be.
    """

    modality: Modality
    explained: tuple[float, float]
    points: tuple[MapPoint, ...]  # those of the reference first


@dataclass(frozen=True, slots=True)
class Cluster:
    """Events that are alike among those which are new, or add most where none is new."""

    n: int
    share: float  # what they add to the ranked signal
    part: float  # of what all its events towards drift add, in [0, 1]
    words: tuple[str, ...]  # that they have and the rest of the window has not; none without texts
    examples: tuple[int, ...]  # sample ids, those in the middle of it first


@dataclass(frozen=True, slots=True)
class ShiftRow:
    """How often one value of a label occurs, there and here; None where that is not known."""

    value: str
    n_base: int | None
    share_base: float | None
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class Shift:
    """One label's values in the reference (or another window) and in this one, changed most first.

    ``distance`` is the total variation distance of the two, in [0, 1]; None without a base.
    """

    label: str
    distance: float | None
    rows: tuple[ShiftRow, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One window of one stream, whole or one slice of it.

    ``measurements`` come worst first. ``leading`` is the signal that is most out, a cause before
    an effect; ``ranked_by`` the one whose exact shares rank slices and exchanges, the same where it
    is a sum over events, and ``modality`` what of an exchange it is about. Where a window cannot be
    split, ``missing`` says why in one line and everything below it is empty.
    """

    stream: str
    slice_key: str
    window: WindowId
    reference: str  # name@digest
    reference_digest: str | None  # None once it is deleted
    summary: WindowSummary
    verdict: tuple[str, ...]  # plain words, the three questions one by one
    measurements: tuple[Measurement, ...]
    slice_keys: tuple[str, ...]  # all that were measured in this window, ``all`` first
    since: Mapping[Signal, datetime]  # of what is out: since when without a break
    leading: Signal | None
    ranked_by: Signal | None = None
    modality: Modality | None = None
    missing: str | None = None
    slices: tuple[RankedSlice, ...] = ()
    exchanges: tuple[RankedExchange, ...] = ()
    map: Map | None = None
    clusters: tuple[Cluster, ...] = ()
    shifts: tuple[Shift, ...] = ()
    notes: tuple[str, ...] = ()  # what else a reader must know, such as content that is gone


@dataclass(frozen=True, slots=True)
class SignalChange:
    """One signal in two windows. Values of different references are not subtracted."""

    signal: Signal
    base: Measurement | None
    here: Measurement | None
    difference: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two windows of one stream beside each other: a description without a verdict.

    ``divergences`` are RJSDs between the two windows themselves, in nats; they are biased upwards
    where windows are small.
    """

    stream: str
    slice_key: str
    base: WindowSummary
    here: WindowSummary
    signals: tuple[SignalChange, ...]
    divergences: Mapping[Modality, float]
    shifts: tuple[Shift, ...]
    missing: str | None = None
