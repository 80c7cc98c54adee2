"""The whole tree, and what holds between its sections."""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from monitor.settings.encoders import EncoderSettings
from monitor.settings.keeping import DatabaseSettings, PrivacySettings, RetentionSettings
from monitor.settings.listening import HttpSettings
from monitor.settings.section import Duration, Section, format_duration
from monitor.settings.sources import ImageSettings, SourceSettings, UploadSettings
from monitor.settings.targets import TargetSettings, TeacherSettings
from monitor.settings.windows import (
    SamplingSettings,
    SliceSettings,
    StreamSettings,
    WindowSettings,
)


class ReferenceSettings(Section):
    """How a reference is built."""

    calibration_share: float = Field(
        0.5, gt=0.1, lt=0.9, description="Share kept apart to draw nulls from."
    )
    seed: int = Field(0, ge=0, description="Seed of the split, the q networks and the nulls.")
    max_samples: int = Field(5_000, ge=100, description="Exchanges taken at most.")
    null_draws: int = Field(200, ge=50, description="Pseudo-windows per size.")
    max_age: Duration = Field(
        timedelta(days=90), description="Age at which an alert asks for a new one."
    )


class AlertSettings(Section):
    """What the thresholds promise."""

    false_alarms_per_week: float = Field(1.0, gt=0, description="Accepted per stream.")
    entropy_factor: float = Field(
        10.0, gt=0, description="H of the scaled EMID bound, an upper limit of the output entropy."
    )


class JobSettings(Section):
    """How often each job looks for work."""

    ingest: Duration = Field(timedelta(seconds=1), description="Reading the sources.")
    embed: Duration = Field(timedelta(seconds=2), description="Embedding samples.")
    measure: Duration = Field(timedelta(seconds=5), description="Measuring due windows.")
    retain: Duration = Field(timedelta(minutes=10), description="Deleting what is too old.")
    teacher: Duration = Field(timedelta(seconds=5), description="Asking the teacher.")


class LogSettings(Section):
    """What the daemon says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="Console on a terminal, else JSON lines."
    )


class Settings(Section):
    """Everything an operator can set."""

    database: DatabaseSettings = DatabaseSettings()
    data_dir: Path = Field(Path("mllm-monitor-data"), description="FAISS indexes; can be rebuilt.")
    http: HttpSettings = HttpSettings()
    sources: tuple[SourceSettings, ...] = Field((), description="Where traffic is read from.")
    images: ImageSettings = ImageSettings()
    uploads: UploadSettings = UploadSettings()
    sampling: SamplingSettings = SamplingSettings()
    windows: WindowSettings = WindowSettings()
    streams: StreamSettings = StreamSettings()
    slices: SliceSettings = SliceSettings()
    encoders: EncoderSettings = EncoderSettings()
    reference: ReferenceSettings = ReferenceSettings()
    alerts: AlertSettings = AlertSettings()
    privacy: PrivacySettings = PrivacySettings()
    targets: TargetSettings = TargetSettings()
    teacher: TeacherSettings = TeacherSettings()
    retention: RetentionSettings = RetentionSettings()
    jobs: JobSettings = JobSettings()
    logging: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _slices_are_kept(self) -> Self:
        keep = self.privacy.keep
        for label in self.slices.labels:
            if "labels.*" not in keep and f"labels.{label}" not in keep:
                raise ValueError(f"slices.labels has {label}: add labels.{label} to privacy.keep")
        return self

    @model_validator(mode="after")
    def _windows_can_be_measured(self) -> Self:
        windows, per_pane = self.windows, self.sampling.per_pane
        most = per_pane * (windows.length // windows.pane)
        if windows.min_samples > most:
            raise ValueError(
                f"windows.min_samples {windows.min_samples} is more than a window can hold: "
                f"{most}, sampling.per_pane {per_pane} of each windows.pane"
            )
        needed = windows.length + windows.lateness
        if self.retention.samples < needed:
            raise ValueError(
                f"retention.samples {format_duration(self.retention.samples)} ends before windows "
                "are measured: it must be at least windows.length and windows.lateness, "
                f"{format_duration(needed)}"
            )
        return self

    @model_validator(mode="after")
    def _sources_are_told_apart(self) -> Self:
        titles = [source.title for source in self.sources]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"two sources are called {twice[0]}: give them names")
        return self
