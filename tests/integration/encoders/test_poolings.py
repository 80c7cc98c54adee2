"""Named poolings against what a model's own output says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from monitor.encoders.images import DecodedImage
from monitor.encoders.pooling import TextualPooling, VisualPooling
from monitor.encoders.presets import ModelChoice, pretrained_encoders
from monitor.errors import EncoderError
from monitor.settings import TextualEncoderSettings, VisualEncoderSettings
from tests.integration.encoders.checkpoints import CLIP, CPU, TINY, XLMR, copied, custom
from tests.unit.encoders.test_contract import TEXTS, images

Pool = Callable[[Any, Tensor], Tensor]


def pictures() -> list[DecodedImage]:
    """None much longer than wide: those are cut first."""
    return [i for i in images() if max(i.pixels.shape[:2]) <= 16 * min(i.pixels.shape[:2])]


VISUAL: dict[str, Callable[[Any], Tensor]] = {
    "clip_patch_mean": lambda out: out.vision_model_output.last_hidden_state[:, 1:].mean(1),
    "cls": lambda out: out.vision_model_output.last_hidden_state[:, 0],
    "mean": lambda out: out.vision_model_output.last_hidden_state.mean(1),
    "pooler": lambda out: out.vision_model_output.last_hidden_state[:, 0],
    "clip_projection": lambda out: out.image_embeds,
}


@pytest.mark.parametrize("pooling", VisualPooling)
def test_an_image_pooling_is_what_the_whole_model_gives(pooling: VisualPooling) -> None:
    from transformers import CLIPModel  # noqa: PLC0415 - takes seconds
    from transformers.models.clip.image_processing_pil_clip import (  # noqa: PLC0415 - as above
        CLIPImageProcessorPil,
    )

    model = CLIPModel.from_pretrained(TINY / CLIP).eval()
    processor = CLIPImageProcessorPil.from_pretrained(TINY / CLIP)
    shown = [Image.fromarray(image.pixels) for image in pictures()]
    pixels = processor(images=shown, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        found = model(pixel_values=pixels, input_ids=torch.tensor([[0, 2]]))
        expected = VISUAL[pooling](found)
        if pooling is VisualPooling.POOLER:
            expected = model.vision_model.post_layernorm(expected)
    z = custom(pooling, "cls").visual.encode(pictures())
    torch.testing.assert_close(z, functional.normalize(expected, dim=1), rtol=0, atol=1e-5)


def mean_of_tokens(out: Any, mask: Tensor) -> Tensor:
    return (out.last_hidden_state * mask[:, :, None]).sum(1)


TEXTUAL: dict[str, Pool] = {
    "cls": lambda out, mask: out.last_hidden_state[:, 0],
    "mean": mean_of_tokens,
    "sentence": mean_of_tokens,
    "pooler": lambda out, mask: out.pooler_output,
}


@pytest.mark.parametrize("pooling", TEXTUAL)
def test_a_text_pooling_is_what_the_whole_model_gives(pooling: str) -> None:
    from transformers import AutoTokenizer, XLMRobertaModel  # noqa: PLC0415 - takes seconds

    model = XLMRobertaModel.from_pretrained(TINY / XLMR).eval()
    tokenizer = AutoTokenizer.from_pretrained(TINY / XLMR)
    plain = [text.encode("utf-8", "replace").decode() for text in TEXTS]
    batch = tokenizer(plain, padding=True, truncation=True, max_length=512, return_tensors="pt")
    with torch.inference_mode():
        expected = TEXTUAL[pooling](model(**batch), batch["attention_mask"])
    z = custom("cls", pooling).textual.encode(TEXTS)
    torch.testing.assert_close(z, functional.normalize(expected, dim=1), rtol=0, atol=1e-5)


@pytest.fixture
def both_of_clip(tmp_path: Path) -> Path:
    """A CLIP model of random weights whose text side has the tiny tokenizer."""
    from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415 - takes seconds

    config = CLIPConfig.from_pretrained(TINY / CLIP)
    config.text_config.vocab_size = 4_000
    config.text_config.bos_token_id, config.text_config.eos_token_id = 0, 2
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(tmp_path / "both")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / XLMR / name, tmp_path / "both")
    shutil.copy(TINY / CLIP / "preprocessor_config.json", tmp_path / "both")
    return tmp_path / "both"


def test_projected_features_put_images_and_texts_into_one_space(both_of_clip: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel  # noqa: PLC0415 - takes seconds

    choice = ModelChoice(str(both_of_clip), "clip_projection")
    pair = pretrained_encoders("custom", choice, choice, CPU)
    texts = ["What is unusual?", "a", "word " * 100]
    tokenizer = AutoTokenizer.from_pretrained(both_of_clip)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.inference_mode():
        model = CLIPModel.from_pretrained(both_of_clip).eval()
        expected = model.get_text_features(**batch).pooler_output
    assert (pair.visual.dim, pair.textual.dim) == (32, 32)
    torch.testing.assert_close(
        pair.textual.encode(texts), functional.normalize(expected, dim=1), rtol=0, atol=1e-5
    )


def declared(folder: Path, *, modules: tuple[str, ...] = (), **pooling: bool) -> Path:
    """The text checkpoint with the description of a sentence-embedding model."""
    target = copied(folder)
    kinds = [{"type": f"sentence_transformers.models.{kind}"} for kind in modules]
    (target / XLMR / "modules.json").write_text(json.dumps(kinds))
    (target / XLMR / "1_Pooling").mkdir()
    (target / XLMR / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 64, **pooling})
    )
    return target


def test_a_sentence_model_is_pooled_and_cut_as_it_declares(tmp_path: Path) -> None:
    folder = declared(
        tmp_path,
        modules=("Transformer", "Pooling", "Normalize"),
        pooling_mode_cls_token=True,
        pooling_mode_mean_tokens=False,
    )
    (folder / XLMR / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    sentence = custom("cls", "sentence", folder).textual
    long = "one two three " * 40
    short = custom("cls", "cls").textual.encode(["one two"])
    torch.testing.assert_close(sentence.encode(["one two"]), short, rtol=0, atol=1e-6)
    assert torch.equal(sentence.encode([long]), sentence.encode([long + "and more"]))


@pytest.mark.parametrize(
    ("modules", "pooling", "named"),
    [
        (("Transformer", "Pooling", "Dense"), {"pooling_mode_mean_tokens": True}, "Dense"),
        ((), {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
    ],
)
def test_a_sentence_model_that_does_something_else_is_refused(
    modules: tuple[str, ...], pooling: dict[str, bool], named: str, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match=f"{named}.*choose the pooling mean or cls"):
        custom("cls", "sentence", declared(tmp_path, modules=modules, **pooling))


def test_a_text_model_without_projection_is_refused_by_name() -> None:
    with pytest.raises(EncoderError, match="needs a CLIP text model, and this one is 'xlm-rob"):
        custom("cls", "clip_projection")


def test_a_line_of_pixels_costs_no_more_than_a_long_image() -> None:
    from monitor.encoders.vision import _bounded  # noqa: PLC0415 - beside its only use

    line = np.arange(3 * 60_000, dtype=np.uint8).reshape(1, 60_000, 3)
    assert np.array_equal(_bounded(line), line[:, 29_992:30_008])
    assert _bounded(line.transpose(1, 0, 2)).shape == (16, 1, 3)
    assert _bounded(line[:, :16]).shape == (1, 16, 3)


@pytest.mark.parametrize(
    ("section", "poolings"),
    [(VisualEncoderSettings, VisualPooling), (TextualEncoderSettings, TextualPooling)],
)
def test_the_settings_know_every_pooling(section: type[Any], poolings: type[Any]) -> None:
    (names, _) = get_args(section.model_fields["pooling"].annotation)
    assert set(get_args(names)) == {pooling.value for pooling in poolings}


def test_poolings_that_a_model_does_not_have_are_refused_when_it_is_loaded(tmp_path: Path) -> None:
    import transformers  # noqa: PLC0415 - takes seconds
    from transformers.models.convnext.image_processing_pil_convnext import (  # noqa: PLC0415 - as above
        ConvNextImageProcessorPil,
    )

    folder = tmp_path / CLIP
    transformers.ResNetModel(
        transformers.ResNetConfig(hidden_sizes=[8, 16], depths=[1, 1], embedding_size=8)
    ).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 64}).save_pretrained(folder)
    words = tmp_path / XLMR
    transformers.DistilBertModel(
        transformers.DistilBertConfig(
            dim=16, hidden_dim=16, n_layers=1, n_heads=2, vocab_size=4_000
        )
    ).save_pretrained(words)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / XLMR / name, words)
    with pytest.raises(EncoderError, match=f"{folder}: this model has no first position"):
        custom("cls", "cls", tmp_path)
    with pytest.raises(EncoderError, match=f"{words}: this model has no pooler"):
        custom("mean", "pooler", tmp_path)
    pair = custom("mean", "mean", tmp_path)
    assert (pair.visual.dim, pair.textual.dim) == (16, 16)
