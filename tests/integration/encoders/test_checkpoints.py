"""Checkpoints that cannot be used are refused in one line with the remedy; others are one model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from monitor.encoders.presets import (
    PAPER_TEXTUAL,
    PAPER_VISUAL,
    Execution,
    ModelChoice,
    pretrained_encoders,
)
from monitor.errors import EncoderError
from tests.integration.encoders.checkpoints import (
    CLIP,
    CPU,
    TINY,
    XLMR,
    as_bin,
    copied,
    custom,
    edit_weights,
    paper,
)

LAYER_NORM = "vision_model.pre_layrnorm.weight"
WORDS = "embeddings.word_embeddings.weight"
Edit = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def with_weight(model: str, name: str, change: Callable[[Tensor], Tensor | None]) -> Edit:
    def edit(folder: Path) -> None:
        def changed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
            new = change(weights.pop(name))
            return weights if new is None else weights | {name: new}

        edit_weights(folder / model, changed)

    return edit


def not_a_number(weight: Tensor) -> Tensor:
    weight[0] = float("nan")
    return weight


def shorter(weight: Tensor) -> Tensor:
    return weight[:-1].clone()


def fewer_words(folder: Path) -> None:
    """Weights and config.json agree with each other, but not with the tokenizer."""
    with_weight(XLMR, WORDS, lambda w: w[:1000].clone())(folder)
    path = folder / XLMR / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 1000}))


BROKEN: dict[str, tuple[Edit, str]] = {
    "no folder": (lambda f: shutil.rmtree(f / CLIP), "there is no such folder"),
    "no config": (lambda f: (f / CLIP / "config.json").unlink(), "no config.json"),
    "no JSON": (lambda f: (f / XLMR / "config.json").write_text("{"), "config.json cannot be"),
    "no weights": (lambda f: (f / CLIP / "model.safetensors").unlink(), "neither model.safet"),
    "no words": (lambda f: (f / XLMR / "model.safetensors").unlink(), "neither model.safet"),
    "cut images": (lambda f: cut(f / CLIP / "model.safetensors"), "weights cannot be used"),
    "cut texts": (lambda f: cut(f / XLMR / "model.safetensors"), "weights cannot be used"),
    "NaN in images": (with_weight(CLIP, LAYER_NORM, not_a_number), "not finite"),
    "NaN in texts": (with_weight(XLMR, WORDS, not_a_number), "not finite"),
    "shape in images": (with_weight(CLIP, LAYER_NORM, shorter), "missing or of another shape"),
    "shape in texts": (with_weight(XLMR, WORDS, shorter), "has the shape"),
    "one missing": (with_weight(CLIP, LAYER_NORM, lambda w: None), "1 tensors are missing"),
    "none for words": (with_weight(XLMR, WORDS, lambda w: None), f"no {WORDS}"),
    "texts for images": (
        lambda f: shutil.copy(f / XLMR / "model.safetensors", f / CLIP),
        "its weights are not those of the CLIPVisionModel",
    ),
    "images for texts": (
        lambda f: shutil.copy(f / CLIP / "model.safetensors", f / XLMR),
        "another architecture",
    ),
    "another model": (
        lambda f: shutil.copytree(f / XLMR, f / CLIP, dirs_exist_ok=True),
        "needs a CLIP image model",
    ),
    "no processor": (
        lambda f: (f / CLIP / "preprocessor_config.json").unlink(),
        "holds no preprocessor_config.json",
    ),
    "no tokenizer": (lambda f: (f / XLMR / "tokenizer.json").unlink(), "holds no tokenizer.json"),
    "cut tokenizer": (lambda f: cut(f / XLMR / "tokenizer.json"), "tokenizer cannot be used"),
    "other tokenizer": (fewer_words, "knows 4000 tokens and its weights 1000"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_one_line_that_says_what_and_what_to_do(
    name: str, tmp_path: Path
) -> None:
    edit, said = BROKEN[name]
    folder = copied(tmp_path)
    edit(folder)
    with pytest.raises(EncoderError) as refused:
        paper(folder)
    assert said in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("offline", [True, False])
def test_a_model_that_cannot_be_downloaded_is_refused_with_the_way_to_get_it(
    offline: bool,  # noqa: FBT001 - parametrized
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(EncoderError, match="run `hf download") as refused:
        pretrained_encoders(
            "paper", ModelChoice(), ModelChoice(), Execution(offline=offline, device="cpu")
        )
    assert "openai/clip-vit-base-patch32" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_hub_ids_are_taken_from_the_local_cache_without_a_network(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tmp_path)
    for name, model in ((CLIP, PAPER_VISUAL), (XLMR, PAPER_TEXTUAL)):
        if form == "bin":
            as_bin(folder / name)
        kept = tmp_path / f"models--{model.replace('/', '--')}"
        (kept / "refs").mkdir(parents=True)
        (kept / "refs" / "main").write_text("a" * 40)
        shutil.copytree(folder / name, kept / "snapshots" / ("a" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    pair = pretrained_encoders("paper", ModelChoice(), ModelChoice(), CPU)
    assert pair.digest == paper().digest
    assert [fact.model for fact in pair.facts] == [PAPER_VISUAL, PAPER_TEXTUAL]


def test_a_model_that_is_too_large_for_the_machine_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("monitor.encoders.checkpoint._read", full)
    with pytest.raises(EncoderError, match="not enough memory for its weights; free some"):
        paper()


def prefixed(folder: Path) -> None:
    edit_weights(folder / XLMR, lambda w: {f"roberta.{name}": v for name, v in w.items()})


@pytest.mark.parametrize(
    "rewrite", [lambda f: as_bin(f / CLIP), lambda f: as_bin(f / XLMR), prefixed]
)
def test_the_same_weights_in_another_form_are_the_same_encoders(
    rewrite: Edit, tmp_path: Path
) -> None:
    folder = copied(tmp_path)
    rewrite(folder)
    assert paper(folder).digest == paper().digest


def test_weights_that_are_missing_and_not_needed_leave_the_digest_alone(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    edit_weights(folder / XLMR, lambda w: {k: v for k, v in w.items() if "pooler" not in k})
    assert custom("cls", "mean", folder).digest == custom("cls", "mean").digest
    with pytest.raises(EncoderError, match=r"2 tensors are missing .*pooler\.dense\.bias"):
        custom("cls", "pooler", folder)


def edit_json(path: Path, **changed: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def exchange_words(path: Path) -> None:
    """Two words of the vocabulary take each other's place."""
    tree = json.loads(path.read_text())
    words = tree["model"]["vocab"]
    words[100], words[101] = words[101], words[100]
    path.write_text(json.dumps(tree))


CHANGES: dict[str, Edit] = {
    "a weight of the images": with_weight(CLIP, LAYER_NORM, lambda w: w * 1.001),
    "a weight of the texts": with_weight(XLMR, "embeddings.LayerNorm.bias", lambda w: w + 0.001),
    "the preprocessing": lambda f: edit_json(
        f / CLIP / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5]
    ),
    "the tokenizer": lambda f: exchange_words(f / XLMR / "tokenizer.json"),
    "the layer norm": lambda f: edit_json(f / XLMR / "config.json", layer_norm_eps=1e-3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_moves_an_embedding_changes_the_digest(name: str, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    CHANGES[name](folder)
    assert paper(folder).digest != paper().digest


def test_digests_outlive_releases_of_this_program_and_of_the_libraries() -> None:
    # References in use were built with these; a change must raise a VERSION and say so.
    pairs = paper(), custom("cls", "mean")
    assert [(pair.visual.digest, pair.textual.digest) for pair in pairs] == [
        (
            "af28c8f9b613ac88f4578eac349ca14a77ffee10085e1f7412bd84e9922cc353",
            "afb18853bdd0cf5a008e03573f2ec504463bfd9fd15c118e50481eac90b12a3a",
        ),
        (
            "a3da1d08a2c020b74c1d7c5ae76789e2133e728a63df61a32fa2776290c29db5",
            "3b983dece65faff2783ec555fc413bbe0d875bb72892be3c8a719efcc98a8ef4",
        ),
    ]


def test_poolings_and_precisions_have_digests_of_their_own() -> None:
    visual = {custom(p, "cls").visual.digest for p in ("clip_patch_mean", "cls", "mean", "pooler")}
    textual = {custom("cls", p).textual.digest for p in ("embedding_layer", "cls", "mean")}
    choice = ModelChoice(str(TINY / CLIP)), ModelChoice(str(TINY / XLMR))
    single = pretrained_encoders("paper", *choice, Execution(device="cpu", precision="single"))
    assert (len(visual), len(textual)) == (4, 3)
    assert single.visual.digest not in visual


def test_the_name_of_a_pair_tells_models_and_poolings() -> None:
    assert paper().name == (f"paper ({TINY / CLIP} clip_patch_mean, {TINY / XLMR} embedding_layer)")


def test_what_is_told_of_an_encoder_is_what_is_loaded() -> None:
    visual, textual = paper().facts
    words, positions, dim = 4000, 514, 64
    assert (visual.dim, visual.device, textual.pooling) == (dim, "cpu", "embedding_layer")
    assert textual.weight_bytes == 4 * dim * (words + positions + 1 + 2)


def test_embeddings_on_a_gpu_agree_with_those_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU here")
    from tests.unit.encoders.test_contract import TEXTS, images  # noqa: PLC0415 - for a GPU only

    choice = ModelChoice(str(TINY / CLIP)), ModelChoice(str(TINY / XLMR), "mean")
    cpu = pretrained_encoders("custom", ModelChoice(choice[0].model, "cls"), choice[1], CPU)
    gpu = pretrained_encoders(
        "custom", ModelChoice(choice[0].model, "cls"), choice[1], Execution(offline=True)
    )
    assert gpu.digest == cpu.digest
    assert {fact.device for fact in gpu.facts} == {"cuda"}
    for one, other in (
        (gpu.visual.encode(images()), cpu.visual.encode(images())),
        (gpu.textual.encode(TEXTS), cpu.textual.encode(TEXTS)),
    ):
        assert (one * other).sum(dim=1).min() >= 0.999
