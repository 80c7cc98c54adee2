import dataclasses
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select
from torch import Tensor

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import DecodedImage, ImageLimits
from monitor.records import Sample
from monitor.service.embed_job import LEASE, EmbedJob
from monitor.service.embedding import Embedder, average_images
from monitor.service.telemetry import Telemetry
from monitor.service.wiring import forget_leftovers
from monitor.store.engine import Database
from monitor.store.pending import pending_count
from monitor.store.samples import window_samples
from monitor.store.streams import advance_watermarks
from monitor.store.tables import ImageRow
from tests.fakes import HashEncoder
from tests.integration.service.parts import (
    HOUR,
    NOW,
    PANE,
    START,
    STREAM,
    Clock,
    admit,
    at,
    exchange,
    hash_encoders,
    inline,
    late_target,
    make_intake,
    png,
)


class CountingEncoder(HashEncoder):
    """Notes what it was asked to embed."""

    def __init__(self, salt: str) -> None:
        super().__init__(16, salt)
        self.seen: list[str | DecodedImage] = []

    def encode(self, inputs: Iterable[str | DecodedImage]) -> Tensor:
        drawn = list(inputs)
        self.seen += drawn
        return super().encode(drawn)


def embed_job(
    database: Database,
    encoders: EncoderPair | None = None,
    *,
    clock: Callable[[], datetime] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    with_thumbnails: bool = False,
) -> EmbedJob:
    return EmbedJob(
        database=database,
        clock=clock or Clock(),
        pane=PANE,
        embedder=Embedder(
            encoders or hash_encoders(), ImageLimits(), with_thumbnails=with_thumbnails
        ),
        telemetry=Telemetry(CollectorRegistry()),
        should_stop=should_stop,
    )


def close(database: Database, to: datetime = NOW) -> None:
    with database.begin() as session:
        advance_watermarks(session, {STREAM: to})


def samples(database: Database) -> dict[str, Sample]:
    with database.read() as session:
        found = window_samples(session, STREAM, START - HOUR, START + 24 * HOUR)
    return {sample.exchange_id: sample for sample in found}


def vector(z: bytes | None) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    assert z is not None
    return np.frombuffer(z, "<f2").astype(np.float32)


def test_each_sample_gets_the_vectors_of_its_texts_and_its_image(database: Database) -> None:
    admit(make_intake(database), [exchange("a", images=[inline(png(1))], target="y")])
    close(database)
    embed_job(database)()
    sample, encoders = samples(database)["a"], hash_encoders()
    embedder = Embedder(encoders, ImageLimits(), with_thumbnails=False)
    texts = embedder.texts(["What is unusual in a?", "A man irons a.", "y"])
    (image,) = embedder.images({"": png(1)})
    assert [sample.z_t, sample.z_y, sample.z_target] == list(texts.values())
    assert sample.z_v == image.z
    assert sample.encoder_digest == encoders.digest


def test_vectors_have_unit_norm_up_to_the_rounding_of_float16(database: Database) -> None:
    admit(make_intake(database), [exchange("a", images=[inline(png(1))])])
    close(database)
    embed_job(database)()
    sample = samples(database)["a"]
    norms = [np.linalg.norm(vector(z)) for z in (sample.z_v, sample.z_t, sample.z_y)]
    assert norms == pytest.approx([1.0] * 3, abs=2**-11 * 4)


def test_the_same_image_is_embedded_once_however_many_show_it(database: Database) -> None:
    visual = CountingEncoder("v")
    encoders = dataclasses.replace(hash_encoders(), visual=visual)
    intake = make_intake(database)
    shown = [inline(png(1))]
    admit(intake, [exchange(f"e{i}", i / 10, images=shown) for i in range(9)])
    close(database)
    embed_job(database, encoders)()
    admit(intake, [exchange("later", 100, images=shown)])
    embed_job(database, encoders)()
    assert len(visual.seen) == 1
    assert len({sample.z_v for sample in samples(database).values()}) == 1


def test_images_that_decode_alike_but_differ_as_files_are_two(database: Database) -> None:
    visual = CountingEncoder("v")
    padded = png(1) + b"\0"
    images = [[inline(png(1))], [inline(padded)]]
    admit(make_intake(database), [exchange(f"e{i}", images=im) for i, im in enumerate(images)])
    close(database)
    embed_job(database, dataclasses.replace(hash_encoders(), visual=visual))()
    assert len(visual.seen) == 2


def test_a_text_is_embedded_once_in_a_batch(database: Database) -> None:
    textual = CountingEncoder("t")
    lines = [exchange(f"e{i}", query={"text": "same?"}, response="same") for i in range(9)]
    admit(make_intake(database), lines)
    close(database)
    embed_job(database, dataclasses.replace(hash_encoders(), textual=textual))()
    assert sorted(map(str, textual.seen)) == ["same", "same?"]


def test_an_image_that_cannot_be_decoded_is_rejected_wherever_it_is_shown(
    database: Database,
) -> None:
    bad = [inline(b"\x89PNG\r\n\x1a\n and then nothing")]
    intake = make_intake(database)
    admit(intake, [exchange("a", images=bad), exchange("b", images=[*bad, inline(png(1))])])
    close(database)
    embed_job(database)()
    admit(intake, [exchange("c", 100, images=bad)])
    states = {name: [s.value for s in x.image_states] for name, x in samples(database).items()}
    assert states == {"a": ["rejected"], "b": ["rejected", "inline"], "c": ["rejected"]}


def test_without_a_single_good_image_a_sample_is_embedded_by_its_texts(
    database: Database,
) -> None:
    admit(make_intake(database), [exchange("a", images=[inline(b"nonsense")])])
    close(database)
    embed_job(database)()
    sample = samples(database)["a"]
    assert (sample.z_v, sample.z_t is None) == (None, False)


def test_several_images_are_averaged(database: Database) -> None:
    admit(make_intake(database), [exchange("a", images=[inline(png(1)), inline(png(2))])])
    close(database)
    embed_job(database)()
    embedder = Embedder(hash_encoders(), ImageLimits(), with_thumbnails=False)
    vectors = embedder.images({"1": png(1), "2": png(2)})
    assert samples(database)["a"].z_v == average_images(v.z for v in vectors)


def test_the_average_of_images_has_unit_norm_and_none_has_none() -> None:
    one, other = (np.eye(4)[i].astype("<f2").tobytes() for i in (0, 1))
    mean = average_images([one, None, other])
    assert vector(mean) == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0], abs=1e-3)
    assert average_images([None]) is None


# --- when


def test_panes_that_are_open_wait(database: Database) -> None:
    admit(make_intake(database), [exchange("closed", 4.9), exchange("open", 5)])
    close(database, at(9.9))
    embed_job(database)()
    done = {name: sample.z_t is not None for name, sample in samples(database).items()}
    assert done == {"closed": True, "open": False}


def test_a_pane_is_closed_when_the_watermark_is_at_its_end(database: Database) -> None:
    admit(make_intake(database), [exchange("a", 4.9)])
    close(database, at(5))
    embed_job(database)()
    assert samples(database)["a"].z_t is not None


def test_a_batch_that_failed_is_taken_up_when_its_lease_ends(database: Database) -> None:
    class Breaks(HashEncoder):
        def encode(self, inputs: Iterable[str | DecodedImage]) -> Tensor:
            raise RuntimeError("out of memory")

    admit(make_intake(database), [exchange("a")])
    close(database)
    clock = Clock()
    embed_job(database, dataclasses.replace(hash_encoders(), textual=Breaks()), clock=clock)()
    embed_job(database, clock=clock)()
    before = samples(database)["a"].z_t
    clock.now += LEASE
    embed_job(database, clock=clock)()
    assert (before, samples(database)["a"].z_t is None) == (None, False)


def test_a_process_that_holds_the_database_alone_takes_up_claims_at_once(
    database: Database,
) -> None:
    admit(make_intake(database), [exchange("a")])
    close(database)

    class Dies(HashEncoder):
        def encode(self, inputs: Iterable[str | DecodedImage]) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_job(database, dataclasses.replace(hash_encoders(), textual=Dies()))()
    forget_leftovers(database, hash_encoders())
    embed_job(database)()
    assert (samples(database)["a"].z_t is not None) == database.is_embedded


class StumblingEncoder(HashEncoder):
    """Cannot embed one text."""

    def encode(self, inputs: Iterable[str | DecodedImage]) -> Tensor:
        texts = list(inputs)
        if "trap" in texts:
            raise RuntimeError("out of its depth")
        return super().encode(texts)


def test_a_sample_that_an_encoder_stumbles_over_takes_no_other_with_it(
    database: Database,
) -> None:
    intake = make_intake(database)
    texts = ["trap" if i == 3 else f"text {i}" for i in range(8)]
    admit(intake, [exchange(f"e{i}", i, query={"text": text}) for i, text in enumerate(texts)])
    close(database)
    encoders = dataclasses.replace(hash_encoders(), textual=StumblingEncoder(16, "t"))
    embed_job(database, encoders)()
    embedded = {key for key, sample in samples(database).items() if sample.z_t is not None}
    assert embedded == {f"e{i}" for i in range(8)} - {"e3"}
    with database.read() as session:
        assert pending_count(session) == 1


def test_opposite_images_of_one_query_still_give_a_direction() -> None:
    z = np.zeros(4, dtype="<f2")
    z[0] = 1
    assert average_images([z.tobytes(), (-z).tobytes()]) == z.tobytes()


def test_told_to_stop_it_ends_after_the_batch_at_hand(database: Database) -> None:
    admit(make_intake(database), [exchange(f"e{i}", i / 100) for i in range(100)])
    close(database)
    answers = iter([False, True])
    embed_job(database, should_stop=lambda: next(answers))()
    with database.read() as session:
        assert pending_count(session) == 100 - 64


def test_a_target_that_comes_later_is_embedded_beside_the_rest(database: Database) -> None:
    intake = make_intake(database)
    admit(intake, [exchange("a")])
    close(database)
    embed_job(database)()
    before = samples(database)["a"]
    admit(intake, [late_target("a", "A taxi.")])
    embed_job(database)()
    after = samples(database)["a"]
    assert (after.z_t, after.z_y, after.z_v) == (before.z_t, before.z_y, before.z_v)
    assert (before.z_target, after.z_target is None) == (None, False)


def test_image_vectors_of_other_encoders_are_not_taken_for_this_ones(database: Database) -> None:
    shown = [inline(png(1))]
    intake = make_intake(database)
    admit(intake, [exchange("old", images=shown)])
    close(database)
    embed_job(database, hash_encoders("before"))()
    forget_leftovers(database, hash_encoders())
    admit(intake, [exchange("new", 100, images=shown)])
    embed_job(database)()
    (expected,) = Embedder(hash_encoders(), ImageLimits(), with_thumbnails=False).images(
        {"": png(1)}
    )
    assert samples(database)["new"].z_v == expected.z


@pytest.mark.parametrize("keeps", [True, False])
def test_files_are_dropped_once_embedded_and_thumbnails_kept_only_where_wanted(
    database: Database,
    keeps: bool,  # noqa: FBT001 - parametrized
) -> None:
    admit(make_intake(database), [exchange("a", images=[inline(png(1, side=600))])])
    close(database, NOW + timedelta(hours=1))
    embed_job(database, with_thumbnails=keeps)()
    with database.read() as session:
        (row,) = session.scalars(select(ImageRow))
        assert (row.payload, row.thumbnail is not None) == (None, keeps)
