"""Notes on windows: what they are about, and how long they say something."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from monitor.records import Signal, WindowId
from monitor.store.acknowledgements import (
    Acknowledgement,
    acknowledgements,
    add_acknowledgement,
    forget_acknowledgements,
    withdraw_acknowledgement,
)
from tests.integration.store.builders import HOUR, NOW, START, STREAM

NOTE = Acknowledgement(STREAM, START, START + 2 * HOUR, "new camera", "ann", NOW)
HOSTILE = "<script>alert(1)</script>\x00\ud800 é"


def window(hour: float) -> WindowId:
    return WindowId(START + hour * HOUR, START + (hour + 1) * HOUR)


def test_a_note_comes_back_as_it_was_given(session: Session) -> None:
    said = replace(NOTE, slice_key="tenant=a", signal=Signal.EMI)
    id_ = add_acknowledgement(session, said)
    assert acknowledgements(session) == [replace(said, id=id_)]


def test_what_no_database_can_hold_is_replaced(session: Session) -> None:
    add_acknowledgement(session, replace(NOTE, note=HOSTILE, author=HOSTILE))
    (found,) = acknowledgements(session)
    assert found.note == found.author == "<script>alert(1)</script>\ufffd\ufffd é"


@pytest.mark.parametrize(
    ("hour", "is_covered"), [(-1.5, False), (-1, False), (-0.5, True), (1.5, True), (2, False)]
)
def test_a_note_covers_the_windows_that_overlap_its_time(hour: float, *, is_covered: bool) -> None:
    assert NOTE.covers(window(hour)) is is_covered


def test_without_an_end_it_covers_all_that_come() -> None:
    assert replace(NOTE, until=None).covers(window(1_000))


def test_a_note_about_one_slice_or_signal_covers_no_other() -> None:
    narrow = replace(NOTE, slice_key="tenant=a", signal=Signal.EMI)
    assert narrow.covers(window(0), "tenant=a", Signal.EMI)
    assert not narrow.covers(window(0), "all", Signal.EMI)
    assert not narrow.covers(window(0), "tenant=a", Signal.EMID)


def test_notes_are_found_by_stream_and_time_newest_first(session: Session) -> None:
    for said in (
        NOTE,
        replace(NOTE, note="later", since=START + 5 * HOUR, until=None),
        replace(NOTE, stream="other"),
    ):
        add_acknowledgement(session, said)
    of_stream = acknowledgements(session, stream=STREAM)
    assert [a.note for a in of_stream] == ["later", "new camera"]
    early = acknowledgements(session, stream=STREAM, end=START + HOUR)
    late = acknowledgements(session, stream=STREAM, start=START + 9 * HOUR)
    assert ([a.note for a in early], [a.note for a in late]) == (["new camera"], ["later"])


def test_a_page_goes_on_before_the_last_of_the_one_before(session: Session) -> None:
    for _ in range(5):
        add_acknowledgement(session, NOTE)
    first = acknowledgements(session, limit=3)
    second = acknowledgements(session, limit=3, before=first[-1].id)
    assert [a.id for a in first + second] == [5, 4, 3, 2, 1]


def test_a_withdrawn_note_counts_no_longer_and_is_still_known(session: Session) -> None:
    id_ = add_acknowledgement(session, NOTE)
    assert withdraw_acknowledgement(session, id_, "bob", NOW)
    assert not withdraw_acknowledgement(session, id_, "eve", NOW)
    assert acknowledgements(session) == []
    (known,) = acknowledgements(session, with_withdrawn=True)
    assert (known.withdrawn_by, known.covers(window(0))) == ("bob", False)


def test_old_notes_go_but_not_those_that_hold_on(session: Session) -> None:
    add_acknowledgement(session, NOTE)
    add_acknowledgement(session, replace(NOTE, until=None, note="for ever"))
    assert forget_acknowledgements(session, NOW + timedelta(days=400)) == 1
    assert [a.note for a in acknowledgements(session)] == ["for ever"]
