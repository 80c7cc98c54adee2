"""The encoders of a deployment, put together from what the settings name."""

from dataclasses import dataclass

from monitor.encoders.checkpoint import Checkpoint
from monitor.encoders.device import Precision, choose_device
from monitor.encoders.encoder import EncoderPair
from monitor.encoders.language import LanguageEncoder
from monitor.encoders.pooling import TextualPooling, VisualPooling
from monitor.encoders.remembered import RememberedTexts
from monitor.encoders.vision import VisionEncoder
from monitor.encoders.xlmr import EmbeddingLayerEncoder

PAPER_VISUAL, PAPER_TEXTUAL = "openai/clip-vit-base-patch32", "FacebookAI/xlm-roberta-base"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Folder or hub id, and pooling; what is not chosen is that of the published results."""

    model: str | None = None
    pooling: str | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """Where models come from and how they are run."""

    offline: bool = False
    device: str = "auto"
    precision: Precision = "mixed"


def pretrained_encoders(
    preset: str, visual: ModelChoice, textual: ModelChoice, execution: Execution
) -> EncoderPair:
    """The two models with their poolings; loading them takes seconds, downloading minutes.

    Raises:
        EncoderError: in one line with the remedy, whatever is wrong with either.
    """
    device = choose_device(execution.device)
    # Both are found before either is loaded: what is missing is said early.
    of_images = Checkpoint.find(visual.model or PAPER_VISUAL, offline=execution.offline)
    of_texts = Checkpoint.find(textual.model or PAPER_TEXTUAL, offline=execution.offline)
    see = VisualPooling(visual.pooling or VisualPooling.CLIP_PATCH_MEAN)
    read = TextualPooling(textual.pooling or TextualPooling.EMBEDDING_LAYER)
    images = VisionEncoder(of_images, see, device=device, precision=execution.precision)
    texts: EmbeddingLayerEncoder | LanguageEncoder
    if read is TextualPooling.EMBEDDING_LAYER:
        texts = EmbeddingLayerEncoder(of_texts)
    else:
        texts = LanguageEncoder(of_texts, read, device=device, precision=execution.precision)
    return EncoderPair(
        f"{preset} ({of_images.model} {see}, {of_texts.model} {read})",
        visual=images,
        textual=RememberedTexts(texts),
        facts=(images.facts, texts.facts),
    )
