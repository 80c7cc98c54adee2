"""What the API answers about cases, and ``explain --json`` prints."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field

from monitor.records import ImageState, Modality, Signal
from monitor.service.case import Case, Comparison
from monitor.web.api.schema import MeasurementLine, Shown, Window


class RankedSliceLine(Shown):
    """What one value of a label adds to the signal; `value` null is the exchanges without it."""

    label: str
    value: str | None
    n: int
    portion: float
    share: float
    excess: float | None
    part: float | None


class ImageLine(Shown):
    """One image of an exchange; the thumbnail is at `/api/v1/images/<content_hash>`."""

    state: ImageState
    content_hash: str | None
    has_thumbnail: bool


class NeighbourLine(Shown):
    """A near exchange of the reference."""

    position: int
    distance: float
    exchange_id: str
    text: str | None
    response: str | None
    target: str | None
    has_thumbnail: bool


class ExchangeLine(Shown):
    """An exchange by what it adds to the signal, beside its nearest ones of the reference."""

    sample_id: int
    exchange_id: str
    time: datetime
    labels: dict[str, str]
    text: str | None
    response: str | None
    target: str | None
    target_source: str | None
    images: list[ImageLine]
    share: float
    shares: dict[Signal, float]
    novelty: dict[Modality, float]
    novel: list[Modality]
    neighbours: dict[Modality, list[NeighbourLine]]


class PointLine(Shown):
    """A point of the map."""

    x: float
    y: float
    kind: Literal["reference", "window"]
    share: float | None
    position: int | None
    sample_id: int | None
    exchange_id: str | None


class MapLine(Shown):
    """Two principal components; `explained` is the portion of variance that each shows."""

    modality: Modality
    explained: tuple[float, float]
    points: list[PointLine]


class ClusterLine(Shown):
    """A group of events that are alike among those that are new."""

    n: int
    share: float
    part: float
    words: list[str]
    examples: list[int]


class ShiftRowLine(Shown):
    """One value of a label there and here."""

    value: str
    n_base: int | None
    share_base: float | None
    n: int
    share: float


class ShiftLine(Shown):
    """One label there and here; `distance` is the total variation distance."""

    label: str
    distance: float | None
    rows: list[ShiftRowLine]


def _names(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value


class CaseLine(Shown):
    """The investigation of one window: see `docs/api.md`."""

    stream: str
    slice_: str = Field(alias="slice")
    window_start: datetime
    window_end: datetime
    reference: str
    reference_digest: str | None
    summary: Window
    verdict: list[str]
    measurements: list[MeasurementLine]
    slice_keys: list[str]
    since: Annotated[dict[Signal, datetime], BeforeValidator(_names)]
    leading: Signal | None
    ranked_by: Signal | None
    modality: Modality | None
    missing: str | None
    slices: list[RankedSliceLine]
    exchanges: list[ExchangeLine]
    map: MapLine | None
    clusters: list[ClusterLine]
    shifts: list[ShiftLine]
    notes: list[str]

    @classmethod
    def of(cls, case: Case) -> Self:
        """The case as it is shown."""
        return cls.model_validate(_flat(case, cls, slice=case.slice_key, **_times(case)))


class SignalChangeLine(Shown):
    """One signal in two windows."""

    signal: Signal
    base: MeasurementLine | None
    here: MeasurementLine | None
    difference: float | None


class ComparisonLine(Shown):
    """Two windows beside each other, without a verdict."""

    stream: str
    slice_: str = Field(alias="slice")
    base: Window
    here: Window
    signals: list[SignalChangeLine]
    divergences: dict[Modality, float]
    shifts: list[ShiftLine]
    missing: str | None

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """The comparison as it is shown."""
        return cls.model_validate(_flat(comparison, cls, slice=comparison.slice_key))


class StoredExchange(Shown):
    """One sampled exchange with what is still kept of it."""

    sample_id: int
    stream: str
    exchange_id: str
    time: datetime
    pane_start: datetime
    labels: dict[str, str]
    text: str | None
    response: str | None
    target: str | None
    has_target: bool
    target_source: str | None
    images: list[ImageLine]


def _times(case: Case) -> dict[str, datetime]:
    return {"window_start": case.window.start, "window_end": case.window.end}


def _flat(record: object, shown: type[BaseModel], **more: object) -> dict[str, object]:
    names = shown.model_fields.keys() - {"slice_"} - more.keys()
    return {name: getattr(record, name) for name in names} | more
