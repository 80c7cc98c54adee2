"""Exchanges that somebody asked to be forgotten are nowhere afterwards."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import structlog
from sqlalchemy import select, text

from monitor.errors import ReferenceNotFoundError, ReferenceTooSmallError, StoreError
from monitor.records import ReferenceSample, ReferenceVersion
from monitor.reference.artefact import Reference, digest_of
from monitor.service.forget import Forgetter, Forgotten, forget_indexes
from monitor.service.shelf import ASKED_AGAIN, ReferenceShelf
from monitor.store.engine import Database, open_database
from monitor.store.forgetting import Wanted
from monitor.store.pending import claim_pending, record_embeddings
from monitor.store.references import (
    activate,
    active_references,
    list_references,
    load_arrays,
    reference_samples,
    save_reference,
)
from monitor.store.samples import window_samples
from monitor.store.tables import Base, SampleRow
from tests.integration.service.parts import (
    HOUR,
    NOW,
    START,
    STREAM,
    Clock,
    Rig,
    admit,
    everything_measured,
    exchange,
    inline,
    late_target,
    png,
    small_reference,
    small_settings,
    store_reference,
    traffic,
)

ANIMAL = "pangolin"


def whole(database: Database) -> str:
    """Everything that the database holds, as text."""
    with database.read() as session:
        return "\n".join(
            str(row)
            for table in Base.metadata.tables
            for row in session.execute(text(f'SELECT * FROM "{table}"')).all()  # noqa: S608 - names of our own tables
        )


def store_known_reference(database: Database, ids: Sequence[str], **facts: object) -> str:
    """The small reference with content and ids of its exchanges, active for every stream."""
    built = small_reference()
    version = ReferenceVersion(
        built.digest, built.name, START, built.encoder_digest, {**built.facts, "seed": 0, **facts}
    )
    samples = [
        ReferenceSample(i, name, part, text=f"What of {name}?")
        for i, (name, part) in enumerate(zip(ids, built.parts, strict=True))
    ]
    with database.begin() as session:
        save_reference(session, version, built.arrays, samples)
        activate(session, built.digest, "*", START)
    return built.digest


def names(*of: str, count: int = 300) -> list[str]:
    """Ids of a reference, of which the first are given."""
    return [*of, *(f"r{i}" for i in range(count - len(of)))]


def forget(rig: Rig, wanted: Wanted) -> Forgotten:
    forgetter = Forgetter(rig.database, rig.settings.data_dir, Clock())
    counts, _ = forgetter.forget(wanted, forgetter.find(wanted))
    return counts


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    return Rig(small_settings(tmp_path, slices={"labels": ["tenant"]}), database)


def test_an_exchange_is_nowhere_once_it_is_forgotten(rig: Rig) -> None:
    store_known_reference(rig.database, names(ANIMAL))
    seen = exchange(ANIMAL, images=[inline(png(100))], target=f"{ANIMAL}!")
    bad = exchange(ANIMAL, time="never")
    admit(rig.around.intake, [*traffic(30, 12), seen, bad])
    admit(rig.around.intake, [late_target(ANIMAL, stream="other")])
    rig.work()
    assert ANIMAL in whole(rig.database)
    counts = forget(rig, Wanted(exchange_id=ANIMAL))
    assert ANIMAL not in whole(rig.database)
    assert counts == Forgotten(
        samples=1, images=1, targets=1, quarantined=1, measurements=0, reference_exchanges=1
    )


def test_all_exchanges_of_a_label_are_forgotten_and_its_slice_with_them(rig: Rig) -> None:
    store_known_reference(rig.database, names(f"{STREAM}-0-1"))
    admit(rig.around.intake, traffic(60, 40))
    rig.work()
    before = [m.slice_key for m in everything_measured(rig.database)].count("tenant=t1")
    assert before > 0
    counts = forget(rig, Wanted(label=("tenant", "t1")))
    assert (counts.samples, counts.reference_exchanges) == (20, 1)
    assert counts.measurements == before
    measured = {m.slice_key for m in everything_measured(rig.database)}
    assert measured == {"all", "tenant=t0", "tenant=t2"}
    assert "t1" not in {v for s in samples(rig) for v in s.labels.values()}


def test_a_stream_keeps_what_another_is_to_forget(rig: Rig) -> None:
    admit(rig.around.intake, [exchange("a"), exchange("a", stream="other")])
    forget(rig, Wanted(exchange_id="a", stream="other"))
    assert [s.stream for s in samples(rig) if s.exchange_id == "a"] == [STREAM]


def samples(rig: Rig) -> list[SampleRow]:
    with rig.database.read() as session:
        return list(session.scalars(select(SampleRow)))


def test_an_image_that_another_exchange_shows_stays(rig: Rig) -> None:
    admit(rig.around.intake, [exchange(name, images=[inline(png(1))]) for name in "ab"])
    assert forget(rig, Wanted(exchange_id="a")).images == 0
    assert forget(rig, Wanted(exchange_id="b")).images == 1


def test_an_empty_place_keeps_the_priority_and_nothing_else(rig: Rig) -> None:
    admit(rig.around.intake, [exchange("a", 3, labels={"tenant": "acme"})])
    (before,) = samples(rig)
    forget(rig, Wanted(exchange_id="a"))
    (after,) = samples(rig)
    assert (after.priority, after.pane_start) == (before.priority, before.pane_start)
    assert (after.labels, after.time, after.text) == ({}, after.pane_start, None)


def test_a_worker_that_is_embedding_a_forgotten_sample_stores_nothing(rig: Rig) -> None:
    admit(rig.around.intake, [exchange("a")])
    with rig.database.begin() as session:
        (claimed,) = claim_pending(session, 10, NOW, HOUR)
    forget(rig, Wanted(exchange_id="a"))
    with rig.database.begin() as session:
        record_embeddings(session, "e" * 64, [(claimed.id, b"v", b"t", b"y", None)])
        (left,) = window_samples(session, STREAM, START, START + HOUR)
        assert claim_pending(session, 10, NOW, HOUR) == []
    assert (left.z_v, left.z_t, left.encoder_digest) == (None, None, None)


def test_a_reference_is_replaced_by_one_without_the_vectors(rig: Rig) -> None:
    old = store_known_reference(rig.database, names("a", "b", "c"))
    before = small_reference().arrays
    forget(rig, Wanted(exchange_id="b"))
    with rig.database.read() as session:
        (version,) = list_references(session)
        arrays = load_arrays(session, version.digest)
        held = reference_samples(session, version.digest)
        assert active_references(session) == {"*": version.digest}
    assert version.digest != old
    assert version.digest == digest_of(arrays, version.encoder_digest)
    assert np.array_equal(arrays["z_t"], np.delete(before["z_t"], 1, axis=0))
    assert np.array_equal(arrays["z_y"], np.delete(before["z_y"], 1, axis=0))
    assert [s.position for s in held] == list(range(299))
    assert [s.exchange_id for s in held[:2]] == ["a", "c"]
    assert [s.part for s in held] == [small_reference().parts[0], *small_reference().parts[2:]]
    assert version.facts["exchanges"] == 299
    kept = {s for s in before if s.startswith("null/")}
    assert {f"null/{s}/pool" for s in Reference.load(version, arrays).nulls} == {
        name for name in kept if name.endswith("/pool")
    }


def facts_after(rig: Rig, wanted: Wanted) -> dict[str, object]:
    """Facts of the reference once this is forgotten of it."""
    labels = {"tenant": {"t0": 200, "t1": 99, "ann": 1}, "language": {"en": 300}}
    store_known_reference(rig.database, names(f"{STREAM}-0-1", ANIMAL), labels=labels)
    admit(rig.around.intake, [*traffic(60, 40), exchange(ANIMAL)])
    rig.work()
    forget(rig, wanted)
    with rig.database.read() as session:
        (version,) = list_references(session)
    return dict(version.facts)


def test_a_reference_no_longer_names_a_label_of_the_forgotten_alone(rig: Rig) -> None:
    facts = facts_after(rig, Wanted(exchange_id=ANIMAL))
    assert facts["labels"] == {
        "tenant": {"t0": 200, "t1": 99, "other": 1},
        "language": {"en": 300},
    }


def test_a_reference_no_longer_names_a_label_that_is_forgotten(rig: Rig) -> None:
    facts = facts_after(rig, Wanted(label=("tenant", "t1")))
    assert facts["labels"] == {"tenant": {"t0": 200, "other": 100}, "language": {"en": 300}}


def test_a_version_calibrated_from_a_replaced_one_names_the_new_one(rig: Rig) -> None:
    old = store_known_reference(rig.database, names("a"))
    arrays = {**small_reference().arrays, "burn_in/emi/sizes": np.arange(3)}
    digest = digest_of(arrays, small_reference().encoder_digest)
    with rig.database.begin() as session:
        (base,) = list_references(session)
        held = reference_samples(session, old)
        facts = {**base.facts, "calibrated_from": old}
        later = replace(base, digest=digest, created_at=NOW, facts=facts)
        save_reference(session, later, arrays, held)
    assert forget(rig, Wanted(exchange_id="a")).reference_exchanges == 2
    with rig.database.read() as session:
        first, second = list_references(session)
        assert load_arrays(session, second.digest)["burn_in/emi/sizes"].tolist() == [0, 1, 2]
    assert second.facts["calibrated_from"] == first.digest


def test_windows_are_measured_against_the_new_reference(rig: Rig) -> None:
    store_known_reference(rig.database, names("a"))
    forget(rig, Wanted(exchange_id="a"))
    admit(rig.around.intake, traffic(120, 40))
    rig.work()
    with rig.database.read() as session:
        (version,) = list_references(session)
    assert {m.reference for m in everything_measured(rig.database)} == {version.identity}


def test_a_reference_that_would_be_left_with_too_little_leaves_all_as_it_was(rig: Rig) -> None:
    store_known_reference(rig.database, [f"{STREAM}-0-{i % 30}" for i in range(300)])
    admit(rig.around.intake, traffic(30, 12))
    before = whole(rig.database)
    forgetter = Forgetter(rig.database, rig.settings.data_dir, Clock())
    wanted = Wanted(label=("tenant", "t1"))
    found = forgetter.find(wanted)
    crowded = replace(found, references={d: list(range(280)) for d in found.references})
    with pytest.raises(ReferenceTooSmallError, match="20 of 300 exchanges would be left"):
        forgetter.forget(wanted, crowded)
    assert whole(rig.database) == before


def test_references_that_change_meanwhile_leave_all_as_it_was(rig: Rig) -> None:
    admit(rig.around.intake, [exchange("a")])
    forgetter = Forgetter(rig.database, rig.settings.data_dir, Clock())
    found = forgetter.find(Wanted(exchange_id="a"))
    store_known_reference(rig.database, names("a"))
    with pytest.raises(StoreError, match="run the command again"):
        forgetter.forget(Wanted(exchange_id="a"), found)
    assert [s.exchange_id for s in samples(rig)] == ["a"]


def test_a_reference_without_ids_is_named(rig: Rig) -> None:
    with rig.database.begin() as session:
        identity = store_reference(session)
    forgetter = Forgetter(rig.database, rig.settings.data_dir, Clock())
    assert forgetter.find(Wanted(exchange_id="a")).unknown == (identity,)


def test_the_index_of_a_replaced_reference_is_deleted(rig: Rig) -> None:
    store_known_reference(rig.database, names("a"))
    admit(rig.around.intake, traffic(120, 40))
    rig.work()
    folder = rig.settings.data_dir / "references"
    (index,) = folder.iterdir()
    forget(rig, Wanted(exchange_id="a"))
    assert not index.exists()


def test_indexes_of_references_that_are_stored_stay(rig: Rig, tmp_path: Path) -> None:
    stored = store_known_reference(rig.database, names("a"))
    for digest in (stored, "gone"):
        (tmp_path / "references" / digest).mkdir(parents=True)
    assert forget_indexes(rig.database, tmp_path) == 1
    assert [f.name for f in (tmp_path / "references").iterdir()] == [stored]
    assert forget_indexes(rig.database, tmp_path / "nowhere") == 0


@dataclass
class Seconds:
    """A clock that is set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def shelf_of(rig: Rig, clock: Seconds) -> ReferenceShelf:
    return ReferenceShelf(
        database=rig.database,
        data_dir=rig.settings.data_dir,
        encoder_digest=None,
        clock=clock,
    )


def test_a_replaced_reference_is_in_memory_no_more_a_minute_later(rig: Rig) -> None:
    old, clock = store_known_reference(rig.database, names(ANIMAL)), Seconds()
    shelf = shelf_of(rig, clock)
    vectors = weakref.ref(shelf.get(old).made_from.z_t)
    forget(rig, Wanted(exchange_id=ANIMAL))
    with rig.database.read() as session:
        new = active_references(session)["*"]
    shelf.get(new)
    assert vectors() is not None
    clock.now += ASKED_AGAIN
    assert ANIMAL not in shelf.get(new).made_from.positions
    gc.collect()
    assert vectors() is None
    with pytest.raises(ReferenceNotFoundError):
        shelf.get(old)


def test_a_reference_that_is_still_stored_is_not_loaded_again(rig: Rig) -> None:
    digest, clock = store_known_reference(rig.database, names()), Seconds()
    shelf = shelf_of(rig, clock)
    loaded = shelf.get(digest)
    clock.now += ASKED_AGAIN
    assert shelf.get(digest) is loaded


def test_the_log_tells_counts_and_nothing_of_what_was_forgotten(rig: Rig) -> None:
    admit(rig.around.intake, [exchange(ANIMAL)])
    with structlog.testing.capture_logs() as logs:
        forget(rig, Wanted(exchange_id=ANIMAL))
    (entry,) = logs
    assert (entry["event"], entry["wanted_by"], entry["samples"]) == (
        "exchanges_forgotten",
        "id",
        1,
    )
    assert ANIMAL not in str(entry)


def test_forgetting_twice_finds_nothing_more(rig: Rig) -> None:
    store_known_reference(rig.database, names("a"))
    admit(rig.around.intake, [exchange("a")])
    forget(rig, Wanted(exchange_id="a"))
    assert forget(rig, Wanted(exchange_id="a")) == Forgotten(0, 0, 0, 0, 0, 0)


def test_no_bytes_of_it_are_left_in_the_file_of_an_embedded_database(
    migrated_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "monitor.db"
    path.write_bytes(migrated_file.read_bytes())
    with open_database(f"sqlite:///{path}") as database:
        rig = Rig(small_settings(tmp_path), database)
        seen = [exchange(f"{ANIMAL}{i}", i / 10, labels={"of": ANIMAL}) for i in range(60)]
        admit(rig.around.intake, [*traffic(30, 12), *seen])
        rig.work()
        forget(rig, Wanted(label=("of", ANIMAL)))
    found = [file.name for file in tmp_path.iterdir() if file.is_file()]
    assert found == ["monitor.db"]
    assert path.read_bytes().count(ANIMAL.encode()) == 0
