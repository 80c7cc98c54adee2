import random
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from monitor.records import LateTarget, Rejection
from monitor.traffic.formats.call import Call, Label, Piece
from monitor.traffic.formats.messages import Query
from monitor.traffic.formats.wire import Record, Wire
from monitor.traffic.joining import Joiner
from tests.unit.traffic.lines import NOON

LIMIT = timedelta(minutes=5)
TRACE = "t" * 32


class StoreFailedError(Exception):
    pass


def call(id_: str = "a", after: float = 0, /, **fields: object) -> Call:
    """A whole call; a field given as None is not known."""
    known: dict[str, object] = {
        "stream": "model",
        "query": Query("Why?", []),
        "response": "So.",
        "service": "app",
    }
    values = known | fields
    return Call(id=id_, time=NOON + timedelta(seconds=after), **values)  # type: ignore[arg-type] # by name


def request(id_: str = "a", after: float = 0, /, **fields: object) -> Call:
    return call(id_, after, response=None, **fields)


def response(id_: str = "a", after: float = 0, /, **fields: object) -> Call:
    return call(id_, after, query=None, **fields)


def offered(joiner: Joiner, *pieces: Piece) -> list[Record]:
    return [record for piece in pieces for record in joiner.offer(piece)]


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records if isinstance(record, Wire)]


def refused(records: list[Record]) -> list[str]:
    return [record.reason for record in records if isinstance(record, Rejection)]


def test_a_whole_call_is_given_out_at_once() -> None:
    (record,) = Joiner().offer(call())
    assert isinstance(record, Wire)
    assert (record.exchange().text, record.exchange().response) == ("Why?", "So.")


@pytest.mark.parametrize("halves", [[request(), response("a", 2)], [response("a", 2), request()]])
def test_halves_are_one_exchange_at_the_time_of_the_answer(halves: list[Call]) -> None:
    joiner = Joiner()
    (record,) = offered(joiner, *halves)
    assert isinstance(record, Wire)
    assert record.time == NOON + timedelta(seconds=2)
    assert record.exchange().text == "Why?"
    assert (joiner.orphans, joiner.flush()) == ({}, [])


def test_what_is_told_again_is_a_duplicate() -> None:
    joiner = Joiner()
    assert ids(offered(joiner, call(), call("a", 1), request(), response())) == ["a"]
    assert joiner.duplicates == 3


def test_an_image_of_a_call_that_waits_does_not_hold_its_line() -> None:
    line = b'["' + b"x" * 1_000 + b'"]'
    view = Raw(memoryview(line)[1:-1])
    joiner = Joiner()
    joiner.offer(request(query=Query("Why?", [view])))
    waiting = joiner._ids["a"].waiting
    assert waiting is not None
    assert waiting.query is not None
    (kept,) = waiting.query.images
    assert isinstance(kept, Raw)
    assert (kept == view, memoryview(kept).obj is memoryview(view).obj) == (True, False)


def span(id_: str, start: int, end: int, twin: str = "r", **fields: object) -> Call:
    names = {"twin": f"{TRACE}|{twin}", "interval": (start, end)}
    return call(f"{TRACE}:{id_}", **names, **fields)


@pytest.mark.parametrize(
    ("second", "count"),
    [
        (span("outer", 0, 100), 1),
        (span("within", 20, 30), 1),
        (span("equal", 10, 40), 1),
        (span("after", 50, 60), 2),  # a canned or cached answer, given twice
        (span("overlapping", 20, 60), 2),
        (span("other answer", 20, 30, twin="s"), 2),
    ],
)
def test_nested_instrumentations_tell_of_one_call(second: Call, count: int) -> None:
    for pieces in ([span("first", 10, 40), second], [second, span("first", 10, 40)]):
        assert len(offered(Joiner(), *pieces)) == count


def test_the_event_of_a_nested_span_is_a_duplicate_too() -> None:
    joiner = Joiner()
    records = offered(joiner, span("in", 10, 40), span("out", 0, 50), call(f"{TRACE}:out"))
    assert ids(records) == [f"{TRACE}:in"]


def test_a_span_without_content_takes_it_from_the_span_within() -> None:
    outer = span("out", 0, 50, query=None, response=None, stream="route")
    (record,) = offered(Joiner(), span("in", 10, 40, stream=None), outer)
    assert isinstance(record, Wire)
    assert record.stream == "route"


def test_a_half_without_the_other_is_refused_when_its_time_is_up() -> None:
    joiner = Joiner(limit=LIMIT)
    assert offered(joiner, request("a"), response("b", 1)) == []
    assert offered(joiner, call("c", 300)) != []
    assert refused(joiner.offer(call("d", 301))) == ["lost_response"]
    assert refused(joiner.offer(call("e", 302))) == ["lost_query"]
    assert joiner.orphans == {"lost_response": 1, "lost_query": 1}


def test_without_a_model_the_service_is_the_stream_when_the_time_is_up() -> None:
    joiner = Joiner()
    assert joiner.offer(call(stream=None)) == []
    (record,) = joiner.flush()
    assert isinstance(record, Wire)
    assert (record.stream, joiner.orphans) == ("app", {"model": 1})


def test_nothing_that_names_the_stream_is_a_refusal() -> None:
    joiner = Joiner()
    joiner.offer(call(stream=None, service=None))
    assert refused(joiner.flush()) == ["missing_field"]


def test_a_half_that_comes_too_late_for_its_other_half_is_an_orphan_of_its_own() -> None:
    joiner = Joiner(limit=LIMIT)
    offered(joiner, request("a"), call("b", 400), response("a", 401))
    assert refused(joiner.flush()) == ["lost_query"]
    assert joiner.orphans == {"lost_response": 1, "lost_query": 1}


def test_messages_told_one_by_one_end_with_the_query() -> None:
    image = Raw(b'"https://a/1.png"')
    turns = [
        call(query=Query("First?", [image]), response=None, is_turn=True),
        call(query=Query("Then?", []), response=None, is_turn=True),
        response(),
    ]
    (record,) = offered(Joiner(), *turns)
    assert isinstance(record, Wire)
    found = record.exchange()
    assert (found.text, found.images) == ("Then?", ())
    assert found.labels == {"context_turns": "1", "context_images": "1"}


@pytest.mark.parametrize("key", ["a", "response-1"])
@pytest.mark.parametrize("is_before", [True, False])
def test_a_target_finds_its_call_by_id_or_alias(key: str, is_before: bool) -> None:  # noqa: FBT001 - a case
    label, whole = Label(key, NOON, "Because."), call(aliases=("response-1",))
    pieces: list[Piece] = [label, whole] if is_before else [whole, label]
    records = offered(Joiner(), *pieces)
    targets = [r.exchange().target if isinstance(r, Wire) else r for r in records]
    if_after = LateTarget("a", "model", "Because.")
    if_before = LateTarget(key, "", "Because.")
    assert targets == ([if_before, None] if is_before else [None, if_after])


def test_an_alias_of_two_calls_is_no_name() -> None:
    joiner = Joiner()
    records = offered(joiner, call("a", aliases=("t",)), call("b", aliases=("t",)))
    records += offered(joiner, Label("t", NOON, "Because."))
    assert ids(records) == ["a", "b"]
    assert refused(records[2:]) == ["target_ambiguous"]
    assert joiner.orphans == {"target_ambiguous": 1}


def test_memory_is_bounded_by_calls_and_by_bytes() -> None:
    joiner = Joiner(max_calls=10, max_waiting_bytes=1_000)
    for i in range(100):
        joiner.offer(request(str(i)))
    assert (len(joiner._queue), len(joiner._ids)) == (10, 10)
    joiner.offer(request("big", query=Query("x" * 999, [])))
    assert (len(joiner._queue), joiner._bytes) == (1, 999)
    joiner.flush()
    assert not any((joiner._ids, joiner._aliases, joiner._twins, joiner._bytes))


def test_the_names_of_one_call_are_bounded_too() -> None:
    joiner = Joiner()
    for i in range(1_000):
        joiner.offer(span(str(i), i, 5_000 - i, aliases=(f"alias {i}",)))
    assert len(joiner._queue) == 1
    assert len(joiner._ids) + len(joiner._aliases) <= 64
    joiner.flush()
    assert not any((joiner._ids, joiner._aliases, joiner._twins, joiner._bytes))


def test_what_failed_to_be_stored_is_given_out_again() -> None:
    joiner = Joiner()
    pieces: list[Piece] = [
        response("half"),
        call("whole"),
        Label("x", NOON, "y"),
        call("t", twin="u|v"),
    ]
    joiner.offer(request("half"))
    first: list[Record] = []

    def admit(*, fails: bool) -> None:
        with joiner.attempt():
            first[:] = offered(joiner, *pieces)
            if fails:
                raise StoreFailedError

    with pytest.raises(StoreFailedError):
        admit(fails=True)
    before = ids(first)
    admit(fails=False)
    assert ids(first) == before == ["half", "whole", "t"]
    assert ids(offered(joiner, *pieces)) == []


def test_what_ran_out_of_time_in_a_failed_attempt_is_refused_again() -> None:
    joiner = Joiner(limit=LIMIT)
    offered(joiner, request("a"), response("b"))
    with pytest.raises(StoreFailedError):
        fail(joiner, [call("c", 400)])
    assert refused(joiner.offer(call("c", 400))) == ["lost_response", "lost_query"]


def test_a_failed_attempt_leaves_nested_calls_known() -> None:
    joiner = Joiner()
    joiner.offer(span("first", 10, 40))
    with pytest.raises(StoreFailedError):
        fail(joiner, [span("second", 50, 60)])
    assert joiner.offer(span("within", 20, 30)) == []
    assert len(joiner.offer(span("second", 50, 60))) == 1


def test_a_target_of_a_failed_attempt_is_not_kept() -> None:
    joiner = Joiner()
    joiner.offer(request("a"))
    with pytest.raises(StoreFailedError):
        fail(joiner, [Label("a", NOON, "Because.")])
    (record,) = joiner.offer(response("a"))
    assert isinstance(record, Wire)
    assert record.exchange().target is None


@st.composite
def traffic(draw: st.DrawFn) -> list[Piece]:
    """Up to 12 calls, each told in one or two records, some of them repeated, in any order."""
    pieces: list[Piece] = []
    for i in range(draw(st.integers(1, 12))):
        whole = draw(st.booleans())
        told: list[Piece] = (
            [call(str(i), i)] if whole else [request(str(i), i), response(str(i), i)]
        )
        pieces += told * draw(st.integers(1, 2))
        if draw(st.booleans()):
            pieces.append(Label(str(i), NOON, "target"))
    return draw(st.permutations(pieces))


@given(pieces=traffic())
def test_in_any_order_each_call_is_one_exchange(pieces: list[Piece]) -> None:
    joiner = Joiner()
    records = offered(joiner, *pieces) + joiner.flush()
    calls = {piece.id for piece in pieces if isinstance(piece, Call)}
    assert sorted(ids(records)) == sorted(calls)
    assert (refused(records), joiner.orphans) == ([], {})
    labelled = {piece.key for piece in pieces if isinstance(piece, Label)}
    told = {r.id for r in records if isinstance(r, Wire) and r.exchange().target}
    assert told | {r.id for r in records if isinstance(r, LateTarget)} == labelled


@given(pieces=traffic(), cuts=st.lists(st.integers(0, 60), max_size=4), seed=st.integers(0, 99))
def test_failed_attempts_change_nothing(pieces: list[Piece], cuts: list[int], seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    expected = [repr_of(r) for r in offered(Joiner(limit=timedelta(seconds=3)), *pieces)]
    joiner = Joiner(limit=timedelta(seconds=3))
    found: list[Record] = []
    edges = sorted({0, len(pieces), *(cut for cut in cuts if cut < len(pieces))})
    for start, end in pairwise(edges):
        batch = pieces[start:end]
        if rng.random() < 0.7:
            with pytest.raises(StoreFailedError):
                fail(joiner, batch)
        found += offered(joiner, *batch)
    assert [repr_of(r) for r in found] == expected


def fail(joiner: Joiner, batch: list[Piece]) -> None:
    with joiner.attempt():
        offered(joiner, *batch)
        raise StoreFailedError


def repr_of(record: Record) -> object:
    return record.exchange() if isinstance(record, Wire) else record
