"""Texts as token ids, as the tokenizer of a checkpoint cuts them."""

import hashlib
import json
from collections.abc import Sequence
from threading import Lock

from monitor.encoders.checkpoint import Checkpoint, transformers
from monitor.errors import EncoderError

CHARACTERS_MAX = 65_536  # no model reads as far; a tokenizer would take seconds a megabyte
LENGTH_MAX = 512
_FILES = (
    "tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt",
    "vocab.json",
)  # fmt: skip
# Integers come out, so that equal tokenizers agree whatever library version wraps them.
_PROBES = (
    "What is unusual about this image?", "Où est l'été?", "猫はどこですか", "Что это?", "  a\tb\n",
    "1,024 pixels_wide", "\N{WAVING HAND SIGN}", "</s><pad>[SEP]",
)  # fmt: skip


class Tokens:
    """A tokenizer with its special tokens and at most ``length`` ids; for several threads."""

    def __init__(self, checkpoint: Checkpoint, length: int, vocabulary: int) -> None:
        checkpoint.require_file(*_FILES)
        with checkpoint.explained("tokenizer"):
            self._tokenizer = transformers().AutoTokenizer.from_pretrained(
                checkpoint.folder, local_files_only=True
            )
            self.length = min(length, LENGTH_MAX, self._tokenizer.model_max_length)
            self.padding_id = int(self._tokenizer.pad_token_id or 0)
            # Setting the length is a change of the tokenizer, and none may happen while it is used.
            self._lock = Lock()
            known = self._tokenizer.get_vocab()
            if max(known.values()) >= vocabulary:
                raise EncoderError(
                    f"its tokenizer knows {len(known)} tokens and its "
                    f"weights {vocabulary}; get the files of one model"
                )
            self.facts = {
                "vocabulary": _digest(sorted(known.items())),
                "probes": _digest(self.of(_PROBES)),
                "length": self.length,
                "characters_max": CHARACTERS_MAX,
            }

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        if not texts:
            return []
        # Half a surrogate pair, which logs do hold, is no text to a tokenizer.
        plain = [t[:CHARACTERS_MAX].encode("utf-8", "replace").decode() for t in texts]
        with self._lock:
            found: list[list[int]] = self._tokenizer(
                plain,
                truncation=True,
                max_length=self.length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        return found


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
