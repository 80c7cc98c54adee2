"""How images and texts become vectors."""

from typing import Literal, Self

from pydantic import Field, model_validator

from monitor.settings.section import Section

_CUSTOM_KEYS = 4


class VisualEncoderSettings(Section):
    """The image model."""

    model: str | None = Field(
        None, description="Folder or hub id; for `paper`, openai/clip-vit-base-patch32 unless set."
    )
    pooling: Literal["clip_patch_mean", "cls", "mean", "pooler", "clip_projection"] | None = Field(
        None, description="For `custom`: clip_patch_mean, cls, mean, pooler or clip_projection."
    )


class TextualEncoderSettings(Section):
    """The text model."""

    model: str | None = Field(
        None, description="Folder or hub id; for `paper`, FacebookAI/xlm-roberta-base unless set."
    )
    pooling: (
        Literal["embedding_layer", "cls", "mean", "pooler", "clip_projection", "sentence"] | None
    ) = Field(
        None,
        description="For `custom`: embedding_layer, cls, mean, pooler, clip_projection or "
        "sentence (as a sentence-embedding model declares it).",
    )


class EncoderSettings(Section):
    """How images and texts become vectors."""

    preset: Literal["builtin", "paper", "custom"] = Field(
        "builtin",
        description="builtin (untrained, no download), paper (CLIP and XLM-RoBERTa, as published) "
        "or custom (any model and pooling).",
    )
    visual: VisualEncoderSettings = VisualEncoderSettings()
    textual: TextualEncoderSettings = TextualEncoderSettings()
    projection: bool = Field(
        default=False,
        description="Where the two have different dimensions: bring images to that of the texts "
        "by a fixed random projection when both are fused to one query.",
    )
    offline: bool = Field(default=False, description="Take hub ids from the local cache alone.")
    device: str = Field(
        "auto", description="auto (a GPU where there is one), cpu, cuda or cuda:N for the Nth."
    )
    precision: Literal["mixed", "single"] = Field(
        "mixed", description="mixed is float16 on a GPU and float32 on the CPU; single is float32."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        named = [
            f"encoders.{name}.{key}"
            for name, part in (("visual", self.visual), ("textual", self.textual))
            for key in ("model", "pooling")
            if getattr(part, key) is not None
        ]
        if self.preset == "builtin" and named:
            raise ValueError(
                f"{named[0]} is for the presets paper and custom, and preset is builtin"
            )
        poolings = [name for name in named if name.endswith("pooling")]
        if self.preset == "paper" and poolings:
            raise ValueError(f"preset paper pools as published; choose custom to set {poolings[0]}")
        if self.preset == "custom" and len(named) < _CUSTOM_KEYS:
            raise ValueError("preset custom needs model and pooling of both visual and textual")
        return self
