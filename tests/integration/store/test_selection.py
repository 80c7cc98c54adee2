"""Which stored samples are taken again for a reference."""

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.store.samples import samples_by_id
from monitor.store.selection import drifting_windows, smallest_samples, thumbnails
from monitor.store.tables import ImageRow, SampleRow
from monitor.store.windows import record_window
from tests.integration.store.builders import (
    DIGEST,
    HOUR,
    NOW,
    START,
    STREAM,
    candidate,
    image,
    keep,
    pane,
)


def kept(session: Session) -> None:
    """Six samples in three panes, embedded, and one that is not."""
    keep(session, *(candidate(f"e{i}", 10 - i, in_pane=i // 2) for i in range(6)))
    session.execute(update(SampleRow).values(encoder_digest=DIGEST, z_t=b"z"))
    keep(session, candidate("pending", 1, in_pane=0))


def names(session: Session, ids: list[int]) -> list[str]:
    found = samples_by_id(session, ids)
    return [found[i].exchange_id for i in ids]


def chosen(session: Session, panes: list[int], **more: object) -> list[str]:
    usual = {"encoder_digest": DIGEST, "threshold": None, "at_most": 10}
    starts = [pane(p) for p in panes]
    ids = smallest_samples(session, STREAM, starts, **{**usual, **more})  # type: ignore[arg-type]  # by name
    return names(session, ids)


def test_those_of_smallest_priority_come_first(session: Session) -> None:
    kept(session)
    assert chosen(session, [0, 1, 2]) == ["e5", "e4", "e3", "e2", "e1", "e0"]
    assert chosen(session, [0, 1, 2], at_most=2) == ["e5", "e4"]


def test_none_of_another_pane_is_taken(session: Session) -> None:
    kept(session)
    assert chosen(session, [0, 2]) == ["e5", "e4", "e1", "e0"]
    assert chosen(session, []) == []


def test_none_above_the_threshold_is_taken(session: Session) -> None:
    kept(session)
    assert chosen(session, [0, 1, 2], threshold=7) == ["e5", "e4", "e3"]


def test_only_what_these_encoders_embedded_is_taken(session: Session) -> None:
    kept(session)
    assert chosen(session, [0, 1, 2], encoder_digest="f" * 64) == []


def measured(session: Session, hour: float, verdict: Verdict, slice_key: str = ALL) -> None:
    window = WindowId(START + hour * HOUR, START + (hour + 1) * HOUR)
    value = 0.1 if verdict is not Verdict.INSUFFICIENT else None
    one = Measurement(
        STREAM, slice_key, Signal.EMI, window, 100, verdict, "a@b", value=value, threshold=0.2
    )
    record_window(session, WindowSummary(STREAM, window, "a@b", 1, 100, 100, 0, {}, NOW), [one])


def test_drifting_windows_are_those_of_the_whole_stream_that_overlap(session: Session) -> None:
    measured(session, 0, Verdict.DRIFTING)
    measured(session, 1, Verdict.IN_CONTROL)
    measured(session, 2, Verdict.DRIFTING, "tenant=a")
    measured(session, 3, Verdict.INSUFFICIENT)
    measured(session, 4, Verdict.DRIFTING)
    found = drifting_windows(session, STREAM, START + HOUR / 2, START + 9 * HOUR)
    assert [w.start for w in found] == [START, START + 4 * HOUR]
    assert drifting_windows(session, STREAM, START + HOUR, START + 4 * HOUR) == []
    assert drifting_windows(session, "other", START, START + 9 * HOUR) == []


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", None])
def test_pictures_are_found_as_long_as_they_are_kept(
    session: Session, content: bytes | None
) -> None:
    keep(session, candidate("e", images=[image("a" * 64)]))
    session.execute(update(ImageRow).values(thumbnail=content))
    expected = {} if content is None else {"a" * 64: content}
    assert thumbnails(session, ["a" * 64, "b" * 64]) == expected
