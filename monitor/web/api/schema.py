"""What the API answers, as its description says it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitor.records import Measurement, Signal, Verdict, WindowSummary


class Shown(BaseModel):
    """Made from a record of the same fields."""

    model_config = ConfigDict(
        from_attributes=True, extra="forbid", frozen=True, populate_by_name=True
    )


class MeasurementLine(Shown):
    """One signal of one window; `value` is null exactly when the verdict is `insufficient`."""

    stream: str
    slice_: str = Field(alias="slice")
    signal: Signal
    window_start: datetime
    window_end: datetime
    n: int
    value: float | None
    stderr: float | None
    null_mean: float | None
    threshold: float | None
    excess_ratio: float | None
    p_value: float | None
    verdict: Verdict
    reference: str
    low: float | None
    high: float | None
    evidence: float | None
    evidence_threshold: float | None
    evidence_since: datetime | None
    persistent: bool | None
    reason: str | None = None
    terms: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _of_record(cls, value: object) -> object:
        if not isinstance(value, Measurement):
            return value
        names = cls.model_fields.keys() - {"slice_", "window_start", "window_end"}
        return {name: getattr(value, name) for name in names} | {
            "slice": value.slice_key,
            "window_start": value.window.start,
            "window_end": value.window.end,
        }


class MeasurementPage(Shown):
    """Oldest first; `next` is the cursor of the page after this one, null on the last."""

    measurements: list[MeasurementLine]
    is_cut: bool
    next: str | None


class StreamNow(Shown):
    """A stream and its newest window."""

    stream: str
    reference: str | None
    watermark: datetime | None
    measurements: list[MeasurementLine]


class Streams(Shown):
    """Every stream, as the metrics show it."""

    taken_at: datetime
    streams: list[StreamNow]


class Window(Shown):
    """What one measured window was made of. `seen` counts exchanges, `n` those that were judged."""

    stream: str
    window_start: datetime
    window_end: datetime
    reference: str
    revision: int
    seen: int
    n: int
    n_targets: int
    n_teacher_targets: int
    image_states: dict[str, int]
    measured_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _of_record(cls, value: object) -> object:
        if not isinstance(value, WindowSummary):
            return value
        names = cls.model_fields.keys() - {"window_start", "window_end"}
        return {name: getattr(value, name) for name in names} | {
            "window_start": value.window.start,
            "window_end": value.window.end,
        }


class WindowPage(Shown):
    """Newest first."""

    windows: list[Window]
    next: str | None


class ReferenceLine(Shown):
    """One version of a reference; `facts` says how it was made."""

    reference: str
    name: str
    digest: str
    created_at: datetime
    encoder_digest: str
    active_for: list[str]
    facts: dict[str, Any]


class ReferencePage(Shown):
    """Newest first."""

    references: list[ReferenceLine]
    next: str | None


class ReferenceSampleLine(Shown):
    """One exchange of a reference; its picture is at `.../samples/<position>/image`."""

    position: int
    exchange_id: str
    part: str
    text: str | None
    response: str | None
    target: str | None
    has_thumbnail: bool


class ReferenceSamplePage(Shown):
    """By position."""

    samples: list[ReferenceSampleLine]
    next: str | None
