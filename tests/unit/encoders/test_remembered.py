from collections.abc import Iterable

import torch
from torch import Tensor

from monitor.encoders.remembered import RememberedTexts
from tests.fakes import HashEncoder


class Noting(HashEncoder):
    """Notes every text that it is asked to embed."""

    def __init__(self) -> None:
        super().__init__(dim=4)
        self.asked: list[str] = []

    def encode(self, inputs: Iterable[str]) -> Tensor:
        texts = list(inputs)
        self.asked += texts
        return super().encode(texts)


def test_a_text_is_embedded_once_whatever_batches_it_comes_in() -> None:
    within = Noting()
    remembered = RememberedTexts(within)
    first = remembered.encode(["a", "b", "a"])
    second = remembered.encode(["c", "b"])
    assert within.asked == ["a", "b", "c"]
    assert torch.equal(first, HashEncoder(dim=4).encode(["a", "b", "a"]))
    assert torch.equal(second, HashEncoder(dim=4).encode(["c", "b"]))


def test_the_text_used_longest_ago_is_forgotten_first() -> None:
    within = Noting()
    remembered = RememberedTexts(within, kept=2)
    for texts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        remembered.encode(texts)
    assert within.asked == ["a", "b", "c", "b"]


def test_a_batch_larger_than_the_memory_is_embedded_whole() -> None:
    texts = [str(i) for i in range(10)]
    found = RememberedTexts(Noting(), kept=3).encode(texts)
    assert torch.equal(found, HashEncoder(dim=4).encode(texts))


def test_memory_holds_rows_of_their_own_and_no_text() -> None:
    remembered = RememberedTexts(Noting())
    remembered.encode(["what a stranger said", "something else"])
    assert all(row.untyped_storage().nbytes() == 4 * 4 for row in remembered._known.values())
    assert b"stranger" not in b"".join(remembered._known)
