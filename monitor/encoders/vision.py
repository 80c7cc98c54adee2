"""Image models of ``transformers`` with a named pooling."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from monitor.encoders.ahead import ahead
from monitor.encoders.checkpoint import Checkpoint, computed_with, transformers
from monitor.encoders.containers import ImageFormat
from monitor.encoders.device import ModelRunner, Precision
from monitor.encoders.encoder import EncoderFacts
from monitor.encoders.images import DECODING, DecodedImage
from monitor.encoders.pooling import Pooled, VisualPooling
from monitor.errors import EncoderError

VERSION = 1  # raise it with every change of the code that moves an embedding
LONGEST_SIDE = 2_048  # images up to here are prepared from their own pixels, as published
ASPECT_MAX = 16  # a line of pixels would become millions once its short side is scaled up
BATCH_CPU, BATCH_GPU = 16, 64


class VisionEncoder:
    """Images in batches of one shape, the next ones prepared while the model runs."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        pooling: VisualPooling,
        *,
        device: torch.device,
        precision: Precision,
    ) -> None:
        config = checkpoint.config()
        config = getattr(config, "vision_config", config)
        _require_clip(checkpoint, pooling, config)
        self._prepare_with = _processor(checkpoint)

        def load() -> Pooled:
            return Pooled(_load(checkpoint, pooling, config), pooling)

        model = load()
        facts = {
            "version": VERSION,
            "decoding": DECODING,
            "pooling": pooling.value,
            "precision": precision,
            "images": [LONGEST_SIDE, ASPECT_MAX],
            "processor": _settings_of(self._prepare_with),
            "config": computed_with(config),
        }
        self.digest = checkpoint.identify(facts, model.weights)
        self._runner = ModelRunner(model, load, device, precision)
        with checkpoint.explained("output"):
            self.dim = self._embed([self._prepare(_probe())]).shape[1]
        self.facts = EncoderFacts(
            modality="visual",
            model=checkpoint.model,
            pooling=pooling.value,
            dim=self.dim,
            device=str(self._runner.device),
            weight_bytes=self._runner.weight_bytes,
        )

    def encode(self, inputs: Iterable[DecodedImage]) -> Tensor:
        """See `Encoder.encode`."""
        size = BATCH_CPU if self._runner.device.type == "cpu" else BATCH_GPU
        order: list[int] = []
        rows = [torch.empty(0, self.dim)]
        for batch in _of_one_shape(ahead(map(self._prepare, inputs), 2 * size), size):
            order += [position for position, _ in batch]
            rows.append(self._embed([pixels for _, pixels in batch]))
        return torch.cat(rows)[torch.argsort(torch.tensor(order, dtype=torch.long))]

    def _embed(self, pixels: list[Tensor]) -> Tensor:
        return functional.normalize(self._runner.run({"pixel_values": torch.stack(pixels)}), dim=1)

    def _prepare(self, image: DecodedImage) -> Tensor:
        shown = Image.fromarray(_bounded(image.pixels))
        pixels: Tensor = self._prepare_with(images=shown, return_tensors="pt")["pixel_values"][0]
        return pixels


def _of_one_shape(prepared: Iterable[Tensor], size: int) -> Iterator[list[tuple[int, Tensor]]]:
    """Batches of numbered tensors of one shape, full ones as soon as they are."""
    waiting: dict[torch.Size, list[tuple[int, Tensor]]] = {}
    for position, pixels in enumerate(prepared):
        batch = waiting.setdefault(pixels.shape, [])
        batch.append((position, pixels))
        if len(batch) == size:
            yield waiting.pop(pixels.shape)
    yield from waiting.values()


def _bounded(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middle of an image that is much longer than wide."""
    sides = pixels.shape[:2]
    most = ASPECT_MAX * min(sides)
    top, left = (max(0, side - most) // 2 for side in sides)
    return pixels[top : top + most, left : left + most]


def _processor(checkpoint: Checkpoint) -> Any:
    checkpoint.require_file("preprocessor_config.json", "processor_config.json")
    with checkpoint.explained("preprocessor_config.json"):
        # torchvision's, taken where it is installed, resamples differently.
        return transformers().AutoImageProcessor.from_pretrained(
            checkpoint.folder, backend="pil", local_files_only=True
        )


def _settings_of(processor: Any) -> dict[str, object]:
    """What a processor does, without the names that change with the library."""
    return {
        key: value
        for key, value in processor.to_dict().items()
        if value is not None and not key.startswith("_") and not key.endswith(("_type", "_class"))
    }


def _require_clip(checkpoint: Checkpoint, pooling: VisualPooling, config: Any) -> None:
    if pooling in CLIP_ONLY and config.model_type != "clip_vision_model":
        raise EncoderError(
            f"encoder {checkpoint.model}: the pooling {pooling} needs a CLIP image model, and this "
            f"one is {config.model_type!r}; take another model, or with preset custom the pooling "
            "cls, mean or pooler"
        )


def _load(checkpoint: Checkpoint, pooling: VisualPooling, config: Any) -> nn.Module:
    library = transformers()
    is_projected = pooling is VisualPooling.CLIP_PROJECTION
    architecture = library.CLIPVisionModelWithProjection if is_projected else library.AutoModel
    needs_pooler = pooling is VisualPooling.POOLER
    return checkpoint.model_of(architecture, config, needs_pooler=needs_pooler)


def _probe() -> DecodedImage:
    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([4 * x, 5 * y, x + y], axis=-1).astype(np.uint8)
    return DecodedImage(pixels, 64, 48, ImageFormat.PNG, "")


CLIP_ONLY = {VisualPooling.CLIP_PATCH_MEAN, VisualPooling.CLIP_PROJECTION}
