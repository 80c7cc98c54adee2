import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from monitor.records import Cursor, Rejection
from monitor.service import intake as intake_module
from monitor.service.intake import Batch, Intake
from monitor.store.cursors import cursors_of
from monitor.store.engine import Database, open_database
from monitor.store.panes import pane_states
from monitor.store.quarantine import quarantined
from monitor.store.streams import known_streams, partition_watermarks
from monitor.store.tables import SampleImageRow, SampleRow
from monitor.traffic.formats.detect import format_named
from monitor.traffic.sampling import priority
from tests.integration.service.parts import (
    MINUTE,
    NOW,
    PANE,
    START,
    STREAM,
    admit,
    at,
    exchange,
    inline,
    late_target,
    make_intake,
    outcomes,
    png,
)

BESIDES = ("sampled", "unknown_keys")  # counted next to the one outcome of each record


def kept(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(SampleRow.exchange_id)))


def targets(database: Database) -> dict[str, str | None]:
    with database.read() as session:
        rows = session.execute(select(SampleRow.exchange_id, SampleRow.target))
        return {name: target for name, target in rows}  # noqa: C416 - rows have no types


def image_states(database: Database) -> list[str]:
    with database.read() as session:
        order = (SampleImageRow.sample_id, SampleImageRow.position)
        return list(session.scalars(select(SampleImageRow.state).order_by(*order)))


def seen(database: Database) -> dict[int, tuple[int, int]]:
    """Exchanges seen and kept, by number of the pane."""
    with database.read() as session:
        panes = pane_states(session, STREAM, START - timedelta(days=1), START + timedelta(days=1))
    return {int((p.start - START) / PANE): (p.seen, p.kept) for p in panes}


@pytest.fixture
def embedded(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    path = shutil.copy(migrated_file, tmp_path / "monitor.db")
    with open_database(f"sqlite:///{path}") as database:
        yield database


MIXED = [
    exchange("a", 0),
    exchange("b", 1),
    exchange("a", 2),  # again
    b"{broken\n",
    b"[]\n",
    exchange("c", 60),
    exchange("d", 30),  # late: its pane closed at 35, and 60 has been seen
    exchange("e", 55),
    exchange("far", 60 * 24 * 365),  # absurd
    late_target("c"),
    late_target("nobody"),
    exchange("f", 61, mood="fine"),  # an unknown key
]


def test_every_record_has_exactly_one_outcome(database: Database) -> None:
    receipt = admit(make_intake(database), MIXED)
    counted = {k: n for k, n in receipt.outcomes.items() if k not in BESIDES}
    assert sum(counted.values()) == len(MIXED)
    assert counted == {
        "admitted": 5,
        "duplicate": 1,
        "late": 1,
        "broken_json": 1,
        "not_an_object": 1,
        "absurd_time": 1,
        "target": 2,
    }


def test_what_is_counted_besides_is_what_was_kept_and_had_unknown_keys(database: Database) -> None:
    receipt = admit(make_intake(database), MIXED)
    assert {k: receipt.outcomes[k] for k in BESIDES} == {"sampled": 5, "unknown_keys": 1}


def test_the_receipt_and_the_stored_counts_agree(database: Database) -> None:
    intake = make_intake(database)
    receipts = [admit(intake, MIXED[:6]), admit(intake, MIXED[6:])]
    total = sum((Counter(receipt.outcomes) for receipt in receipts), start=Counter())
    assert outcomes(database) == {outcome: n for outcome, n in total.items() if n}


def test_accepted_are_the_exchanges_and_targets_that_were_counted(database: Database) -> None:
    assert admit(make_intake(database), MIXED).accepted == 7


def test_refused_records_lie_in_the_quarantine_with_their_source(database: Database) -> None:
    refusal = Rejection("line_too_long", "expected less", "{")
    batch = Batch("file", "a", MIXED, [refusal])
    make_intake(database).admit(batch, format_named("auto"))
    with database.read() as session:
        found = [(q.source, q.partition, q.rejection.reason) for q in quarantined(session, 10)]
    assert sorted(found) == [
        ("file", "a", reason)
        for reason in ("absurd_time", "broken_json", "line_too_long", "not_an_object")
    ]


def test_of_a_flood_of_rubbish_only_some_is_quarantined_but_all_is_counted(
    database: Database,
) -> None:
    receipt = admit(make_intake(database), [b"rubbish\n"] * 500)
    with database.read() as session:
        stored = len(quarantined(session, 1000))
    assert (receipt.outcomes["broken_json"], stored) == (
        500,
        intake_module.MAX_QUARANTINED_PER_BATCH,
    )


# --- sampling and repeats


def test_sending_everything_again_changes_nothing_but_the_count_of_duplicates(
    database: Database,
) -> None:
    intake = make_intake(database)
    lines = [exchange(f"e{i}", i) for i in range(8)]
    admit(intake, lines)
    before = seen(database), kept(database)
    again = admit(intake, lines)
    assert again.outcomes["duplicate"] == 8
    assert again.accepted == 0
    assert (seen(database), kept(database)) == before


def test_a_pane_with_repeats_has_not_dropped_anything(database: Database) -> None:
    intake = make_intake(database)
    admit(intake, [exchange("a"), exchange("a"), exchange("b", 1)])
    admit(intake, [exchange("a"), exchange("b", 1)])
    assert seen(database) == {0: (2, 2)}


def test_an_exchange_logged_again_at_another_time_is_a_duplicate(database: Database) -> None:
    receipt = admit(make_intake(database), [exchange("a", 0), exchange("a", 7)])
    assert (receipt.outcomes["duplicate"], seen(database)[0]) == (1, (1, 1))


def test_a_full_pane_keeps_its_smallest_priorities_whatever_the_batches(
    database: Database,
) -> None:
    lines = [exchange(f"e{i}", i / 100) for i in range(100)]
    intake = make_intake(database, per_pane=7)
    for start in range(0, 100, 9):
        admit(intake, lines[start : start + 9])
    expected = sorted(range(100), key=lambda i: priority(0, STREAM, f"e{i}"))[:7]
    assert kept(database) == {f"e{i}" for i in expected}


def test_a_second_intake_whose_memory_is_stale_keeps_the_same(database: Database) -> None:
    # As with two processes on one database: each has seen only its own half.
    lines = [exchange(f"e{i}", i / 100) for i in range(100)]
    one, other = (make_intake(database, per_pane=7) for _ in range(2))
    for start in range(0, 100, 10):
        admit(one, lines[start : start + 5], partition="a")
        admit(other, lines[start + 5 : start + 10], partition="b")
    expected = sorted(range(100), key=lambda i: priority(0, STREAM, f"e{i}"))[:7]
    assert kept(database) == {f"e{i}" for i in expected}


def test_of_how_many_panes_the_thresholds_are_known_changes_nothing_but_memory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "KNOWN_PANES_MAX", 2)
    intake = make_intake(database, per_pane=1, lateness=timedelta(hours=1))
    lines = [exchange(f"e{i}", 5 * (i % 5)) for i in range(30)]
    for start in range(0, 30, 10):
        admit(intake, lines[start : start + 10])
    assert len(intake._thresholds) == 2
    panes = [[f"e{i}" for i in range(p, 30, 5)] for p in range(5)]
    assert kept(database) == {min(pane, key=lambda e: priority(0, STREAM, e)) for pane in panes}


# --- late exchanges


@pytest.mark.parametrize(("minutes", "late"), [(49.9, 1), (50, 0), (59, 0)])
def test_an_exchange_is_late_once_its_pane_is_closed_for_longer_than_the_lateness(
    database: Database, minutes: float, late: int
) -> None:
    # At 60 every pane that closed by 50 is shut, and so may a window be that ends there.
    receipt = admit(make_intake(database), [exchange("new", 60), exchange("old", minutes)])
    assert receipt.outcomes["admitted"] == 2 - late
    assert receipt.outcomes["late"] == late


def test_lateness_is_of_the_own_partition_and_stream(database: Database) -> None:
    intake = make_intake(database)
    admit(intake, [exchange("new", 600)], partition="a")
    receipts = [
        admit(intake, [exchange("other partition", 0)], partition="b"),
        admit(intake, [exchange("other stream", 0, stream="gpt")], partition="a"),
        admit(intake, [exchange("other source", 0)], source="http", partition="a"),
    ]
    assert [r.outcomes["admitted"] for r in receipts] == [1, 1, 1]


def test_a_restart_remembers_how_far_a_partition_had_come(database: Database) -> None:
    admit(make_intake(database), [exchange("new", 60)])
    receipt = admit(make_intake(database), [exchange("old", 0)])
    assert receipt.outcomes["late"] == 1


def test_exchanges_that_the_sampling_passes_over_move_the_partition_too(
    database: Database,
) -> None:
    intake = make_intake(database, per_pane=1)
    admit(intake, [exchange(f"e{i}", i) for i in range(120)])
    with database.read() as session:
        (row,) = partition_watermarks(session)
    assert (row.first, row.last) == (at(0), at(119))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    minutes=st.lists(st.integers(0, 90), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29)),
    restarts=st.booleans(),
)
def test_what_is_late_and_kept_depends_on_the_order_of_the_records_not_on_batches(
    migrated_file: Path,
    tmp_path: Path,
    minutes: list[int],
    cuts: set[int],
    restarts: bool,  # noqa: FBT001 - drawn by name
) -> None:
    lines = [exchange(f"e{i}", m) for i, m in enumerate(minutes)]

    def run(ends: list[int], name: str, *, anew: bool) -> object:
        path = shutil.copy(migrated_file, tmp_path / name)
        with open_database(f"sqlite:///{path}") as database:
            intake = make_intake(database, per_pane=3)
            for start, end in zip([0, *ends], [*ends, len(lines)], strict=True):
                admit(intake, lines[start:end])
                intake = make_intake(database, per_pane=3) if anew else intake
            counts = {k: n for k, n in outcomes(database).items() if k != "sampled"}
            return kept(database), counts, seen(database)

    ends = sorted(cut for cut in cuts if cut < len(lines))
    assert run(ends, "parts.db", anew=restarts) == run([], "whole.db", anew=False)


# --- streams


def test_streams_beyond_the_cap_are_refused_and_known_ones_go_on(database: Database) -> None:
    intake = make_intake(database, max_streams=2)
    first = admit(intake, [exchange(f"e{i}", stream=f"s{i % 3}") for i in range(9)])
    again = admit(intake, [exchange(f"g{i}", stream=f"s{i % 3}") for i in range(9)])
    assert first.outcomes["over_stream_cap"] == again.outcomes["over_stream_cap"] == 3
    with database.read() as session:
        assert sorted(known_streams(session)) == ["s0", "s1"]


def test_that_a_stream_is_refused_is_told_once(database: Database) -> None:
    intake = make_intake(database, max_streams=1)
    with structlog.testing.capture_logs() as logs:
        for name in ("one", "two", "three", "two"):
            admit(intake, [exchange(name, stream=name)])
    assert [(e["event"], e["log_level"]) for e in logs] == [("streams_full", "warning")]


def test_the_cap_counts_streams_of_every_source_and_of_before_a_restart(
    database: Database,
) -> None:
    admit(make_intake(database, max_streams=1), [exchange("a", stream="one")])
    receipt = admit(
        make_intake(database, max_streams=1), [exchange("b", stream="two")], source="http"
    )
    assert receipt.outcomes == {"over_stream_cap": 1}


def test_at_the_cap_a_known_stream_is_taken_from_any_other_partition(database: Database) -> None:
    intake = make_intake(database, max_streams=1)
    found = [admit(intake, [exchange(f"e{p}", stream="one")], partition=p) for p in "abb"]
    assert [receipt.outcomes.get("over_stream_cap", 0) for receipt in found] == [0, 0, 0]


# --- targets


def test_a_target_joins_whether_it_comes_before_with_or_after_its_exchange(
    database: Database,
) -> None:
    intake = make_intake(database)
    admit(intake, [late_target("early", "1")])
    admit(intake, [late_target("same", "2"), exchange("same", 1), exchange("late", 1)])
    admit(intake, [exchange("early", 2), late_target("late", "3")])
    assert targets(database) == {"early": "1", "same": "2", "late": "3"}


def test_of_several_targets_the_last_one_holds(database: Database) -> None:
    admit(make_intake(database), [exchange("a"), late_target("a", "1"), late_target("a", "2")])
    assert targets(database) == {"a": "2"}


@pytest.mark.parametrize(("newest", "outcome"), [(14.9, "target"), (15, "target_late")])
def test_a_target_is_late_once_the_pane_of_its_exchange_is_closed_for_longer_than_allowed(
    database: Database, newest: float, outcome: str
) -> None:
    receipt = admit(
        make_intake(database), [exchange("a", 1), exchange("new", newest), late_target("a")]
    )
    assert receipt.outcomes[outcome] == 1


def test_targets_may_be_allowed_to_come_later_than_exchanges(database: Database) -> None:
    intake = make_intake(database, target_lateness=timedelta(hours=2))
    admit(intake, [exchange("a", 1), exchange("new", 60), late_target("a", "in time")])
    assert targets(database)["a"] == "in time"


def test_a_target_makes_its_pane_change_so_that_its_windows_are_measured_again(
    database: Database,
) -> None:
    intake = make_intake(database)
    admit(intake, [exchange("a", 1)])
    with database.read() as session:
        (before,) = pane_states(session, STREAM, START, START + PANE)
    admit(intake, [late_target("a")])
    with database.read() as session:
        (after,) = pane_states(session, STREAM, START, START + PANE)
    assert after.revision > before.revision


# --- one transaction


def with_cursor(lines: list[bytes], offset: int, end: int) -> Batch:
    return Batch("file", "a", lines, offset=offset, cursor=Cursor("file", "a", end, at_end=False))


def test_the_cursor_is_committed_with_the_samples(database: Database) -> None:
    make_intake(database).admit(with_cursor([exchange("a")], 0, 100), format_named("auto"))
    with database.read() as session:
        assert cursors_of(session, "file")["a"].offset == 100


STEPS = [
    "ensure_streams",
    "count_exchanges",
    "note_partition_times",
    "keep_candidates",
    "set_targets",
    "quarantine",
    "save_cursor",
    "add_counts",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_nothing_and_the_next_try_everything(
    embedded: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    batch = with_cursor([*MIXED], 0, 100)
    intake = make_intake(embedded)
    original = getattr(intake_module, step)

    def fails_after_its_work(*args: object, **kwargs: object) -> None:
        original(*args, **kwargs)
        raise OSError("the machine stops here")

    monkeypatch.setattr(intake_module, step, fails_after_its_work)
    with pytest.raises(OSError, match="stops here"):
        intake.admit(batch, format_named("auto"))
    with embedded.read() as session:
        left = known_streams(session), cursors_of(session, "file"), quarantined(session, 9)
    assert (left, kept(embedded), outcomes(embedded)) == (([], {}, []), set(), {})
    monkeypatch.setattr(intake_module, step, original)
    receipt = intake.admit(batch, format_named("auto"))
    assert (receipt.accepted, receipt.outcomes["late"]) == (7, 1)


def test_what_another_process_has_read_already_is_not_counted_again(database: Database) -> None:
    batch = with_cursor([exchange("a"), exchange("b")], 0, 100)
    one, other = make_intake(database, per_pane=1), make_intake(database, per_pane=1)
    one.admit(batch, format_named("auto"))
    before = outcomes(database), seen(database)
    assert other.admit(batch, format_named("auto")).outcomes == {}
    assert (outcomes(database), seen(database)) == before


def test_after_another_process_has_read_on_lateness_follows_what_it_saw(
    database: Database,
) -> None:
    one, other = make_intake(database), make_intake(database)
    form = format_named("auto")
    one.admit(with_cursor([exchange("a", 0)], 0, 100), form)
    other.admit(with_cursor([exchange("new", 60)], 100, 200), form)
    one.admit(with_cursor([exchange("new", 60)], 100, 200), form)
    receipt = one.admit(with_cursor([exchange("old", 0)], 200, 300), form)
    assert receipt.outcomes["late"] == 1


# --- images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "there.png").write_bytes(png(1))
    (tmp_path / "secret.png").write_bytes(png(2))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    return folder


@pytest.mark.parametrize(
    ("image", "state"),
    [
        ({"path": "there.png"}, "object_ref"),
        ({"path": "missing.png"}, "absent"),
        ({"path": "../secret.png"}, "rejected"),
        ({"path": "/etc/hostname"}, "rejected"),
        ({"path": "link.png"}, "rejected"),
        ({"path": "."}, "rejected"),
        (inline(png(3)), "inline"),
        ({"url": "https://example.org/a.png"}, "url"),
    ],
)
def test_each_image_has_a_state(
    embedded: Database, root: Path, image: dict[str, str], state: str
) -> None:
    admit(make_intake(embedded, root=root), [exchange("a", images=[image])])
    assert image_states(embedded) == [state]


def test_without_a_root_paths_are_not_followed(embedded: Database, root: Path) -> None:
    admit(make_intake(embedded), [exchange("a", images=[{"path": str(root / "there.png")}])])
    assert image_states(embedded) == ["object_ref"]


def test_images_of_what_is_not_kept_are_not_looked_for(
    embedded: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [exchange(f"e{i}", images=[{"path": "there.png"}]) for i in range(50)]
    read: list[object] = []
    intake: Intake = make_intake(embedded, root=root, per_pane=3)
    find = type(intake._files).find
    monkeypatch.setattr(
        type(intake._files), "find", lambda self, images: (read.append(1), find(self, images))[1]
    )
    admit(intake, lines)
    assert len(read) == 3


def test_a_time_ahead_of_the_clock_is_taken_up_to_some_minutes(database: Database) -> None:
    def named(name: str, minutes: float) -> bytes:
        body = json.loads(exchange(name))
        return json.dumps({**body, "time": (NOW + minutes * MINUTE).isoformat()}).encode()

    receipt = admit(make_intake(database), [named("a", 4), named("b", 6)])
    assert receipt.outcomes == {"admitted": 1, "sampled": 1, "absurd_time": 1}
