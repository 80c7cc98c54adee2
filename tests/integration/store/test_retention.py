from datetime import datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.records import ReferenceSample, Rejection
from monitor.store.keeping import keep_candidates
from monitor.store.panes import count_exchanges, pane_states
from monitor.store.pending import MAX_ATTEMPTS, claim_pending, record_image_vectors
from monitor.store.quarantine import quarantine
from monitor.store.references import reference_samples, save_reference
from monitor.store.retention import (
    StoredContent,
    collect_images,
    forget_content,
    forget_early_targets,
    forget_measurements,
    forget_pictures,
    forget_samples,
    orphaned_images,
    stored_content,
)
from monitor.store.samples import window_samples
from monitor.store.streams import ensure_streams
from monitor.store.tables import ImageRow, SampleRow
from monitor.store.targets import set_target
from monitor.store.windows import due_windows, measurements_between, record_window
from tests.integration.store.builders import (
    DIGEST,
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
    version,
    window,
)

LATER = NOW + MINUTE


def keep_at(session: Session, now: datetime, name: str, number: int, *hashes: str) -> None:
    shown = [image(content_hash) for content_hash in hashes]
    one = candidate(name, number, in_pane=number, images=shown, target="y")
    keep_candidates(session, [one], 100, now)


def contents(session: Session) -> dict[str, tuple[str | None, str | None, str | None]]:
    row = SampleRow
    rows = session.execute(select(row.exchange_id, row.text, row.response, row.target))
    return {exchange_id: (text, response, target) for exchange_id, text, response, target in rows}


def files(session: Session) -> dict[str, tuple[bytes | None, bytes | None]]:
    rows = session.execute(select(ImageRow.content_hash, ImageRow.payload, ImageRow.thumbnail))
    return {content_hash: (payload, thumbnail) for content_hash, payload, thumbnail in rows}


def test_content_of_old_samples_goes_and_everything_measured_stays(session: Session) -> None:
    keep_at(session, NOW, "old", 0)
    embed(session)
    keep_at(session, LATER, "new", 1)
    embed(session)
    before = window_samples(session, STREAM, pane(0), pane(2))
    assert forget_content(session, LATER) == 1
    assert forget_content(session, LATER) == 0
    assert contents(session) == {
        "old": (None, None, None),
        "new": ("What is unusual?", "A man irons.", "y"),
    }
    assert window_samples(session, STREAM, pane(0), pane(2)) == before


def test_content_that_is_still_to_be_embedded_stays(session: Session) -> None:
    keep_at(session, NOW, "a", 0, "h")
    assert (forget_content(session, LATER), forget_pictures(session, LATER)) == (0, 0)
    assert files(session) == {"h": (b"file", None)}


def test_content_of_a_sample_that_was_given_up_goes(session: Session) -> None:
    keep_at(session, NOW, "a", 0, "h")
    for _ in range(MAX_ATTEMPTS):
        claim_pending(session, 1, NOW, 0 * MINUTE)
    assert (forget_content(session, LATER), forget_pictures(session, LATER)) == (1, 1)
    assert files(session) == {"h": (None, None)}


def test_a_late_target_goes_with_its_sample(session: Session) -> None:
    keep_at(session, NOW, "a", 0)
    embed(session)
    forget_content(session, LATER)
    set_target(session, STREAM, "a", "late", NOW)
    assert forget_content(session, LATER) == 0
    embed(session)
    assert forget_content(session, LATER) == 1
    assert contents(session) == {"a": (None, None, None)}


def test_a_picture_stays_as_long_as_a_younger_sample_shows_it(session: Session) -> None:
    keep_at(session, NOW, "a", 0, "once", "twice")
    hashes = [(h, b"z", b"small", None) for h in ("once", "twice")]
    record_image_vectors(session, DIGEST, hashes)
    keep_at(session, LATER, "b", 1, "twice")
    embed(session)
    forget_pictures(session, LATER)
    assert files(session) == {"once": (None, None), "twice": (None, b"small")}


def test_a_file_that_went_before_it_was_embedded_comes_back_with_its_image(
    session: Session,
) -> None:
    keep_at(session, NOW, "a", 0, "h")
    for _ in range(MAX_ATTEMPTS):
        claim_pending(session, 1, NOW, 0 * MINUTE)
    forget_pictures(session, LATER)
    keep_at(session, LATER, "b", 1, "h")
    assert files(session) == {"h": (b"file", None)}


def test_content_of_references_goes_too(session: Session) -> None:
    exchange = ReferenceSample(0, "e", "density", "q", "a", "y", b"small")
    save_reference(session, version("a" * 64, age=HOUR), {}, [exchange])
    save_reference(session, version("b" * 64), {}, [exchange])
    assert forget_content(session, NOW) == 1
    assert forget_content(session, NOW) == 0
    assert reference_samples(session, "a" * 64) == [ReferenceSample(0, "e", "density")]
    assert reference_samples(session, "b" * 64) == [exchange]


def test_what_is_stored_of_what_was_said_is_counted_with_the_time_of_the_oldest(
    session: Session,
) -> None:
    assert stored_content(session) == StoredContent(0, 0, 0, 0, 0, oldest=None)
    keep_at(session, NOW, "a", 0, "h")
    record_image_vectors(session, DIGEST, [("h", b"z", b"small", None)])
    keep_at(session, LATER, "b", 1, "k")
    keep_candidates(session, [candidate("c", 2, in_pane=2, images=[image("l", None)])], 9, LATER)
    exchange = ReferenceSample(0, "e", "density", "q", "a", "y", b"small")
    empty = ReferenceSample(1, "f", "density")
    save_reference(session, version("a" * 64), {}, [exchange, empty])
    refused = Rejection("broken_json", "x", "y")
    for at in (LATER, LATER + HOUR):
        quarantine(session, "file", "p", [refused], at)
    assert stored_content(session) == StoredContent(
        3, 2, len(b"small") + len(b"file"), 2, 1, oldest=NOW
    )
    embed(session)
    forget_content(session, LATER)
    assert stored_content(session).exchanges == 2
    assert stored_content(session).oldest == NOW  # the picture, and the reference
    forget_pictures(session, LATER)
    forget_content(session, LATER)
    assert (stored_content(session).images, stored_content(session).oldest) == (1, LATER)


def test_old_samples_go_with_their_panes(session: Session) -> None:
    ensure_streams(session, [STREAM], NOW)
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(4)})
    keep_at(session, NOW, "a", 0)
    keep_at(session, NOW, "b", 2)
    keep_at(session, LATER, "c", 3)
    assert forget_samples(session, LATER) == 2
    assert forget_samples(session, LATER) == 0
    assert [s.exchange_id for s in window_samples(session, STREAM, pane(0), pane(4))] == ["c"]
    assert [s.start for s in pane_states(session, STREAM, pane(0), pane(4))] == [pane(3)]


def test_samples_of_one_stream_do_not_take_those_of_another(session: Session) -> None:
    ensure_streams(session, [STREAM, "other"], NOW)
    keep_at(session, NOW, "a", 5)
    keep_candidates(session, [candidate("b", 1, stream="other")], 100, LATER)
    count_exchanges(session, {("other", pane(0)): 1})
    forget_samples(session, LATER)
    assert [s.kept for s in pane_states(session, "other", pane(0), pane(9))] == [1]
    assert len(due_windows(session, "other", HOUR, HOUR, START + HOUR)) == 1


@pytest.mark.parametrize("in_order", [True, False])
def test_panes_that_come_late_do_not_make_what_was_forgotten_due_again(
    session: Session, *, in_order: bool
) -> None:
    ensure_streams(session, [STREAM], NOW)
    for number in sorted((2, 30), reverse=not in_order):
        keep_at(session, NOW, f"e{number}", number)
        forget_samples(session, LATER)
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in (3, 29)})
    assert due_windows(session, STREAM, HOUR, HOUR, START + 9 * HOUR) == []


def test_old_measurements_go_and_their_windows_are_not_due_again(session: Session) -> None:
    ensure_streams(session, [STREAM], NOW)
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(24)})
    for hours, measured_at in ((-1, NOW), (0, NOW), (1, LATER)):
        at = window(START + hours * HOUR)
        record_window(session, summary(at, measured_at=measured_at), [measurement(at)])
    assert forget_measurements(session, LATER) == 2
    assert forget_measurements(session, LATER) == 0
    left = measurements_between(session, None, START, NOW, limit=9)
    assert [m.window for m in left] == [window(START + HOUR)]
    due = due_windows(session, STREAM, HOUR, HOUR, START + 2 * HOUR)
    assert [at for at, _ in due] == [window(START + HOUR)]


def test_early_targets_go_when_their_exchange_never_came(session: Session) -> None:
    set_target(session, STREAM, "old", "y", NOW)
    set_target(session, STREAM, "new", "y", LATER)
    assert forget_early_targets(session, LATER) == 1
    keep(session, candidate("old", 1), candidate("new", 2))
    assert {name: target for name, (_, _, target) in contents(session).items()} == {
        "old": None,
        "new": "y",
    }


def test_images_that_no_sample_shows_are_collected(session: Session) -> None:
    keep(session, candidate("b", 2, images=[image("gone"), image("shared")]), per_pane=1)
    keep(session, candidate("a", 1, images=[image("shared")]), per_pane=1)
    assert orphaned_images(session, NOW) == []
    assert orphaned_images(session, LATER) == ["gone"]
    assert collect_images(session, ["another"]) == 0
    assert collect_images(session, ["gone", "shared"]) == 1
    assert list(files(session)) == ["shared"]


def test_forgetting_with_nothing_there_is_no_problem(session: Session) -> None:
    forget = (
        forget_content,
        forget_samples,
        forget_measurements,
        forget_early_targets,
        forget_pictures,
    )
    assert [each(session, NOW) for each in forget] == [0] * 5
    assert collect_images(session, orphaned_images(session, NOW)) == 0
    assert session.scalar(select(func.count()).select_from(SampleRow)) == 0
