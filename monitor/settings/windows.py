"""How traffic is sampled, cut in time and told apart."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from monitor.settings.section import Count, Duration, Section, format_duration


class SamplingSettings(Section):
    """Which exchanges are kept."""

    per_pane: Count = Field(256, description="Exchanges kept of each pane of each stream.")
    seed: int = Field(0, description="Seed of the sampling hash; replicas must share it.")
    max_streams: Count = Field(200, description="Streams watched; further ones are refused.")


class WindowSettings(Section):
    """How traffic is cut in event time."""

    pane: Duration = Field(timedelta(minutes=5), description="Unit of sampling.")
    length: Duration = Field(timedelta(hours=1), description="Measured window; whole panes.")
    slide: Duration = Field(timedelta(minutes=15), description="Step between windows.")
    lateness: Duration = Field(timedelta(minutes=10), description="How late an event may come.")
    target_lateness: Duration | None = Field(
        None, description="How late a target may come; the same as lateness unless set."
    )
    min_samples: int = Field(30, ge=2, description="Below this the verdict is 'insufficient'.")

    @model_validator(mode="after")
    def _whole_panes(self) -> Self:
        if self.pane < timedelta(seconds=1):
            raise ValueError("pane must be at least 1s")
        for name in ("length", "slide"):
            span: timedelta = getattr(self, name)
            if not span or span % self.pane:
                raise ValueError(
                    f"{name} {format_duration(span)} must be a multiple of "
                    f"pane {format_duration(self.pane)}"
                )
        return self


class StreamSettings(Section):
    """What tells streams apart: each is judged by itself."""

    by: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (),
        max_length=8,
        description="Parts of a stream's name: stream, model, deployment, or a label, an attribute "
        "or a path in the record. Unless set, what its format calls it: the model or its route.",
    )


class SliceSettings(Section):
    """Which labels traffic is broken down by."""

    labels: tuple[str, ...] = Field(
        (),
        description="Labels; each value becomes a slice. Of language, images, image_size, "
        "prompt_length and client none has to be logged.",
    )
    max_per_label: Count = Field(20, description="Values per label; the rest become 'other'.")
    top_level_keys: tuple[str, ...] = Field(
        (), description="Top-level keys of native lines that are taken as labels."
    )

    @model_validator(mode="after")
    def _labels_are_names(self) -> Self:
        for label in self.labels:
            if not label.strip() or "=" in label:
                raise ValueError(f"labels takes names of labels, without values, got {label!r}")
            if self.labels.count(label) > 1:
                raise ValueError(f"labels names {label} twice")
        return self
