"""Checkpoints in the form that ``transformers`` reads: found, checked and identified."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from monitor.encoders.device import is_out_of_memory
from monitor.errors import EncoderError

# What changes the output besides the weights; other keys come and go with library versions.
_COMPUTED_WITH = (
    "hidden_act", "layer_norm_eps", "num_attention_heads", "num_hidden_layers", "hidden_size",
    "intermediate_size", "image_size", "patch_size", "vocab_size", "max_position_embeddings",
)  # fmt: skip
POOLER = "pooler."  # in the names of tensors; random numbers where the files have none
_ASIDE = ("*.json", "*.txt", "*.model")
_WEIGHTS = ("*.safetensors", "*.bin")  # one of them is enough, the first if there is a choice
_HASHED_AT_ONCE = 2**20  # numbers
_NEVER = ("onnx/*", "openvino/*", "training_args.bin")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a model's files; ``model`` is what the settings call it."""

    model: str
    folder: Path

    @classmethod
    def find(cls, model: str, *, offline: bool) -> Self:
        """The folder of this path, or of this hub id once it is in the local cache.

        Raises:
            EncoderError: if there is no such folder and nothing of this name can be had.
        """
        folder = Path(model).expanduser()
        if not folder.is_dir():
            if _is_path(model):
                raise EncoderError(
                    f"encoder {model}: there is no such folder; give the one that holds "
                    "config.json, or a hub id such as openai/clip-vit-base-patch32"
                )
            folder = _from_hub(model, offline=offline)
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"encoder {model}: no config.json in {folder}; give the folder that "
                "`save_pretrained` or `hf download` wrote"
            )
        return cls(model, folder)

    @property
    def weight_files(self) -> list[Path]:
        """Files that hold the weights.

        Raises:
            EncoderError: if there is none, or the index of several names one that is missing.
        """
        for name in ("model.safetensors", "pytorch_model.bin"):
            index = self.folder / f"{name}.index.json"
            if (self.folder / name).is_file():
                return [self.folder / name]
            if index.is_file():
                with self.explained("list of weight files"):
                    names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
                missing = [n for n in names if not (self.folder / n).is_file()]
                if missing:
                    raise EncoderError(f"encoder {self.model}: {missing[0]} is missing; get it")
                return [self.folder / n for n in names]
        raise EncoderError(
            f"encoder {self.model}: neither model.safetensors nor pytorch_model.bin is in "
            f"{self.folder}; download the checkpoint again"
        )

    @contextmanager
    def explained(self, part: str) -> Iterator[None]:
        """Whatever is raised, in one line that says which part of which model is unfit."""
        try:
            yield
        except EncoderError as exc:
            raise EncoderError(f"encoder {self.model}: {exc}") from exc
        except Exception as exc:  # the libraries raise whatever comes up
            if is_out_of_memory(exc):
                raise EncoderError(
                    f"encoder {self.model}: there is not enough memory for its {part}; free some, "
                    "or choose a smaller model"
                ) from exc
            said = f"{type(exc).__name__}: {' '.join(str(exc).split())[:200]}"
            raise EncoderError(
                f"encoder {self.model}: its {part} cannot be used ({said}); the files are "
                "damaged, incomplete or of another kind of model: get them again or choose another"
            ) from exc

    def config(self) -> Any:
        """The configuration, of whatever class belongs to it."""
        with self.explained("config.json"):
            return transformers().AutoConfig.from_pretrained(self.folder, local_files_only=True)

    def model_of(self, architecture: Any, config: Any, *, needs_pooler: bool) -> nn.Module:
        """The model with its weights in float32, every one that counts from the files.

        Raises:
            EncoderError: if a weight is missing or of another shape.
        """
        files = self.weight_files
        with self.explained("weights"):
            model, report = architecture.from_pretrained(
                self.folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=files[0].suffix == ".safetensors",
                ignore_mismatched_sizes=True,  # they are in the report, and refused below
                output_loading_info=True,
            )
        unfit = {name for name, *_ in report["mismatched_keys"]} | {
            name
            for name in report["missing_keys"]
            if needs_pooler or POOLER not in name  # often left out by those who do not need it
        }
        if unfit:
            raise EncoderError(
                f"encoder {self.model}: its weights are not those of the {type(model).__name__} "
                f"that config.json describes: {len(unfit)} tensors are missing or of another "
                f"shape, {min(unfit)} for one; get the files of one model"
            )
        found: nn.Module = model
        return found

    def tensors(self, endings: Iterable[str]) -> dict[str, Tensor]:
        """The tensors whose names end like this, in float32; no other is read.

        Raises:
            EncoderError: if one is missing or the file is damaged.
        """
        wanted = set(endings)
        found: dict[str, Tensor] = {}
        for path in self.weight_files:
            with self.explained("weights"):
                found |= _read(path, wanted)
        if absent := wanted - found.keys():
            raise EncoderError(
                f"encoder {self.model}: no {min(absent)} among its weights; they are of another "
                "architecture than config.json says"
            )
        return found

    def identify(self, facts: Mapping[str, object], weights: Mapping[str, Tensor]) -> str:
        """Hash of how inputs are prepared and pooled, and of every weight, whatever its name.

        Raises:
            EncoderError: if a weight is not finite.
        """
        with self.explained("weights"):
            hashes = [_hash_of(name, weight) for name, weight in weights.items()]
        parts = json.dumps([facts, sorted(hashes)], sort_keys=True, default=list)
        return hashlib.sha256(parts.encode()).hexdigest()

    def require_file(self, *names: str) -> None:
        """Refuse a folder that has none of these; the library would make do without.

        Raises:
            EncoderError: naming the first.
        """
        if not any((self.folder / name).is_file() for name in names):
            raise EncoderError(
                f"encoder {self.model}: {self.folder} holds no {names[0]}; get the whole checkpoint"
            )


def transformers() -> Any:
    """The library, quiet; its import takes seconds, which only those who need it pay."""
    import transformers as untyped  # noqa: PLC0415 - as said
    from huggingface_hub import utils as hub  # noqa: PLC0415 - as above

    library: Any = untyped
    hub.disable_progress_bars()  # type: ignore[attr-defined]  # public, exported by name only
    library.utils.logging.disable_progress_bar()
    # What it would warn of, such as missing weights, is checked here and refused.
    library.utils.logging.set_verbosity_error()
    return library


def computed_with(config: Any) -> dict[str, object]:
    """The numbers of a configuration that change the output though the weights stay the same."""
    return {"model_type": config.model_type} | {
        key: getattr(config, key) for key in _COMPUTED_WITH if hasattr(config, key)
    }


def _hash_of(name: str, weight: Tensor) -> str:
    hasher = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)}".encode())
    # In parts: asking all numbers at once takes twice the memory of the largest weight again.
    numbers = weight.detach().contiguous().view(-1)
    for start in range(0, len(numbers), _HASHED_AT_ONCE):
        part = numbers[start : start + _HASHED_AT_ONCE]
        if not part.isfinite().all():
            raise EncoderError(
                f"its weight {name} holds numbers that are not finite; the file is damaged: get it "
                "again"
            )
        hasher.update(part.view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _is_path(model: str) -> bool:
    return model.startswith(("/", ".", "~")) or model.count("/") > 1


def _from_hub(model: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - with the library

    transformers()  # before a byte is moved, so that no bar is drawn

    def fetch(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                model,
                allow_patterns=[*_ASIDE, *patterns],
                ignore_patterns=list(_NEVER),
                local_files_only=offline,
            )
        )

    try:
        for pattern in _WEIGHTS:
            folder = fetch(pattern)
            if any(folder.glob(pattern)):
                break
    except Exception as exc:  # no network, no such name, no leave, no space
        why = (
            "it is not in the local cache and encoders.offline is set"
            if offline
            else f"it cannot be downloaded ({type(exc).__name__}: {_first_line(exc)})"
        )
        raise EncoderError(
            f"encoder {model}: {why}; run `hf download {model}` where there is a network, or name "
            "a local folder in the settings"
        ) from exc
    return folder


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0][:200]


def _read(path: Path, endings: set[str]) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open  # noqa: PLC0415 - with the library

        with safe_open(path, framework="pt") as file:
            names = {name: _ending(name, endings) for name in file.keys()}  # noqa: SIM118 - no dict
            return {e: file.get_tensor(name).float() for name, e in names.items() if e}
    stored = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    names = {name: _ending(name, endings) for name in stored}
    return {e: stored[name].float().clone() for name, e in names.items() if e}


def _ending(name: str, endings: set[str]) -> str | None:
    """Models with a head keep the same weights under a prefix."""
    return next((e for e in endings if name == e or name.endswith(f".{e}")), None)
