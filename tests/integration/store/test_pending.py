from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from monitor.records import ImageState, PendingImage, PendingSample, Sample
from monitor.store.engine import Database
from monitor.store.panes import pane_states
from monitor.store.pending import (
    MAX_ATTEMPTS,
    claim_pending,
    forget_other_encoders,
    pending_count,
    pending_in_window,
    record_embeddings,
    record_image_vectors,
    record_novelty,
    release_claims,
)
from monitor.store.retention import forget_content
from monitor.store.samples import window_samples
from monitor.store.tables import ImageRow
from monitor.store.targets import set_target
from tests.integration.store.builders import (
    DIGEST,
    HOUR,
    MINUTE,
    NOW,
    STREAM,
    candidate,
    embed,
    image,
    keep,
    pane,
)
from tests.integration.store.plans import statements_of, steps_of


def claim(session: Session, limit: int = 100, after: int = 0) -> list[PendingSample]:
    return claim_pending(session, limit, NOW + after * MINUTE, 10 * MINUTE)


def only_sample(session: Session) -> Sample:
    (sample,) = window_samples(session, STREAM, pane(0), pane(1))
    return sample


def test_a_claimed_sample_comes_with_all_there_is_to_embed(session: Session) -> None:
    keep(session, candidate("a", 1, images=[image("h", b"1"), image("k", b"2")], target="A taxi."))
    (claimed,) = claim(session)
    assert (claimed.text, claimed.response) == ("What is unusual?", "A man irons.")
    assert claimed.target == "A taxi."
    assert claimed.images == (PendingImage("h", b"1", None), PendingImage("k", b"2", None))


def test_samples_are_claimed_oldest_pane_first_and_once(session: Session) -> None:
    keep(session, *(candidate(f"e{n}", n, in_pane=5 - n, text=f"{n}") for n in range(5)))
    batches = [[s.text for s in claim(session, limit=2)] for _ in range(4)]
    assert batches == [["4", "3"], ["2", "1"], ["0"], []]


def test_a_claim_stays_within_its_bytes_and_takes_one_sample_at_least(session: Session) -> None:
    files = [image("a", b"1" * 60), image("b", b"2" * 50), image("c", b"3" * 150)]
    keep(session, *(candidate(f"e{n}", n, in_pane=n, images=[f]) for n, f in enumerate(files)))
    keep(session, candidate("words", 3, in_pane=3, text="words"))
    batches = [claim_pending(session, 10, NOW, HOUR, max_bytes=110) for _ in range(4)]
    shown = [[[i.content_hash for i in s.images] for s in batch] for batch in batches]
    assert shown == [[["a"], ["b"]], [["c"]], [[]], []]


def test_files_that_are_embedded_already_count_nothing_in_a_claim(session: Session) -> None:
    keep(session, candidate("e0", 0, images=[image("a", b"1" * 200)]))
    claim(session)
    record_image_vectors(session, DIGEST, [("a", b"z", None, None)])
    keep(session, *(candidate(f"f{n}", n, images=[image("a", b"1" * 200)]) for n in range(3)))
    assert len(claim_pending(session, 10, NOW, HOUR, max_bytes=1)) == 3


def test_a_claim_that_ran_out_is_claimed_again(session: Session) -> None:
    keep(session, candidate("a", 1))
    found = [len(claim(session, after=minutes)) for minutes in (0, 9, 10)]
    assert found == [1, 0, 1]


def test_released_claims_can_be_claimed_at_once(session: Session) -> None:
    keep(session, candidate("a", 1), candidate("b", 2))
    claim(session, limit=1)
    assert release_claims(session) == 1
    assert len(claim(session)) == 2


def test_a_sample_is_not_tried_for_ever(session: Session) -> None:
    keep(session, candidate("a", 1))
    tries = [len(claim(session, after=10 * n)) for n in range(MAX_ATTEMPTS + 1)]
    assert tries == [1] * MAX_ATTEMPTS + [0]
    assert pending_count(session) == 0


def test_only_panes_before_the_watermark_of_their_stream_are_claimed(session: Session) -> None:
    keep(
        session,
        *(candidate(f"e{n}", n, in_pane=n, text=f"{n}") for n in range(3)),
        candidate("b", 2, stream="other"),
    )
    closed = claim_pending(session, 10, NOW, HOUR, closed_only={STREAM: pane(2)})
    assert [s.text for s in closed] == ["0", "1"]
    assert claim_pending(session, 10, NOW, HOUR, closed_only={}) == []


def test_a_stream_that_is_behind_holds_no_other_back(session: Session) -> None:
    for stream in (STREAM, "other"):
        keep(
            session,
            *(
                candidate(f"e{n}", n, in_pane=n, stream=stream, text=f"{stream} {n}")
                for n in range(4)
            ),
        )
    marks = {STREAM: pane(1), "other": pane(3)}
    closed = claim_pending(session, 10, NOW, HOUR, closed_only=marks)
    assert sorted(s.text for s in closed) == [f"{STREAM} 0", "other 0", "other 1", "other 2"]


def test_vectors_come_back_and_end_the_wait(session: Session) -> None:
    keep(session, candidate("a", 1))
    (claimed,) = claim(session)
    record_embeddings(session, DIGEST, [(claimed.id, b"v", b"t", b"y", None)])
    sample = only_sample(session)
    assert (sample.z_v, sample.z_t, sample.z_y, sample.z_target) == (b"v", b"t", b"y", None)
    assert (sample.encoder_digest, pending_count(session)) == (DIGEST, 0)


def test_new_vectors_are_a_change_of_their_pane(session: Session) -> None:
    keep(session, candidate("other", 3, in_pane=1))
    embed(session)
    keep(session, candidate("a", 1), candidate("b", 2))
    embed(session)
    assert [s.revision for s in pane_states(session, STREAM, pane(0), pane(2))] == [2, 2]


def test_novelty_is_that_of_each_sample(session: Session) -> None:
    keep(session, *(candidate(f"e{n}", n, text=f"{n}") for n in range(3)))
    ids = {s.text: s.id for s in claim(session)}
    record_novelty(session, "r", [(ids["0"], 0.1, None), (ids["2"], None, 0.3)])
    samples = window_samples(session, STREAM, pane(0), pane(1))
    assert [(s.novelty_v, s.novelty_t, s.novelty_reference) for s in samples] == [
        (0.1, None, "r"),
        (None, None, None),
        (None, 0.3, "r"),
    ]


def test_vectors_of_a_displaced_sample_are_dropped(session: Session) -> None:
    keep(session, candidate("b", 2), per_pane=1)
    (claimed,) = claim(session)
    keep(session, candidate("a", 1), per_pane=1)
    record_embeddings(session, DIGEST, [(claimed.id, b"v", b"t", b"y", None)])
    record_novelty(session, "r", [(claimed.id, 0.5, 0.5)])
    assert (only_sample(session).exchange_id, only_sample(session).z_v) == ("a", None)


def test_a_target_that_comes_during_the_embedding_is_embedded_after_it(session: Session) -> None:
    keep(session, candidate("a", 1))
    (claimed,) = claim(session)
    set_target(session, STREAM, "a", "A taxi.", NOW)
    assert claim(session, after=1) == []
    record_embeddings(session, DIGEST, [(claimed.id, b"v", b"t", b"y", None)])
    (again,) = claim(session, after=1)
    assert again.target == "A taxi."
    record_embeddings(session, DIGEST, [(claimed.id, b"v", b"t", b"y", b"T")])
    assert (only_sample(session).z_target, pending_count(session)) == (b"T", 0)


def test_a_late_target_does_not_cost_vectors_whose_text_is_gone(session: Session) -> None:
    keep(session, candidate("a", 1, text="What?"))
    embed(session)
    forget_content(session, NOW + MINUTE)
    set_target(session, STREAM, "a", "A taxi.", NOW)
    (claimed,) = claim(session)
    assert (claimed.text, claimed.response, claimed.target) == ("", "", "A taxi.")
    record_embeddings(session, DIGEST, [(claimed.id, b"v", b"", b"", b"T")])
    sample = only_sample(session)
    assert (sample.z_t, sample.z_y, sample.z_target) == (b"What?", b"A man irons.", b"T")


def test_an_embedded_image_comes_with_its_vector_and_without_its_file(session: Session) -> None:
    keep(session, candidate("a", 1, images=[image("h")]))
    record_image_vectors(session, DIGEST, [("h", b"z", b"small", None)])
    keep(session, candidate("b", 2, images=[image("h")]))
    assert [s.images for s in claim(session)] == [(PendingImage("h", None, b"z"),)] * 2
    assert session.scalar(select(ImageRow.thumbnail)) == b"small"


def test_a_refused_image_is_rejected_in_samples_before_and_after(session: Session) -> None:
    keep(session, candidate("a", 1, images=[image("ok"), image("bomb")]))
    record_image_vectors(session, DIGEST, [("bomb", None, None, "too_large")])
    keep(session, candidate("b", 2, images=[image("bomb")]))
    samples = window_samples(session, STREAM, pane(0), pane(1))
    assert [s.image_states for s in samples] == [
        (ImageState.INLINE, ImageState.REJECTED),
        (ImageState.REJECTED,),
    ]
    assert session.scalar(select(ImageRow.payload).filter_by(content_hash="bomb")) is None


def test_vectors_of_an_image_that_is_gone_are_dropped(session: Session) -> None:
    record_image_vectors(session, DIGEST, [("gone", b"z", None, None)])
    record_image_vectors(session, DIGEST, [])
    assert session.scalar(select(ImageRow)) is None


def test_image_vectors_of_another_encoder_are_not_used(session: Session) -> None:
    keep(session, candidate("a", 1, images=[image("h"), image("k")]))
    record_image_vectors(session, "old", [("h", b"z", None, None)])
    record_image_vectors(session, DIGEST, [("k", b"z", None, None)])
    assert forget_other_encoders(session, DIGEST) == 1
    keep(session, candidate("b", 2, images=[image("h", b"again")]))
    (images,) = {s.images for s in claim(session) if len(s.images) == 1}
    assert images == (PendingImage("h", b"again", None),)


def test_samples_still_to_be_tried_are_counted_by_window(session: Session) -> None:
    keep(session, *(candidate(f"e{n}", n, in_pane=n) for n in range(4)))
    keep(session, candidate("b", 1, stream="other"))
    claim(session, limit=1)
    assert pending_in_window(session, STREAM, pane(0), pane(3)) == 3
    assert pending_count(session) == 5
    embed(session, NOW + HOUR)
    assert pending_in_window(session, STREAM, pane(0), pane(3)) == 0


def test_novelty_comes_back_and_is_no_change_of_the_pane(session: Session) -> None:
    keep(session, candidate("a", 1))
    before = pane_states(session, STREAM, pane(0), pane(1))
    record_novelty(session, "r", [(only_sample(session).id, 0.1, None)])
    record_novelty(session, "r", [])
    sample = only_sample(session)
    assert (sample.novelty_v, sample.novelty_t, sample.novelty_reference) == (0.1, None, "r")
    assert pane_states(session, STREAM, pane(0), pane(1)) == before


def test_workers_that_claim_at_once_never_get_the_same_sample(database: Database) -> None:
    def work(_: int) -> list[int]:
        with database.begin() as session:
            return [s.id for s in claim(session, limit=9)]

    with database.begin() as session:
        keep(session, *(candidate(f"e{n}", n, in_pane=n % 4) for n in range(100)))
    with ThreadPoolExecutor(4) as threads:
        claimed = [i for ids in threads.map(work, range(16)) for i in ids]
    assert len(claimed) == len(set(claimed)) == 100


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_samples_of_closed_panes_are_looked_for_among_the_pending_alone(session: Session) -> None:
    closed = {f"stream {n}": pane(n // 2) for n in range(6)}
    steps = steps_of(session, lambda: claim_pending(session, 9, NOW, HOUR, closed))
    assert steps[0] == "SEARCH samples USING INDEX ix_samples_pending (pane_start<?)"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_streams_that_are_closed_until_one_moment_are_one_condition(session: Session) -> None:
    def conditions(streams: int) -> int:
        closed = {f"stream {n}": pane(2) for n in range(streams)}
        ((claim, _), *_) = statements_of(
            session, lambda: claim_pending(session, 9, NOW, HOUR, closed)
        )
        return claim.count("WHEN")

    assert conditions(200) == conditions(2) == 1


def test_the_pending_are_found_by_their_own_index(database: Database) -> None:
    with database.begin() as session:
        keep(session, *(candidate(f"e{n}", n, in_pane=n) for n in range(200)))
        embed(session)
        keep(session, candidate("late", 1, in_pane=300))
        query = (
            "SELECT id FROM samples WHERE encoder_digest IS NULL ORDER BY pane_start, stream, id"
        )
        explain = "EXPLAIN QUERY PLAN" if database.is_embedded else "EXPLAIN"
        session.execute(text("ANALYZE samples"))
        plan = str(session.execute(text(f"{explain} {query} LIMIT 5")).all())
    assert "ix_samples_pending" in plan
