import numpy as np
import pytest

from monitor.service.characteristics import characteristic_words
from monitor.service.clusters import group, portion, worth_grouping
from tests.populations import unit

DIM = 48


def blobs(sizes: list[int], seed: int = 0, noise: float = 0.3) -> np.ndarray:
    """Unit rows around one direction for each size, in order."""
    rng = np.random.default_rng(seed)
    middles = np.eye(DIM)[: len(sizes)] * np.sqrt(DIM)
    rows = [m + noise * rng.standard_normal((n, DIM)) for m, n in zip(middles, sizes, strict=True)]
    return unit(np.concatenate(rows))


def test_events_of_different_kinds_are_different_groups_the_largest_first() -> None:
    found = group(blobs([10, 30, 20]), np.arange(60), 6)
    assert [sorted(g.rows.tolist()) for g in found] == [
        list(range(10, 40)),
        list(range(40, 60)),
        list(range(10)),
    ]


def test_events_without_structure_are_one_group() -> None:
    rows = unit(np.random.default_rng(1).standard_normal((60, DIM)))
    (only,) = group(rows, np.arange(60), 6)
    assert sorted(only.rows.tolist()) == list(range(60))


def test_no_more_groups_are_told_than_asked_for() -> None:
    assert [len(g.rows) for g in group(blobs([10, 30, 20]), np.arange(60), 2)] == [30, 20]


def test_what_belongs_to_no_group_is_in_none() -> None:
    stray = unit(np.random.default_rng(2).standard_normal((4, DIM)))
    found = group(np.concatenate([blobs([20, 20]), stray]), np.arange(44), 6)
    assert {i for g in found for i in g.rows.tolist()} <= set(range(40))


def test_only_the_rows_that_are_asked_for_are_grouped() -> None:
    chosen = np.arange(5, 25)
    found = group(blobs([15, 15]), chosen, 6)
    assert sorted(i for g in found for i in g.rows.tolist()) == chosen.tolist()


def test_equal_events_are_one_group_and_few_are_none() -> None:
    same = np.ones((12, DIM), dtype=np.float32)
    assert len(group(same, np.arange(12), 6)) == 1
    assert group(same, np.arange(4), 6) == []


def test_the_same_events_give_the_same_groups() -> None:
    z = blobs([20, 20], noise=2.0)
    first, second = (group(z, np.arange(40), 6) for _ in range(2))
    assert [g.rows.tolist() for g in first] == [g.rows.tolist() for g in second]


def test_novel_events_are_grouped_where_they_are_half_of_the_drift() -> None:
    towards = np.array([5.0, 4.0, 1.0, 0.5, -1.0])
    is_novel = np.array([True, True, False, False, True])
    assert worth_grouping(is_novel, towards).tolist() == [0, 1, 4]


def test_otherwise_those_are_that_add_half_of_it() -> None:
    towards = np.concatenate([np.full(20, 1.0), np.zeros(80)])
    none = np.zeros(100, dtype=np.bool_)
    assert worth_grouping(none, towards).tolist() == list(range(10))


def test_a_portion_is_of_what_is_positive_and_stays_within_its_range() -> None:
    assert portion(1.0, [2.0, 2.0, -5.0]) == 0.25
    assert portion(-1.0, [2.0]) == 0.0
    assert portion(1.0, [-1.0]) == 0.0


USUAL = [f"What colour is the {thing}?" for thing in ("car", "dog", "house", "tree")] * 5
INVOICE = [f"Read the total of invoice {i} from the receipt" for i in range(8)]


def test_words_are_those_that_the_group_has_and_the_rest_has_not() -> None:
    words = characteristic_words(INVOICE, USUAL, 4)
    assert {"invoice", "receipt"} <= set(words)
    assert not set(words) & {"what", "colour", "the", "is"}


def test_texts_without_spaces_are_told_by_pairs_of_letters() -> None:
    chinese = ["这张发票的总额是多少", "请读出发票号码", "发票日期是哪天"]
    assert characteristic_words(chinese, USUAL, 3)[0] == "发票"


def test_words_that_everybody_says_characterise_nobody() -> None:
    assert characteristic_words(USUAL, USUAL, 5) == ()


@pytest.mark.parametrize("inside", [[], [""], ["1 2 3 !?"], ["\x1b[31m \x00 <>&"]])
def test_texts_without_words_have_none(inside: list[str]) -> None:
    assert characteristic_words(inside, USUAL, 5) == ()


def test_words_hold_nothing_but_letters_and_digits() -> None:
    hostile = ["<script>alert('invoice')</script> \x1b[2J " + "x" * 5000] * 4
    words = characteristic_words(hostile, USUAL, 20)
    assert "script" in words
    assert all(word.isalnum() and len(word) <= 24 for word in words)
