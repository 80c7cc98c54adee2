from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.errors import ReferenceNotFoundError, StoreError
from monitor.records import Activation, ReferenceSample
from monitor.store.references import (
    activate,
    activations_between,
    active_references,
    delete_reference,
    find_reference,
    list_references,
    load_arrays,
    reference_samples,
    save_reference,
)
from monitor.store.tables import ReferenceArrayRow, ReferenceSampleRow
from tests.integration.store.builders import HOUR, MINUTE, NOW, STREAM, version

ABC, ABD, XYZ = "abc" + "0" * 61, "abd" + "0" * 61, "f" * 64


def sample(position: int) -> ReferenceSample:
    return ReferenceSample(position, f"e{position}", "density", "q", "a", None, b"small")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float16).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4)),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2],
        np.arange(5, dtype=">i8"),
        np.array([True, False]),
        np.array(3.5),
        np.zeros((0, 7), dtype=np.float32),
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=["half", "fortran", "strided", "big-endian", "bool", "scalar", "empty", "not-finite"],
)
def test_an_array_comes_back_equal_and_writable(
    session: Session, array: npt.NDArray[np.generic]
) -> None:
    save_reference(session, version(ABC), {"z": array})
    (found,) = load_arrays(session, ABC).values()
    assert (found.dtype, found.shape) == (array.dtype.newbyteorder("="), array.shape)
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


def test_arrays_are_stored_little_endian_in_c_order(session: Session) -> None:
    array = np.array([[1, 2], [3, 4]], dtype=">u2", order="F")
    save_reference(session, version(ABC), {"z": array})
    row = session.scalars(select(ReferenceArrayRow)).one()
    assert (row.dtype, row.shape, row.data) == ("<u2", [2, 2], b"\1\0\2\0\3\0\4\0")


def test_arrays_of_objects_are_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="'z' must hold booleans or numbers, got object"):
        save_reference(session, version(ABC), {"z": np.array([{}])})


def test_a_version_comes_back_as_it_was(session: Session) -> None:
    assert save_reference(session, version(ABC), {}) is True
    assert list_references(session) == [version(ABC)]


def test_a_version_that_is_stored_is_left_as_it_is(session: Session) -> None:
    save_reference(session, version(ABC), {"z": np.ones(2)}, [sample(0)])
    assert save_reference(session, version(ABC, "other"), {"z": np.zeros(2)}, [sample(0)]) is False
    assert find_reference(session, ABC).name == "coco"
    assert load_arrays(session, ABC)["z"].tolist() == [1, 1]


def test_exchanges_come_in_order_of_position(session: Session) -> None:
    save_reference(session, version(ABC), {}, [sample(p) for p in (2, 0, 1)])
    assert reference_samples(session, ABC) == [sample(0), sample(1), sample(2)]
    assert reference_samples(session, ABC, [2, 0, 9]) == [sample(0), sample(2)]
    assert reference_samples(session, ABC, []) == []


@pytest.fixture
def three(session: Session) -> Session:
    save_reference(session, version(ABC, "coco", age=2 * HOUR), {})
    save_reference(session, version(ABD, "coco", age=HOUR), {})
    save_reference(session, version(XYZ, "local"), {})
    return session


@pytest.mark.parametrize(
    ("asked", "digest"),
    [
        ("coco", ABD),
        ("local", XYZ),
        ("coco@abc", ABC),
        (f"coco@{ABD}", ABD),
        (ABC, ABC),
        ("ff", XYZ),
    ],
)
def test_a_reference_is_found_by_name_or_digest(three: Session, asked: str, digest: str) -> None:
    assert find_reference(three, asked).digest == digest


@pytest.mark.parametrize("asked", ["nobody", "local@abc", "coco@", "", "@", "abcd"])
def test_an_unknown_reference_is_answered_with_those_there_are(three: Session, asked: str) -> None:
    with pytest.raises(ReferenceNotFoundError, match=r"there are coco@abc0.*, local@ffff"):
        find_reference(three, asked)


def test_a_digest_cut_too_short_is_answered_with_what_it_may_be(three: Session) -> None:
    with pytest.raises(ReferenceNotFoundError, match=r"any of coco@abc0{9}, coco@abd0{9};"):
        find_reference(three, "ab")


def test_without_any_reference_the_answer_is_how_to_build_one(session: Session) -> None:
    with pytest.raises(ReferenceNotFoundError, match="mllm-monitor reference build"):
        find_reference(session, "coco")


def test_the_last_activation_of_a_stream_counts(three: Session) -> None:
    activate(three, ABC, STREAM, NOW)
    activate(three, XYZ, "*", NOW)
    activate(three, ABD, STREAM, NOW)
    assert active_references(three) == {STREAM: ABD, "*": XYZ}


def test_activations_are_those_within_the_half_open_span(three: Session) -> None:
    for minute, stream in enumerate(("a", "b", "a", "a")):
        activate(three, ABC, stream, NOW + minute * MINUTE)
    at = [NOW + timedelta(minutes=minute) for minute in range(4)]
    found = activations_between(three, "a", at[0], at[3])
    assert found == [Activation("a", ABC, at[0]), Activation("a", ABC, at[2])]
    assert len(activations_between(three, None, at[1], at[3])) == 2


@pytest.mark.parametrize(("stream", "shown"), [("llava", "llava"), ("*", "every stream")])
def test_an_active_reference_is_not_deleted(three: Session, stream: str, shown: str) -> None:
    activate(three, ABC, stream, NOW)
    with pytest.raises(StoreError, match=f"active for {shown}; activate another"):
        delete_reference(three, ABC)


def test_a_reference_that_was_active_is_deleted_with_all_its_parts(session: Session) -> None:
    save_reference(session, version(ABC), {"z": np.ones(2)}, [sample(0)])
    save_reference(session, version(ABD), {})
    activate(session, ABC, STREAM, NOW)
    activate(session, ABD, STREAM, NOW)
    assert delete_reference(session, ABC) is True
    assert delete_reference(session, ABC) is False
    assert [v.digest for v in list_references(session)] == [ABD]
    left = [
        session.scalar(select(func.count()).select_from(table))
        for table in (ReferenceArrayRow, ReferenceSampleRow)
    ]
    assert left == [0, 0]
    assert active_references(session) == {STREAM: ABD}
