"""What retention reads and how much it deletes at once, so that others come to write."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.store.panes import count_exchanges, pane_states
from monitor.store.retention import (
    collect_images,
    forget_content,
    forget_early_targets,
    forget_measurements,
    forget_pictures,
    forget_samples,
    orphaned_images,
)
from monitor.store.streams import ensure_streams
from monitor.store.tables import EarlyTargetRow, ImageRow, MeasurementRow, SampleRow, WindowRow
from monitor.store.targets import set_target
from monitor.store.windows import record_window
from tests.integration.store.builders import (
    HOUR,
    MINUTE,
    NOW,
    START,
    STREAM,
    candidate,
    embed,
    image,
    keep,
    measurement,
    pane,
    summary,
    window,
)
from tests.integration.store.plans import steps_of

LATER = NOW + MINUTE
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_each_kind_goes_by_as_many_as_are_asked_for(session: Session) -> None:
    ensure_streams(session, [STREAM, "other"], NOW)
    for n in range(5):
        stream = (STREAM, "other")[n % 2]
        shown = [image(f"{n}")]
        keep(session, candidate(f"e{n}", n, in_pane=n, images=shown, stream=stream))
        set_target(session, stream, f"nobody {n}", "y", NOW)
        at = window(START + n * HOUR)
        record_window(session, summary(at, stream=stream), [measurement(at, stream=stream)])
    embed(session)
    for forget in (
        forget_content,
        forget_pictures,
        forget_measurements,
        forget_early_targets,
        forget_samples,
    ):
        assert [forget(session, LATER, 2) for _ in range(4)] == [2, 2, 1, 0]
    tables = (SampleRow, WindowRow, MeasurementRow, EarlyTargetRow)
    assert [session.scalar(select(func.count()).select_from(t)) for t in tables] == [0] * 4


def test_the_oldest_go_first_and_their_panes_with_them(session: Session) -> None:
    ensure_streams(session, [STREAM], NOW)
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(3)})
    for n in range(3):
        keep(session, candidate(f"e{n}", n, in_pane=n))
    forget_samples(session, LATER, 2)
    assert [(s.start, s.kept) for s in pane_states(session, STREAM, pane(0), pane(9))] == [
        (pane(2), 1)
    ]


def test_an_image_that_is_shown_again_meanwhile_is_not_collected(session: Session) -> None:
    keep(session, candidate("b", 2, images=[image("gone"), image("again")]), per_pane=1)
    keep(session, candidate("a", 1), per_pane=1)
    found = orphaned_images(session, LATER)
    keep(session, candidate("c", 3, in_pane=1, images=[image("again")]))
    assert (sorted(found), collect_images(session, found)) == (["again", "gone"], 1)
    assert list(session.scalars(select(ImageRow.content_hash))) == ["again"]


@ON_SQLITE
def test_nothing_looks_through_rows_that_stay(session: Session) -> None:
    def forget() -> None:
        forget_content(session, LATER, 9)
        forget_pictures(session, LATER, 9)
        forget_samples(session, LATER, 9)
        forget_measurements(session, LATER, 9)
        forget_early_targets(session, LATER, 9)
        orphaned_images(session, LATER)

    ensure_streams(session, [STREAM], NOW)
    keep(session, candidate("a", 1))
    at = window()
    long_ago = NOW - timedelta(days=1)
    record_window(session, summary(at, measured_at=long_ago), [measurement(at)])
    embed(session)
    scans = {step for step in steps_of(session, forget) if step.startswith("SCAN")}
    # Streams and references are few, and of images the index is read alone.
    assert scans == {
        "SCAN streams",
        "SCAN references",
        "SCAN images USING COVERING INDEX sqlite_autoindex_images_1",
    }
