from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.records import Candidate, ImageState, LateTarget, StoredImage
from monitor.store.engine import Database
from monitor.store.keeping import KeepOutcome, keep_candidates
from monitor.store.panes import pane_states
from monitor.store.samples import sample_times, window_samples
from monitor.store.tables import EarlyTargetRow, ImageRow, SampleImageRow, SampleRow
from monitor.store.targets import TargetOutcome, set_target, set_targets
from tests.integration.store.builders import (
    MINUTE,
    NOW,
    STREAM,
    candidate,
    embed,
    image,
    keep,
    pane,
)


def kept(session: Session, stream: str = STREAM) -> list[str]:
    """Ids in the order of the window's sample."""
    return [s.exchange_id for s in window_samples(session, stream, pane(0), pane(100))]


def revision(session: Session, number: int = 0) -> int:
    return sum(s.revision for s in pane_states(session, STREAM, pane(number), pane(number + 1)))


def targets(session: Session) -> dict[str, str | None]:
    rows = session.execute(select(SampleRow.exchange_id, SampleRow.target))
    return {exchange_id: target for exchange_id, target in rows}  # noqa: C416 - rows, not pairs


def rows_in(session: Session, table: type) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_pane_keeps_its_smallest_priorities(session: Session) -> None:
    outcome = keep_candidates(session, [candidate(f"e{p}", p) for p in (5, 1, 4, 2, 3)], 3, NOW)
    assert [c.priority for c in outcome.kept] == [1, 2, 3]
    assert (outcome.repeated, outcome.evicted) == ({}, 0)
    assert kept(session) == ["e1", "e2", "e3"]


def test_a_smaller_priority_displaces_the_largest(session: Session) -> None:
    keep(session, candidate("e5", 5), candidate("e3", 3), per_pane=2)
    outcome = keep_candidates(session, [candidate("e1", 1), candidate("e9", 9)], 2, NOW)
    assert ([c.priority for c in outcome.kept], outcome.evicted) == ([1], 1)
    assert kept(session) == ["e1", "e3"]


def test_panes_and_streams_have_room_of_their_own(session: Session) -> None:
    keep(
        session,
        candidate("a", 1),
        candidate("b", 2, in_pane=1),
        candidate("a", 3, stream="other"),
        per_pane=1,
    )
    assert (kept(session), kept(session, "other")) == (["a", "b"], ["a"])


def test_equal_priorities_are_told_apart_by_id(session: Session) -> None:
    keep(session, *(candidate(name, 7) for name in "cBaA"), per_pane=2)
    assert kept(session) == ["A", "B"]


def test_an_exchange_that_is_kept_is_a_duplicate_in_any_pane(session: Session) -> None:
    keep(session, candidate("a", 1))
    again = [candidate("a", 1), candidate("a", 1, in_pane=3), candidate("b", 2), candidate("b", 2)]
    outcome = keep_candidates(session, again, 10, NOW)
    assert outcome.repeated == {(STREAM, pane(0)): 2, (STREAM, pane(3)): 1}
    assert kept(session) == ["a", "b"]


def test_a_sample_says_whether_it_has_a_target_and_whose(session: Session) -> None:
    keep(session, candidate("with", 1, target="y"), candidate("without", 2))
    row = SampleRow
    rows = session.execute(select(row.exchange_id, row.has_target, row.target_source))
    assert {tuple(found) for found in rows} == {("with", True, "logged"), ("without", False, None)}


def test_no_candidates_are_no_change(session: Session) -> None:
    assert keep_candidates(session, [], 10, NOW) == KeepOutcome()


def test_a_pane_changes_only_when_what_it_keeps_does(session: Session) -> None:
    keep(session, candidate("a", 1), per_pane=1)
    before = revision(session)
    keep(session, candidate("a", 1), candidate("b", 2), per_pane=1)
    unchanged = revision(session)
    keep(session, candidate("c", 0), per_pane=1)
    assert (before, unchanged, revision(session)) == (1, 1, 2)


def test_a_smaller_limit_takes_effect_with_the_next_candidate(session: Session) -> None:
    keep(session, *(candidate(f"e{p}", p) for p in range(5)), per_pane=5)
    outcome = keep_candidates(session, [candidate("e9", 9)], 2, NOW)
    assert outcome == KeepOutcome(evicted=3, thresholds={(STREAM, pane(0)): 1})
    assert (kept(session), revision(session)) == (["e0", "e1"], 2)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_threshold_is_told_when_a_pane_drops_something_and_is_the_largest_it_keeps(
    database: Database, data: st.DataObject
) -> None:
    priorities = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=20))
    cut = data.draw(st.integers(0, len(priorities)))
    per_pane = data.draw(st.integers(1, 6))
    candidates = [candidate(f"e{i}", p) for i, p in enumerate(priorities)]
    with database.begin() as session:
        keep_candidates(session, candidates[:cut], per_pane, NOW)
        before = len(kept(session))
        outcome = keep_candidates(session, candidates[cut:], per_pane, NOW)
        after = [s.priority for s in window_samples(session, STREAM, pane(0), pane(1))]
        session.rollback()
    has_dropped = before + len(candidates[cut:]) > per_pane
    assert outcome.thresholds == ({(STREAM, pane(0)): max(after)} if has_dropped else {})


def test_everything_about_a_sample_comes_back(session: Session) -> None:
    states = (ImageState.INLINE, ImageState.URL, ImageState.ABSENT)
    images = [StoredImage(states[0], "h", b"file"), StoredImage(states[1]), StoredImage(states[2])]
    labels = {"tenant": "acme", "sprache": "größer"}
    keep(session, candidate("a", 2**63 - 1, images=images, labels=labels))
    (sample,) = window_samples(session, STREAM, pane(0), pane(1))
    assert (sample.exchange_id, sample.pane_start, sample.priority) == ("a", pane(0), 2**63 - 1)
    assert (sample.labels, sample.image_states) == (labels, states)
    assert (sample.encoder_digest, sample.z_v, sample.novelty_v) == (None, None, None)


def test_a_window_has_the_samples_of_panes_that_start_within_it(session: Session) -> None:
    keep(session, *(candidate(f"e{number}", 9 - number, in_pane=number) for number in range(4)))
    found = window_samples(session, STREAM, pane(1), pane(3))
    assert [s.exchange_id for s in found] == ["e2", "e1"]


def test_ids_and_texts_that_no_database_can_hold_are_mended(session: Session) -> None:
    odd = candidate("a\x00\ud800", 1, text="t\x00\udfff", labels={"k\x00": "v\ud800"})
    keep(session, odd)
    assert keep_candidates(session, [odd], 10, NOW).repeated == {(STREAM, pane(0)): 1}
    assert set_target(session, STREAM, "a\x00\ud800", "y\x00", NOW) is TargetOutcome.JOINED
    assert sample_times(session, [(STREAM, "a\x00\ud800")]) == {(STREAM, "a\x00\ud800"): pane(0)}
    (sample,) = window_samples(session, STREAM, pane(0), pane(1))
    assert (sample.exchange_id, sample.labels) == ("a\ufffd\ufffd", {"k\ufffd": "v\ufffd"})
    assert targets(session) == {"a\ufffd\ufffd": "y\ufffd"}


def test_odd_but_valid_text_is_kept_to_the_character(session: Session) -> None:
    odd = "\U0001f9d1\u200d\U0001f680 \u202e מימין e\u0301 \x01\x7f\ufeff ' \" \\ % :x"
    keep(session, candidate(odd, 1, text=odd, labels={odd: odd}))
    (sample,) = window_samples(session, STREAM, pane(0), pane(1))
    assert (sample.exchange_id, sample.labels) == (odd, {odd: odd})
    assert session.scalar(select(SampleRow.text)) == odd


def test_a_pane_given_in_another_zone_is_the_same_pane(session: Session) -> None:
    local = timezone(timedelta(hours=9))
    there = candidate("b", 2)
    there = Candidate(there.exchange, there.pane_start.astimezone(local), 2)
    keep(session, candidate("a", 1), there, per_pane=1)
    assert kept(session) == ["a"]


def test_an_image_is_stored_once_however_many_samples_show_it(session: Session) -> None:
    keep(session, candidate("a", 1, images=[image("h"), image("h"), image("k")]))
    keep(session, candidate("b", 2, images=[image("h")]))
    assert (rows_in(session, ImageRow), rows_in(session, SampleImageRow)) == (2, 4)


def test_displaced_samples_take_their_image_entries_with_them(session: Session) -> None:
    keep(session, candidate("b", 2, images=[image("h")]), per_pane=1)
    keep(session, candidate("a", 1), per_pane=1)
    assert rows_in(session, SampleImageRow) == 0


def test_a_target_joins_its_sample_and_makes_it_pending_again(session: Session) -> None:
    keep(session, candidate("a", 1))
    embed(session)
    before = revision(session)
    assert set_target(session, STREAM, "a", "A taxi.", NOW) is TargetOutcome.JOINED
    (sample,) = window_samples(session, STREAM, pane(0), pane(1))
    assert (targets(session), sample.encoder_digest) == ({"a": "A taxi."}, None)
    assert revision(session) == before + 1


def test_the_same_target_again_changes_nothing(session: Session) -> None:
    keep(session, candidate("a", 1, target="A taxi."))
    before = revision(session)
    assert set_target(session, STREAM, "a", "A taxi.", NOW) is TargetOutcome.UNCHANGED
    assert revision(session) == before


def test_an_early_target_waits_for_its_exchange(session: Session) -> None:
    assert set_target(session, STREAM, "a", "old", NOW) is TargetOutcome.EARLY
    assert set_target(session, STREAM, "a", "new", NOW) is TargetOutcome.EARLY
    set_target(session, "other", "a", "of another stream", NOW)
    keep(session, candidate("a", 1), candidate("b", 2, target="its own"))
    assert targets(session) == {"a": "new", "b": "its own"}
    assert rows_in(session, EarlyTargetRow) == 1


def test_a_target_that_came_apart_wins_in_either_order(session: Session) -> None:
    set_target(session, STREAM, "a", "apart", NOW)
    keep(session, candidate("a", 1, target="together"), candidate("b", 2, target="together"))
    set_target(session, STREAM, "b", "apart", NOW)
    assert targets(session) == {"a": "apart", "b": "apart"}


def test_many_targets_at_once_each_have_their_outcome(session: Session) -> None:
    keep(session, candidate("a", 1), candidate("b", 2, target="same"))
    outcomes = set_targets(
        session,
        [LateTarget("a", STREAM, "y"), LateTarget("b", STREAM, "same"), LateTarget("c", "s", "z")],
        NOW,
    )
    assert outcomes == {
        (STREAM, "a"): TargetOutcome.JOINED,
        (STREAM, "b"): TargetOutcome.UNCHANGED,
        ("s", "c"): TargetOutcome.EARLY,
    }
    assert set_targets(session, [], NOW) == {}


def test_times_are_known_of_samples_only(session: Session) -> None:
    keep(session, candidate("a", 1, in_pane=2), candidate("b", 2, stream="other"))
    asked = [(STREAM, "a"), (STREAM, "b"), ("other", "b"), ("none", "a")]
    assert sample_times(session, asked) == {(STREAM, "a"): pane(2), ("other", "b"): pane(0)}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_order_and_split_of_candidates_keeps_the_same(
    database: Database, data: st.DataObject
) -> None:
    drawn = st.tuples(st.integers(0, 2), st.integers(0, 6))
    described = data.draw(st.lists(drawn, min_size=1, max_size=25))
    per_pane = data.draw(st.integers(1, 4))
    candidates = [candidate(f"e{i}", p, in_pane=number) for i, (number, p) in enumerate(described)]
    repeated = candidates + data.draw(st.lists(st.sampled_from(candidates), max_size=8))
    order = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=5)) | {0, len(order)})
    with database.begin() as session:
        for start, end in pairwise(cuts):
            keep_candidates(session, order[start:end], per_pane, NOW)
        found = set(kept(session))
        session.rollback()
    expected = {
        c.exchange.id
        for number in range(3)
        for c in sorted(
            (c for c in candidates if c.pane_start == pane(number)),
            key=lambda c: (c.priority, c.exchange.id),
        )[:per_pane]
    }
    assert found == expected


def test_two_writers_at_once_keep_what_one_would_have(database: Database) -> None:
    def write(numbers: range) -> None:
        for start in range(0, len(numbers), 7):
            with database.begin() as session:
                keep(
                    session,
                    *(
                        candidate(
                            f"e{n}", n * 7919 % 1009, in_pane=n % 3, images=[image(f"h{n % 5}")]
                        )
                        for n in numbers[start : start + 7]
                    ),
                    per_pane=8,
                )

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, [range(150), range(75, 225), range(299, 100, -1)]))
    with database.read() as session:
        found = [s.priority for s in window_samples(session, STREAM, pane(0), pane(3))]
    expected = [
        p
        for number in range(3)
        for p in sorted(n * 7919 % 1009 for n in range(300) if n % 3 == number)[:8]
    ]
    assert found == sorted(expected)


def test_thousands_of_candidates_in_one_go_are_no_problem(session: Session) -> None:
    many = [candidate(f"e{n}", n * 7919 % 10007, in_pane=n % 2) for n in range(5000)]
    outcome = keep_candidates(session, many, 1500, NOW)
    assert (len(outcome.kept), outcome.repeated, outcome.evicted) == (3000, {}, 0)
    keys = [(STREAM, f"e{n}") for n in range(5000)]
    assert len(sample_times(session, keys)) == 3000
    assert max(s.priority for s in window_samples(session, STREAM, pane(0), pane(1))) == max(
        sorted(n * 7919 % 10007 for n in range(0, 5000, 2))[:1500]
    )


def test_windows_do_not_mix_streams(session: Session) -> None:
    keep(session, candidate("a", 1), candidate("b", 2, stream="other"))
    found = window_samples(session, "other", pane(0), pane(0) + MINUTE)
    assert [s.exchange_id for s in found] == ["b"]
