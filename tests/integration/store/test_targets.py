from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.records import Candidate, LateTarget, TargetSource
from monitor.store.forgetting import Wanted, empty_samples, forget_targets, samples_wanted
from monitor.store.retention import forget_samples
from monitor.store.samples import window_samples
from monitor.store.tables import EarlyTargetRow, SampleAliasRow
from monitor.store.targets import (
    TargetOutcome,
    set_target,
    set_targets,
    set_teacher_target,
    take_early_targets,
)
from tests.integration.store.builders import (
    HOUR,
    NOW,
    STREAM,
    candidate,
    embed,
    keep,
    pane,
)


def called(name: str, *aliases: str, stream: str = STREAM) -> Candidate:
    one = candidate(name, 1, stream=stream)
    return replace(one, exchange=replace(one.exchange, aliases=aliases))


def targets(session: Session, stream: str = STREAM) -> dict[str, str | None]:
    """What is embedded as the target of each sample."""
    embed(session)
    samples = window_samples(session, stream, pane(0), pane(100))
    return {s.exchange_id: s.z_target.decode() if s.z_target else None for s in samples}


def sources(session: Session) -> dict[str, str | None]:
    samples = window_samples(session, STREAM, pane(0), pane(100))
    return {s.exchange_id: s.target_source for s in samples}


def count(session: Session, table: type) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def test_an_exchange_takes_its_own_early_target_and_leaves_the_others(session: Session) -> None:
    for stream, name in ((STREAM, "a"), (STREAM, "b"), ("other", "a"), ("", "c")):
        set_target(session, stream, name, f"{name} of {stream}", NOW)
    keep(session, called("a"))
    assert count(session, EarlyTargetRow) == 3
    keep(session, called("b"), called("c"), called("a", stream="other"))
    assert targets(session) == {"a": f"a of {STREAM}", "b": f"b of {STREAM}", "c": "c of "}
    assert targets(session, "other") == {"a": "a of other"}


def test_the_teachers_answer_is_given_to_the_sample_that_it_was_asked_of(session: Session) -> None:
    keep(session, called("a"), called("b"))
    samples = {s.exchange_id: s.id for s in window_samples(session, STREAM, pane(0), pane(1))}
    assert set_teacher_target(session, samples["b"], "A car.")
    assert targets(session) == {"a": None, "b": "A car."}


@pytest.mark.parametrize("stream", [STREAM, ""])
@pytest.mark.parametrize("name", ["a", "response-a", "trace-a"])
@pytest.mark.parametrize("is_early", [False, True])
def test_a_target_finds_its_sample_by_any_name_and_at_any_time(
    session: Session,
    name: str,
    stream: str,
    is_early: bool,  # noqa: FBT001 - a case
) -> None:
    samples = called("a", "response-a", "trace-a"), called("b", "response-b")
    if not is_early:
        keep(session, *samples)
    outcome = set_target(session, stream, name, "A taxi.", NOW)
    assert outcome is (TargetOutcome.EARLY if is_early else TargetOutcome.JOINED)
    if is_early:
        keep(session, *samples)
    assert targets(session) == {"a": "A taxi.", "b": None}
    assert count(session, EarlyTargetRow) == 0


@pytest.mark.parametrize("is_early", [False, True])
def test_a_name_of_several_samples_is_given_to_none(
    session: Session,
    is_early: bool,  # noqa: FBT001 - a case
) -> None:
    samples = called("a", "trace"), called("b", "trace")
    if not is_early:
        keep(session, *samples)
    outcome = set_target(session, "", "trace", "A taxi.", NOW)
    assert outcome is (TargetOutcome.EARLY if is_early else TargetOutcome.AMBIGUOUS)
    if is_early:
        keep(session, *samples)
    assert targets(session) == {"a": None, "b": None}


def test_the_stream_of_a_target_tells_two_samples_of_one_name_apart(session: Session) -> None:
    keep(session, called("a", "r"), called("a", "r", stream="other"))
    assert set_target(session, "", "a", "?", NOW) is TargetOutcome.AMBIGUOUS
    assert set_target(session, "", "r", "?", NOW) is TargetOutcome.AMBIGUOUS
    assert set_target(session, "other", "r", "A taxi.", NOW) is TargetOutcome.JOINED
    assert (targets(session), targets(session, "other")) == ({"a": None}, {"a": "A taxi."})


def test_an_id_comes_before_the_further_name_of_another(session: Session) -> None:
    keep(session, called("a"), called("b", "a"))
    assert set_target(session, STREAM, "a", "A taxi.", NOW) is TargetOutcome.JOINED
    assert targets(session) == {"a": "A taxi.", "b": None}


def test_of_early_targets_for_one_sample_the_most_exact_counts(session: Session) -> None:
    names = [("", "t"), (STREAM, "t"), ("", "a"), (STREAM, "a")]
    set_targets(session, [LateTarget(i, s, f"{s} {i}") for s, i in names], NOW)
    keep(session, called("a", "t"))
    assert targets(session) == {"a": f"{STREAM} a"}
    assert count(session, EarlyTargetRow) == 0


def test_names_that_no_database_holds_are_found_as_they_are_stored(session: Session) -> None:
    keep(session, called("a", "t\x00\ud800"))
    assert set_target(session, "", "t\x00\ud800", "A taxi.", NOW) is TargetOutcome.JOINED


def test_the_teacher_answers_only_what_has_no_target(session: Session) -> None:
    keep(session, candidate("a", 1), candidate("b", 2, target="A taxi."))
    embed(session)
    a, b = window_samples(session, STREAM, pane(0), pane(1))
    assert set_teacher_target(session, a.id, "A car.")
    assert not set_teacher_target(session, b.id, "A car.")
    assert not set_teacher_target(session, 999, "A car.")
    assert targets(session) == {"a": "A car.", "b": "A taxi."}
    assert sources(session) == {"a": TargetSource.TEACHER, "b": TargetSource.LOGGED}


@pytest.mark.parametrize("logged", ["A taxi.", "A car."])
def test_a_logged_target_takes_the_place_of_the_teachers(session: Session, logged: str) -> None:
    keep(session, candidate("a", 1))
    (a,) = window_samples(session, STREAM, pane(0), pane(1))
    set_teacher_target(session, a.id, "A car.")
    assert set_target(session, STREAM, "a", logged, NOW) is TargetOutcome.JOINED
    assert not set_teacher_target(session, a.id, "A bus.")
    assert (targets(session), sources(session)) == ({"a": logged}, {"a": TargetSource.LOGGED})


def test_names_go_with_their_samples(session: Session) -> None:
    keep(session, called("a", "r", "t"), called("b", "q"))
    empty_samples(session, {(STREAM, "a")})
    assert list(session.scalars(select(SampleAliasRow.alias))) == ["q"]
    forget_samples(session, NOW + HOUR)
    assert count(session, SampleAliasRow) == 0


def test_an_exchange_is_forgotten_by_any_name_with_the_targets_that_wait_for_it(
    session: Session,
) -> None:
    keep(session, called("a", "r", "t"), called("b", "q"))
    assert samples_wanted(session, Wanted(exchange_id="r")) == {(STREAM, "a")}
    for stream, name in [("", "r2"), (STREAM, "r2"), ("other", "r2"), ("", "q2")]:
        set_target(session, stream, name, "y", NOW)
    assert forget_targets(session, Wanted(exchange_id="r2", stream=STREAM), set()) == 2
    # What came for a name of the sample after that was displaced, or before it was kept.
    take_early_targets(session, [called("x", "r2", "q2")])
    for name in ("t", "q"):
        session.add(EarlyTargetRow(stream="", exchange_id=name, target="y", stored_at=NOW))
    session.flush()
    assert forget_targets(session, Wanted(label=("k", "v")), {(STREAM, "a")}) == 1
