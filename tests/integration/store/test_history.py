from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from monitor.records import Measurement, Verdict, WindowId
from monitor.store.exemplars import content_fingerprint, exemplars, find_exemplar, query_texts
from monitor.store.history import (
    Run,
    find_window,
    list_windows,
    newest_drifting,
    recorded_window,
    unbroken_run,
)
from monitor.store.retention import forget_content
from monitor.store.streams import ensure_streams
from monitor.store.windows import record_window
from tests.integration.store.builders import (
    HOUR,
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

CALM, OUT, UNKNOWN = Verdict.IN_CONTROL, Verdict.DRIFTING, Verdict.INSUFFICIENT
WINDOWS = [window(START + i * HOUR) for i in range(8)]


def record(
    session: Session, verdicts: Sequence[Verdict], stream: str = STREAM
) -> list[Measurement]:
    """One window an hour; the value says which it is."""
    ensure_streams(session, [stream], NOW)
    found = []
    for i, (at, verdict) in enumerate(zip(WINDOWS, verdicts, strict=False)):
        value = None if verdict is UNKNOWN else float(i)
        m = replace(measurement(at, stream=stream, value=value), verdict=verdict)
        record_window(session, summary(at, stream=stream), [m])
        found.append(m)
    return found


def test_windows_are_listed_newest_first_page_by_page(session: Session) -> None:
    record(session, [CALM] * 5)
    record(session, [CALM], stream="other")
    first = list_windows(session, STREAM, limit=2)
    second = list_windows(session, STREAM, limit=9, before=first[-1].window)
    assert [s.window for s in first + second] == WINDOWS[4::-1]


def test_a_window_is_found_by_its_end_or_a_time_within(session: Session) -> None:
    record(session, [CALM] * 3)
    assert find_window(session, STREAM) == summary(WINDOWS[2])
    assert find_window(session, STREAM, WINDOWS[1].end) == summary(WINDOWS[1])
    assert find_window(session, STREAM, WINDOWS[1].end - HOUR / 2) == summary(WINDOWS[1])
    assert find_window(session, STREAM, START - HOUR) is None
    assert find_window(session, STREAM, WINDOWS[2].end + HOUR) is None
    assert recorded_window(session, STREAM, WINDOWS[1]) == summary(WINDOWS[1])
    assert recorded_window(session, STREAM, WindowId(START, START + 2 * HOUR)) is None


@pytest.mark.parametrize(
    ("verdicts", "since", "before"),
    [
        ([CALM, OUT, OUT, OUT], 1, 0),
        ([OUT, CALM, OUT], 2, 1),
        ([CALM, OUT, UNKNOWN, OUT], 1, 0),
        ([CALM, UNKNOWN, OUT], 2, 0),
        ([OUT, OUT], 0, None),
    ],
)
def test_a_run_reaches_back_to_the_last_window_in_control(
    session: Session, verdicts: list[Verdict], since: int, before: int | None
) -> None:
    found = record(session, verdicts)
    run = unbroken_run(session, found[-1])
    expected = None if before is None else found[before]
    assert run == Run(WINDOWS[since].start, expected)


def test_where_windows_overlap_a_run_begins_after_what_the_last_calm_one_held(
    session: Session,
) -> None:
    slide = HOUR / 4
    ensure_streams(session, [STREAM], NOW)
    for i, verdict in enumerate((CALM, CALM, OUT, OUT)):
        at = WindowId(START + i * slide, START + i * slide + HOUR)
        m = replace(measurement(at), verdict=verdict)
        record_window(session, summary(at), [m])
    assert unbroken_run(session, m).since == START + slide + HOUR


def test_the_newest_window_that_is_out_is_of_one_stream_or_of_all(session: Session) -> None:
    assert newest_drifting(session) is None
    record(session, [OUT, OUT, CALM])
    record(session, [CALM, CALM, OUT], stream="other")
    assert newest_drifting(session) == ("other", WINDOWS[2])
    assert newest_drifting(session, STREAM) == (STREAM, WINDOWS[1])


def test_an_exemplar_has_its_content_until_retention_takes_it(session: Session) -> None:
    ensure_streams(session, [STREAM], NOW)
    keep(session, candidate("a", images=[image("h" * 64)], target="yes", labels={"t": "x"}))
    (sample_id,) = embed(session)
    found = find_exemplar(session, STREAM, "a")
    assert found is not None
    assert (found.sample_id, found.text, found.target) == (sample_id, "What is unusual?", "yes")
    assert (found.labels, found.images[0].content_hash) == ({"t": "x"}, "h" * 64)
    assert query_texts(session, [sample_id], 4) == {sample_id: ("What", "A ma")}
    assert find_exemplar(session, STREAM, "b") is None
    mark = content_fingerprint(session, STREAM, pane(0), pane(12))
    forget_content(session, NOW + HOUR)
    gone = exemplars(session, [sample_id, 999])
    assert (list(gone), gone[sample_id].text, gone[sample_id].target) == ([sample_id], None, None)
    assert gone[sample_id].has_target
    assert content_fingerprint(session, STREAM, pane(0), pane(12)) != mark


def test_another_sample_changes_the_fingerprint_of_its_window_alone(session: Session) -> None:
    ensure_streams(session, [STREAM], NOW)
    marks = [content_fingerprint(session, STREAM, pane(i), pane(i + 1)) for i in (0, 1)]
    keep(session, candidate("a"))
    after = [content_fingerprint(session, STREAM, pane(i), pane(i + 1)) for i in (0, 1)]
    assert (after[0] != marks[0], after[1] == marks[1]) == (True, True)
