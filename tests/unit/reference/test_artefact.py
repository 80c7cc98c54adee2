"""Columns of embedded exchanges, and the form in which a reference is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ReferenceMismatchError
from monitor.records import Modality
from monitor.reference.build import BuiltReference, build
from monitor.reference.embedded import Embedded, Population, parts_of
from tests.populations import loaded, traffic


@pytest.fixture(scope="module")
def built() -> BuiltReference:
    events = traffic(180, seed=1, image_share=0.9)
    return build(events, name="normal", encoder_digest="e" * 64, smallest_window=20, null_draws=4)


def rows_by_id(events: Embedded) -> dict[str, tuple[list[float] | None, list[float] | None]]:
    """First numbers of image and target of each exchange, read without ``take``."""
    z_v, z_target = iter(events.z_v.tolist()), iter(events.z_target.tolist())
    return {
        key: (next(z_v)[:3] if image else None, next(z_target)[:3] if target else None)
        for key, image, target in zip(events.ids, events.has_image, events.has_target, strict=True)
    }


def test_taken_exchanges_keep_their_own_image_and_target() -> None:
    events = traffic(40, seed=2, image_share=0.6, target_share=0.4)
    taken = events.take(np.array([31, 4, 17, 4, 0]))
    whole = rows_by_id(events)
    assert [rows_by_id(taken)[key] for key in taken.ids] == [whole[key] for key in taken.ids]
    assert taken.ids == tuple(events.ids[i] for i in (31, 4, 17, 4, 0))


def test_a_mask_takes_what_its_positions_take() -> None:
    events = traffic(40, seed=3, image_share=0.6, target_share=0.4)
    by_mask, by_position = (
        events.take(events.has_image),
        events.take(np.flatnonzero(events.has_image)),
    )
    assert rows_by_id(by_mask) == rows_by_id(by_position)


def test_a_part_is_what_is_taken_of_all_that_is_stored() -> None:
    rng = np.random.default_rng(8)
    events = replace(
        traffic(60, seed=8, image_share=0.6, target_share=0.4),
        image_state=rng.integers(0, 4, 60).astype(np.uint8),
    )
    arrays = {**events.to_arrays(), "part": rng.integers(0, 2, 60).astype(np.uint8)}
    whole = Embedded.from_arrays(arrays)
    for number, part in enumerate(parts_of(arrays)):
        expected = whole.take(np.flatnonzero(arrays["part"] == number))
        assert part.ids == expected.ids
        for column in ("z_t", "z_y", "z_v", "z_target", "has_image", "has_target", "image_state"):
            got, wanted = getattr(part, column), getattr(expected, column)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)


def test_distances_are_taken_along() -> None:
    events = traffic(10, seed=4, image_share=0.5)
    events = replace(
        events, novelty_t=np.arange(10.0), novelty_v=100 + np.arange(float(len(events.z_v)))
    )
    last_image = int(np.flatnonzero(events.has_image)[-1])
    taken = events.take(np.array([last_image]))
    assert (taken.novelty_t.tolist(), taken.novelty_v.tolist()) == (
        [last_image],
        [99.0 + len(events.z_v)],
    )


def test_a_query_with_an_image_is_the_mean_of_both_and_one_without_is_its_text() -> None:
    events = traffic(30, seed=5, image_share=0.5)
    expected = events.z_t.copy()
    for row, z in zip(np.flatnonzero(events.has_image), events.z_v, strict=True):
        expected[row] = (events.z_t[row] + z) / 2
    np.testing.assert_allclose(events.fused(), expected, atol=1e-7)


def test_fusing_leaves_the_texts_alone() -> None:
    events = traffic(5, seed=6)
    before = events.z_t.copy()
    events.fused()
    np.testing.assert_array_equal(events.z_t, before)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="z_v must have 5 rows, got 4"):
        replace(traffic(5, seed=7), z_v=traffic(4, seed=7).z_v)


def test_no_exchanges_have_all_populations_empty() -> None:
    nothing = traffic(5, seed=8).take(np.array([], dtype=np.int64))
    assert [int(p.of(nothing).sum()) for p in Population] == [0, 0, 0]


def test_a_loaded_reference_judges_as_the_built_one(built: BuiltReference) -> None:
    first, again = loaded(built), loaded(built)
    assert first.frozen.emi == again.frozen.emi
    assert first.frozen.output_gap == again.frozen.output_gap
    assert first.identity == f"normal@{built.digest[:12]}"


def test_arrays_of_another_reference_are_refused(built: BuiltReference) -> None:
    other = replace(built, arrays={**built.arrays, "smallest_window": np.array([21])})
    with pytest.raises(ReferenceMismatchError, match="build the reference again"):
        loaded(other)


def test_neighbours_are_exchanges_of_the_density_part(
    built: BuiltReference, tmp_path: Path
) -> None:
    reference = loaded(built)
    part = reference.density
    positions, distances = reference.open_neighbourhood(tmp_path).nearest(
        Modality.VISUAL, part.z_v[:3], k=1
    )
    with_image = reference.density_positions[part.has_image]
    assert positions[:, 0].tolist() == with_image[:3].tolist()
    assert distances[:, 0].max() < 1e-2


def test_every_position_that_is_named_belongs_to_the_density_part(built: BuiltReference) -> None:
    reference = loaded(built)
    parts = {built.parts[i] for i in reference.density_positions}
    assert parts == {"density"}
