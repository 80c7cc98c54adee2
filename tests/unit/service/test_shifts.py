from collections import Counter
from datetime import UTC, datetime

import pytest

from monitor.records import ImageState, Sample
from monitor.service.shifts import WITHOUT, few_valued_labels, label_counts, shifts_between


def sample(i: int, labels: dict[str, str], *states: ImageState) -> Sample:
    return Sample(
        id=i,
        exchange_id=f"e{i}",
        pane_start=datetime(2026, 3, 1, tzinfo=UTC),
        priority=i,
        labels=labels,
        image_states=states,
        encoder_digest=None,
        z_v=None,
        z_t=None,
        z_y=None,
        z_target=None,
        novelty_v=None,
        novelty_t=None,
        novelty_reference=None,
    )


def test_values_are_counted_and_so_are_exchanges_without_the_label() -> None:
    samples = [sample(i, {"tenant": "acme"} if i < 3 else {}) for i in range(5)]
    assert label_counts(samples) == {"tenant": {"acme": 3, WITHOUT: 2}}


def test_an_exchange_counts_once_whatever_the_number_of_its_images() -> None:
    lost = ImageState.TRUNCATED
    samples = [sample(1, {}, ImageState.INLINE, ImageState.INLINE), sample(2, {}, lost)]
    assert label_counts(samples) == {"image state": {"inline": 1, "truncated": 1}}


def test_a_label_that_names_its_exchange_is_no_property_of_traffic() -> None:
    samples = [sample(i, {"request": f"r{i}", "tenant": "acme"}) for i in range(40)]
    assert few_valued_labels(samples, []) == ["tenant"]
    assert few_valued_labels(samples, ["request"]) == ["request", "tenant"]


def test_what_changed_most_comes_first_with_its_distance() -> None:
    base = {"language": Counter(en=90, de=10), "tenant": Counter(acme=50, globex=50)}
    here = {"language": Counter(en=50, de=10, zh=40), "tenant": Counter(acme=26, globex=24)}
    language, tenant = shifts_between(base, here, 20)
    assert (language.label, language.distance) == ("language", pytest.approx(0.4))
    assert tenant.distance == pytest.approx(0.02)
    chinese = next(row for row in language.rows if row.value == "zh")
    assert (chinese.n_base, chinese.share_base, chinese.n, chinese.share) == (0, 0.0, 40, 0.4)


def test_without_a_base_only_this_window_is_told() -> None:
    (shift,) = shifts_between({}, {"tenant": Counter(acme=3)}, 20)
    assert shift.distance is None
    assert [(r.value, r.n_base, r.share_base, r.share) for r in shift.rows] == [
        ("acme", None, None, 1.0)
    ]


def test_rare_values_are_put_together_and_every_exchange_is_in_one_row() -> None:
    here = Counter({f"t{i}": 10 - i for i in range(10)})
    base = Counter({"t0": 50, "other": 50})
    (shift,) = shifts_between({"tenant": base}, {"tenant": here}, 3)
    assert [row.value for row in shift.rows] == ["t0", "t1", "other"]
    assert sum(row.n for row in shift.rows) == here.total()
    assert sum(row.n_base or 0 for row in shift.rows) == base.total()


def test_a_label_that_vanished_is_a_shift() -> None:
    samples = [sample(i, {}) for i in range(10)]
    (shift,) = shifts_between({"tenant": Counter(acme=10)}, label_counts(samples), 5)
    assert (shift.label, [row.n for row in shift.rows]) == ("tenant", [0])
