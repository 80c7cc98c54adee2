"""Where reference answers come from: what is logged, or a teacher that is asked."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from monitor.settings.section import Count, Duration, Section


class TargetSettings(Section):
    """Where reference answers are found."""

    paths: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        ("reference_answer", "expected_output", "expected_response", "ground_truth"),
        max_length=16,
        description="Names in the metadata or attributes of a call; with dots, a path in the "
        "record. The first that holds a text is the target.",
    )


class TeacherSettings(Section):
    """A model that answers a small share of the sampled queries that have no target."""

    url: str = Field(
        "",
        description="OpenAI-compatible endpoint, https://HOST/v1 say; without one there is no "
        "teacher.",
    )
    model: str = Field("", description="What the endpoint calls the model.")
    key_file: Path | None = Field(None, description="File with the key of the endpoint.")
    share: float = Field(0.02, gt=0, le=1, description="Share of the samples that it answers.")
    calls_per_day: Count = Field(1_000, description="Calls in a day of UTC, of all processes.")
    tokens_per_day: Count = Field(1_000_000, description="Tokens in a day, both ways.")
    timeout: Duration = Field(timedelta(seconds=20), description="Longest wait for an answer.")
    instructions: str = Field(
        "", description="System message: how answers should look to be comparable."
    )
    parameters: dict[str, int | float | str | bool] = Field(
        {"max_tokens": 512, "temperature": 0},
        description="Further keys of the request; some endpoints want max_completion_tokens.",
    )
    max_text_chars: Count = Field(8_000, description="Longer queries are not sent.")
    image_side: int = Field(
        512, ge=64, le=2_048, description="Longest side of pictures that are kept and sent."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.url:
            return self
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url must be https://HOST/v1 or the like")
        if parts.username is not None or parts.query:
            raise ValueError("url holds a key or a password: put it into a file, key_file")
        if not self.model:
            raise ValueError("url needs model")
        if not self.timeout:
            raise ValueError("timeout must be at least 1s")
        return self
