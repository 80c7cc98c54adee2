from datetime import timedelta, timezone

import pytest
from sqlalchemy.orm import Session

from monitor.store.panes import (
    PaneState,
    count_exchanges,
    first_pane,
    pane_states,
    pane_thresholds,
    touch_panes,
)
from tests.integration.store.builders import PANE, STREAM, candidate, keep, pane


def test_counts_add_up_and_every_change_is_a_new_revision(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 3, (STREAM, pane(2)): 1, ("other", pane(0)): 9})
    count_exchanges(session, {(STREAM, pane(0)): 4})
    touch_panes(session, [(STREAM, pane(0)), (STREAM, pane(1))])
    assert pane_states(session, STREAM, pane(0), pane(3)) == [
        PaneState(pane(0), seen=7, revision=3, kept=0, kept_max_priority=None),
        PaneState(pane(1), seen=0, revision=1, kept=0, kept_max_priority=None),
        PaneState(pane(2), seen=1, revision=1, kept=0, kept_max_priority=None),
    ]


def test_counting_nothing_changes_nothing(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 0})
    touch_panes(session, [])
    assert pane_states(session, STREAM, pane(0), pane(1)) == []


def test_what_a_pane_keeps_is_its_own(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(0)): 3, (STREAM, pane(1)): 1})
    keep(session, candidate("a", 5), candidate("b", 7), candidate("c", 9, stream="other"))
    keep(session, candidate("d", 8, in_pane=1))
    states = pane_states(session, STREAM, pane(0), pane(2))
    assert [(state.kept, state.kept_max_priority) for state in states] == [(2, 7), (1, 8)]


def test_the_first_pane_is_the_streams_own(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(2)): 1, (STREAM, pane(1)): 1, ("other", pane(0)): 1})
    assert [first_pane(session, stream) for stream in (STREAM, "silent")] == [pane(1), None]


def test_states_are_of_the_panes_that_start_within_the_half_open_span(session: Session) -> None:
    count_exchanges(session, {(STREAM, pane(number)): 1 for number in range(4)})
    states = pane_states(session, STREAM, pane(1), pane(3))
    assert [state.start for state in states] == [pane(1), pane(2)]


def test_a_pane_is_the_same_in_any_zone(session: Session) -> None:
    local = pane(0).astimezone(timezone(timedelta(hours=-7)))
    count_exchanges(session, {(STREAM, local): 1})
    count_exchanges(session, {(STREAM, pane(0)): 1})
    assert [state.seen for state in pane_states(session, STREAM, pane(0), pane(1))] == [2]


@pytest.mark.parametrize(
    ("seen", "per_pane", "threshold"),
    [
        (3, 3, None),  # nothing was dropped
        (4, 3, 30),
        (4, 4, None),  # the fourth was a repeat: there is room
    ],
)
def test_a_threshold_is_the_largest_kept_priority_of_a_pane_that_dropped_something(
    session: Session, seen: int, per_pane: int, threshold: int | None
) -> None:
    count_exchanges(session, {(s, pane(n)): seen for s in (STREAM, "other") for n in (0, 2)})
    keep(session, *(candidate(f"e{p}", p) for p in (10, 20, 30)), per_pane=per_pane)
    others = [candidate(f"e{p}", p, stream="other") for p in (11, 21, 31)]
    keep(session, *others, *(candidate(f"f{p}", p, in_pane=2) for p in (12, 22, 32)))
    found = pane_thresholds(session, STREAM, [pane(0), pane(1)], per_pane)
    assert found == {pane(0): threshold, pane(1): None}


def test_thresholds_of_many_panes_are_each_its_own(session: Session) -> None:
    panes = [pane(number) for number in range(1500)]
    count_exchanges(session, {(STREAM, start): 2 for start in panes})
    keep(
        session,
        *(candidate(f"e{number}", number, in_pane=number) for number in range(0, 1500, 100)),
        per_pane=1,
    )
    found = pane_thresholds(session, STREAM, panes, 1)
    assert {start: p for start, p in found.items() if p is not None} == {
        pane(0) + PANE * number: number for number in range(0, 1500, 100)
    }
