"""Where and how long things are kept, and what never is."""

import re
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from monitor.settings.section import Duration, Section

_KEEPABLE = ("text", "response", "target", "thumbnails", "excerpts")


class DatabaseSettings(Section):
    """Where everything is kept."""

    url: str = Field(
        "sqlite:///mllm-monitor.db",
        description="SQLite file or PostgreSQL address. Give one with a password only in the "
        "environment: MLLM_MONITOR_DATABASE__URL.",
        repr=False,
    )


class PrivacySettings(Section):
    """What of what was said is kept, and how long."""

    content_retention: Duration = Field(
        timedelta(days=7),
        description="Texts, thumbnails and excerpts of refused records; 0 keeps none once "
        "embedded.",
    )
    keep: tuple[str, ...] = Field(
        ("text", "response", "target", "thumbnails", "excerpts", "labels.*"),
        description="What is kept once it is embedded; labels.NAME keeps one label, labels.* all.",
    )
    redact: tuple[Literal["token", "email", "card", "phone"], ...] = Field(
        (),
        description="token, email, card, phone: taken out of texts, labels and excerpts before "
        "they are stored and embedded.",
    )
    patterns: dict[str, str] = Field(
        {}, description="Further ones, as regular expressions by name."
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        for item in self.keep:
            if item not in _KEEPABLE and not re.fullmatch(r"labels\..+", item):
                raise ValueError(f"keep takes {', '.join(_KEEPABLE)} and labels.NAME, got {item!r}")
        # What is to go at its age is found by the texts and the targets.
        if "response" in self.keep and "text" not in self.keep:
            raise ValueError("keep has response: it is kept only beside text")
        return self

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if not self.patterns:
            return self
        import regex  # type: ignore[import-untyped]  # noqa: PLC0415 - no types; seldom needed

        for name, pattern in self.patterns.items():
            if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
                raise ValueError(f"names of patterns are of a-z, 0-9, _ and -, got {name!r}")
            try:
                is_empty = regex.search(pattern, "") is not None
            except regex.error as exc:
                raise ValueError(f"patterns.{name} is no regular expression: {exc}") from exc
            if is_empty:
                raise ValueError(f"patterns.{name} matches where there is nothing")
        return self


class RetentionSettings(Section):
    """How long what was computed is kept."""

    samples: Duration = Field(timedelta(days=30), description="Vectors of samples.")
    measurements: Duration = Field(timedelta(days=400), description="Measurements.")
