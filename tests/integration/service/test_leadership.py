"""Which of several daemons measures; the lease is the same in both kinds of database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.service.leadership import LEASE, RENEWED_WITHIN, Leadership, leading
from monitor.service.wiring import schedule
from monitor.store.engine import Database
from tests.integration.service.parts import (
    Rig,
    admit,
    everything_measured,
    small_settings,
    store_reference,
    traffic,
)

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_to_ask_leads_and_no_other(database: Database, clock: Clock) -> None:
    first, second = (Leadership(database, clock) for _ in range(2))
    assert [first.leads(), second.leads(), first.leads()] == [True, False, True]


def test_a_leader_that_asks_often_enough_stays_one(database: Database, clock: Clock) -> None:
    first, second = (Leadership(database, clock) for _ in range(2))
    found = []
    for _ in range(10):
        found.append((first.leads(), second.leads()))
        clock.now += LEASE / 2
    assert found == [(True, False)] * 10


def test_another_one_leads_when_the_lease_of_the_first_has_run_out(
    database: Database, clock: Clock
) -> None:
    killed, left = (Leadership(database, clock) for _ in range(2))
    killed.leads()
    clock.now += LEASE - timedelta(seconds=1)
    before = left.leads()
    clock.now += timedelta(seconds=1)
    assert (before, left.leads(), killed.leads()) == (False, True, False)


def test_a_leader_that_stops_lets_another_one_lead_at_once(
    database: Database, clock: Clock
) -> None:
    stopped, left = (Leadership(database, clock) for _ in range(2))
    stopped.leads()
    left.release()  # who leads nothing releases nothing
    before = left.leads()
    stopped.release()
    assert (before, left.leads()) == (False, True)


def test_a_clock_that_goes_back_does_not_keep_a_lease_that_is_not_renewed(
    database: Database, clock: Clock
) -> None:
    first, second = (Leadership(database, clock) for _ in range(2))
    first.leads()
    clock.now -= 2 * LEASE
    first.leads()
    clock.now += LEASE
    assert (second.leads(), first.leads()) == (True, False)


def test_a_lease_of_a_clock_far_ahead_keeps_nobody_from_leading(database: Database) -> None:
    ahead, right = Clock(), Clock()
    ahead.now += timedelta(hours=1)
    killed, left = Leadership(database, ahead), Leadership(database, right)
    assert (killed.leads(), left.leads()) == (True, True)


def test_within_a_part_of_the_lease_the_database_is_not_asked(
    database: Database, clock: Clock
) -> None:
    first = Leadership(database, clock)
    first.leads()
    clock.now += RENEWED_WITHIN / 2
    with database.begin():  # a second write transaction would wait for this one
        assert first.leads()


def test_who_does_not_lead_measures_nothing_and_shows_what_the_leader_measured(
    database: Database, tmp_path: Path
) -> None:
    settings = small_settings(tmp_path)
    leader, other = Rig(settings, database), Rig(settings, database)
    with database.begin() as session:
        store_reference(session)
    admit(leader.around.intake, traffic(80, 14.9))
    leader.jobs.ingest.run(leader.around.stop.is_set)
    leader.jobs.embed()
    follows = replace(other.around, leads=lambda: False)
    turn = schedule(settings, other.jobs, follows)["measure"][1]
    turn()
    before = everything_measured(database)
    schedule(settings, leader.jobs, leader.around)["measure"][1]()
    turn()
    shown = [rig.around.publisher.latest().streams["llava"] for rig in (leader, other)]
    assert (before, [bool(state.measurements) for state in shown]) == ([], [True, True])
    assert shown[0].measurements == shown[1].measurements
    assert (leader.metric("leader"), other.metric("leader")) == (1, 0)


def test_on_an_embedded_database_there_is_nobody_else(database: Database, clock: Clock) -> None:
    with leading(database, clock) as one, leading(database, clock) as other:
        assert (one(), other()) == (True, database.is_embedded)
