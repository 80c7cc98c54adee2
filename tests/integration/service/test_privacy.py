"""What is kept of traffic, from a line of a log to the database."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text

from monitor.encoders.images import ImageLimits
from monitor.service.embedding import Embedder, ImageFiles
from monitor.service.privacy import BUILTIN, Privacy, Redactor
from monitor.service.reference_build import Embedding, LogReader, samples_of
from monitor.service.reference_build import select as choose
from monitor.store.engine import Database
from monitor.store.tables import Base, ImageRow, SampleRow
from tests.integration.service.parts import (
    Clock,
    Rig,
    admit,
    exchange,
    file_feed,
    hash_encoders,
    inline,
    late_target,
    make_intake,
    png,
    small_reference,
    small_settings,
    traffic,
)

MAIL = "ann@example.com"
REDACTS = Privacy(Redactor(builtin=tuple(BUILTIN)))


def told(name: str, minutes: float = 0) -> bytes:
    """An exchange that has an address wherever a client may write one."""
    return exchange(
        name,
        minutes,
        query={"text": f"Who is {MAIL}?"},
        response=f"{MAIL} is Ann.",
        target=MAIL,
        labels={"user": MAIL, "tenant": "acme"},
    )


def whole(database: Database) -> str:
    """Everything that the database holds, as text."""
    with database.read() as session:
        return "\n".join(
            str(row)
            for table in Base.metadata.tables
            for row in session.execute(text(f'SELECT * FROM "{table}"')).all()  # noqa: S608 - names of our own tables
        )


def samples(database: Database) -> list[SampleRow]:
    with database.read() as session:
        return list(session.scalars(select(SampleRow).order_by(SampleRow.exchange_id)))


def test_nothing_that_is_redacted_reaches_any_table(database: Database) -> None:
    intake = make_intake(database, privacy=REDACTS)
    bad = json.dumps({"id": "c", "time": "never", "query": {"text": MAIL}}).encode() + b"\n"
    admit(intake, [told("a"), told("b"), bad, late_target("a", MAIL), late_target("z", MAIL)])
    assert MAIL not in whole(database)
    assert whole(database).count("[redacted:email]") == 2 * 4 + 2


def test_without_redaction_everything_is_stored_as_it_came(database: Database) -> None:
    admit(make_intake(database), [told("a")])
    (sample,) = samples(database)
    assert (sample.text, sample.target) == (f"Who is {MAIL}?", MAIL)
    assert sample.labels.items() >= {"user": MAIL, "tenant": "acme"}.items()


def rig(database: Database, folder: Path, **privacy: object) -> Rig:
    return Rig(small_settings(folder, privacy=privacy), database)


def test_a_redacted_text_is_embedded_as_it_is_stored(database: Database, tmp_path: Path) -> None:
    rigged = rig(database, tmp_path, redact=["email"])
    admit(rigged.around.intake, [told("a"), *traffic(30, 12)])
    rigged.work()
    sample = samples(database)[0]
    embedder = Embedder(hash_encoders(), ImageLimits(), with_thumbnails=False)
    assert sample.z_t == embedder.texts(["Who is [redacted:email]?"])["Who is [redacted:email]?"]


def test_a_reference_is_built_from_redacted_texts(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    log.write_bytes(told("a"))
    reader = LogReader(lambda: file_feed(log, follow=False), None, Clock())
    chosen = choose(reader, seed=0, at_most=9, report=lambda *_: None)
    embedder = Embedder(hash_encoders(), ImageLimits(), with_thumbnails=False)
    embedding = Embedding(embedder, ImageFiles(None, ImageLimits()), REDACTS)
    (row,) = embedding.rows(reader, chosen, lambda *_: None)
    text_as_stored = "Who is [redacted:email]?"
    assert (row.exchange.text, row.exchange.target) == (text_as_stored, "[redacted:email]")
    assert row.z_t == embedder.texts([text_as_stored])[text_as_stored]
    built = replace(small_reference(), parts=("density",))
    (sample,) = samples_of([row], built, content={"response"})
    assert (sample.text, sample.response) == (None, "[redacted:email] is Ann.")


@pytest.mark.parametrize("kept", [{"text"}, {"text", "response"}, {"target"}, set[str]()])
def test_content_that_is_not_kept_is_gone_once_it_is_embedded(
    database: Database, tmp_path: Path, kept: set[str]
) -> None:
    rigged = rig(database, tmp_path, keep=[*kept, "labels.tenant"])
    admit(rigged.around.intake, [told("a"), *traffic(30, 12)])
    rigged.work()
    sample = samples(database)[0]
    content = {name for name in ("text", "response", "target") if getattr(sample, name) is not None}
    assert content == kept
    assert sample.has_target
    assert None not in (sample.z_t, sample.z_y, sample.z_target)
    assert sample.labels == {"tenant": "acme"}


def test_a_target_that_comes_when_the_texts_are_gone_changes_no_other_vector(
    database: Database, tmp_path: Path
) -> None:
    rigged = rig(database, tmp_path, keep=[])
    admit(rigged.around.intake, [exchange("a"), *traffic(30, 12)])
    rigged.work()
    before = samples(database)[0]
    admit(rigged.around.intake, [late_target("a")])
    rigged.jobs.embed()
    after = samples(database)[0]
    assert (after.z_t, after.z_y) == (before.z_t, before.z_y)
    assert after.z_target is not None
    assert after.target is None


@pytest.mark.parametrize(("keep", "has_thumbnail"), [(["text"], False), (["thumbnails"], True)])
def test_thumbnails_are_made_only_where_they_are_kept(
    database: Database,
    tmp_path: Path,
    keep: list[str],
    has_thumbnail: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    rigged = rig(database, tmp_path, keep=keep)
    admit(rigged.around.intake, [exchange("a", images=[inline(png(1))]), *traffic(5, 12)])
    rigged.work()
    with database.read() as session:
        thumbnails = session.scalars(select(ImageRow.thumbnail)).all()
    assert {t is not None for t in thumbnails} == {has_thumbnail}
