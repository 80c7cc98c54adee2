"""Cases of simulated traffic with a known answer: one tenant's images blurred, one new topic."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.encoders.builtin import builtin_encoders
from monitor.errors import BusyError, WindowNotFoundError
from monitor.records import (
    ALL,
    Exchange,
    Modality,
    ReferenceSample,
    ReferenceVersion,
    Signal,
    WindowId,
)
from monitor.reference.build import BuiltReference, build
from monitor.service.case import Case
from monitor.service.dissection import alpha_of
from monitor.service.exhibits import SHOWN_CHARS
from monitor.service.investigation import PLACES, CaseWish, Investigator
from monitor.service.wiring import make_investigator, make_jobs
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.store.engine import Database, open_database
from monitor.store.references import activate, save_reference
from monitor.store.retention import forget_content, forget_samples
from tests import recorded
from tests.integration.service.parts import MINUTE, NOW, START, Rig, admit, at, small_settings

COUNT = 150
CALM, BLURRED, TOPIC, LATER = (WindowId(at(20 * i), at(20 * i + 15)) for i in range(4))
MIX = Mix(per_minute=COUNT / 14.9)
STREAM = MIX.stream
BLUR = Drift(DriftKind.BLUR, severity=5, labels={"tenant": "globex"})
HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e" + "x" * 10_000


def invoices(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """A fifth of them asks about something that nobody asked about before."""
    return [
        replace(
            e,
            text=f"Please transcribe the invoice number {i} and the total of this receipt. "
            + (HOSTILE if i == 0 else ""),
            labels={**e.labels, "tenant": "initech"},
        )
        if i % 5 == 0
        else e
        for i, e in enumerate(exchanges)
    ]


@pytest.fixture(scope="module")
def built() -> BuiltReference:
    return build(
        recorded.simulated(400, seed=1),
        name="normal",
        encoder_digest=builtin_encoders().digest,
        smallest_window=20,
        null_draws=60,
    )


@pytest.fixture(scope="module")
def origin(
    migrated_file: Path, tmp_path_factory: pytest.TempPathFactory, built: BuiltReference
) -> Path:
    """A database in which four windows were measured: calm, blurred, with a new topic, blurred."""
    folder = tmp_path_factory.mktemp("investigated")
    shutil.copy(migrated_file, folder / "monitor.db")
    with open_database(f"sqlite:///{folder / 'monitor.db'}") as database:
        rig = rig_in(folder, database)
        facts = {
            **built.facts,
            "exchanges": 400,
            "labels": {"tenant": {"acme": 300, "globex": 100}},
        }
        version = ReferenceVersion(built.digest, "normal", START, built.encoder_digest, facts)
        shown = [
            ReferenceSample(i, f"known-{i}", part, f"Known question {i}?", "Known answer.")
            for i, part in enumerate(built.parts)
        ]
        with database.begin() as session:
            save_reference(session, version, built.arrays, shown)
            activate(session, built.digest, "*", START)
        for i, (window, drifts) in enumerate(
            [(CALM, []), (BLURRED, [BLUR]), (TOPIC, []), (LATER, [BLUR])]
        ):
            exchanges = list(
                simulate(10 + i, start=window.start, count=COUNT, drifts=drifts, mix=MIX)
            )
            exchanges = invoices(exchanges) if window is TOPIC else exchanges
            admit(rig.around.intake, [as_native_line(e) for e in exchanges])
        rig.work()
    return folder


def rig_in(folder: Path, database: Database) -> Rig:
    settings = small_settings(
        folder,
        sampling={"per_pane": 100},
        slices={"labels": ["tenant"]},
    )
    rig = Rig(settings, database)
    rig.jobs = make_jobs(settings, rig.around, builtin_encoders(), [], follows_clock=True)
    return rig


@pytest.fixture(scope="module")
def investigator(origin: Path) -> Iterator[Investigator]:
    with open_database(f"sqlite:///{origin / 'monitor.db'}") as database:
        yield make_investigator(rig_in(origin, database).settings, database, lambda: NOW)


@pytest.fixture
def changeable(origin: Path, tmp_path: Path) -> Iterator[Investigator]:
    """A copy of everything, to be changed."""
    shutil.copytree(origin, tmp_path / "copy")
    with open_database(f"sqlite:///{tmp_path / 'copy' / 'monitor.db'}") as database:
        settings = rig_in(tmp_path / "copy", database).settings
        yield make_investigator(settings, database, lambda: NOW)


@pytest.fixture(scope="module")
def blurred(investigator: Investigator) -> Case:
    return investigator.case(CaseWish(STREAM, BLURRED.end))


@pytest.fixture(scope="module")
def topic(investigator: Investigator) -> Case:
    return investigator.case(CaseWish(STREAM, TOPIC.end, signal=Signal.TEXTUAL_DISCREPANCY))


def test_the_tenant_whose_images_are_blurred_is_first_with_most_of_the_excess(
    blurred: Case,
) -> None:
    first = blurred.slices[0]
    assert (first.slice_key, blurred.leading) == ("tenant=globex", Signal.VISUAL_DISCREPANCY)
    assert first.part is not None
    assert first.part > 0.6
    assert first.portion < 0.4


def test_the_verdict_names_the_images_and_the_tenant_and_leaves_texts_alone(blurred: Case) -> None:
    words = " ".join(blurred.verdict)
    assert "the images look different" in words
    assert "The texts and responses do not." in words
    assert "comes from tenant=globex" in words


def test_the_exchanges_that_are_ranked_first_are_those_that_were_blurred(blurred: Case) -> None:
    tenants = [e.labels["tenant"] for e in blurred.exchanges]
    assert len(tenants) == 20
    assert tenants.count("globex") >= 18
    shares = [e.share for e in blurred.exchanges]
    assert shares == sorted(shares, reverse=True)


def test_an_exchange_is_shown_with_its_content_and_what_is_near_in_the_reference(
    blurred: Case,
) -> None:
    first = blurred.exchanges[0]
    assert first.text
    assert first.response
    assert first.images[0].content_hash is not None
    near = first.neighbours[Modality.VISUAL]
    assert [n.distance for n in near] == sorted(n.distance for n in near)
    assert near[0].text == f"Known question {near[0].position}?"
    assert near[0].exchange_id == f"known-{near[0].position}"


def test_the_map_shows_both_sides_and_every_ranked_exchange(blurred: Case) -> None:
    assert blurred.map is not None
    assert blurred.map.modality is Modality.VISUAL
    kinds = {
        kind: [p for p in blurred.map.points if p.kind == kind] for kind in ("reference", "window")
    }
    assert {p.sample_id for p in kinds["window"]} >= {e.sample_id for e in blurred.exchanges}
    assert all(p.position is not None and p.share is None for p in kinds["reference"])
    assert max(len(points) for points in kinds.values()) <= 400


def test_a_topic_that_nobody_asked_about_is_a_group_with_its_words(topic: Case) -> None:
    words = [set(cluster.words) for cluster in topic.clusters]
    (found,) = [i for i, said in enumerate(words) if {"invoice", "receipt"} <= said]
    assert topic.clusters[found].part > 0.3
    ids = {e.sample_id for e in topic.exchanges if "invoice" in (e.text or "")}
    assert ids & set(topic.clusters[found].examples)


def test_long_texts_of_strangers_are_cut(topic: Case) -> None:
    texts = [e.text for e in topic.exchanges if e.text]
    assert max(len(text) for text in texts) <= SHOWN_CHARS + 2


def test_labels_shift_against_what_the_reference_remembers(blurred: Case) -> None:
    tenant = next(s for s in blurred.shifts if s.label == "tenant")
    normally = {row.value: row.share_base for row in tenant.rows}
    assert normally == {"acme": 0.75, "globex": 0.25, "initech": 0.0}
    assert tenant.distance is not None
    assert tenant.distance > 0.1


def test_the_newest_window_is_taken_unless_another_is_asked_for(investigator: Investigator) -> None:
    newest = investigator.case(CaseWish(STREAM)).window
    assert newest.end >= LATER.end
    within = investigator.case(CaseWish(STREAM, BLURRED.end - MINUTE)).window
    assert within.start <= BLURRED.end - MINUTE <= within.end


def test_a_slice_is_explained_by_itself(investigator: Investigator) -> None:
    case = investigator.case(CaseWish(STREAM, BLURRED.end, slice_key="tenant=globex"))
    assert {e.labels["tenant"] for e in case.exchanges} == {"globex"}
    assert "tenant" not in {s.label for s in case.slices}
    assert case.verdict[0] == "Of tenant=globex alone:"


@pytest.mark.parametrize("slice_key", [ALL, "tenant=globex"])
def test_whether_logging_changed_is_decided_with_the_alpha_of_the_measurement(
    investigator: Investigator, slice_key: str
) -> None:
    case = investigator.case(CaseWish(STREAM, CALM.end, slice_key=slice_key))  # it was counted
    (measured,) = {1 / m.evidence_threshold for m in case.measurements if m.evidence_threshold}
    assert alpha_of(case, investigator.rules) == pytest.approx(measured)


def test_a_case_is_put_together_once(investigator: Investigator, blurred: Case) -> None:
    assert investigator.case(CaseWish(STREAM, BLURRED.end)) is blurred


def test_content_that_retention_takes_leaves_kept_cases_too(changeable: Investigator) -> None:
    wish = CaseWish(STREAM, BLURRED.end)
    assert changeable.case(wish).exchanges[0].text
    with changeable.database.begin() as session:
        forget_content(session, NOW + timedelta(days=1))
    after = changeable.case(wish)
    assert {(e.text, e.response, e.target) for e in after.exchanges} == {(None, None, None)}
    assert {c.words for c in after.clusters} == {()}
    assert "content_retention" in after.notes[0]
    assert after.slices == changeable.case(wish).slices


def test_a_window_whose_exchanges_are_deleted_keeps_its_verdict_and_says_why(
    changeable: Investigator,
) -> None:
    with changeable.database.begin() as session:
        forget_samples(session, NOW + timedelta(days=1))
    case = changeable.case(CaseWish(STREAM, BLURRED.end))
    assert case.missing == (
        "the exchanges of this window are no longer stored: retention has deleted them"
    )
    assert "the images look different" in " ".join(case.verdict)
    assert (case.slices, case.exchanges, case.map) == ((), (), None)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (CaseWish("nobody"), "no window of 'nobody' has been measured"),
        (CaseWish(STREAM, START - timedelta(days=9)), "that holds 2026-02-20 12:00 UTC"),
        (CaseWish(STREAM, BLURRED.end, slice_key="tenant=none"), "was not measured in this window"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    investigator: Investigator, wish: CaseWish, said: str
) -> None:
    with pytest.raises(WindowNotFoundError, match=said):
        investigator.case(wish)


def test_two_blurred_windows_are_nearer_than_a_blurred_and_a_calm_one(
    investigator: Investigator,
) -> None:
    wish = CaseWish(STREAM, LATER.end)
    alike, apart = (investigator.compare(wish, base) for base in (BLURRED, CALM))
    assert apart.divergences[Modality.VISUAL] > 1.1 * alike.divergences[Modality.VISUAL]
    assert apart.base.window == CALM
    change = next(c for c in apart.signals if c.signal is Signal.VISUAL_DISCREPANCY)
    assert change.base is not None
    assert change.here is not None
    assert change.difference == pytest.approx((change.here.value or 0) - (change.base.value or 0))
    assert {s.label for s in apart.shifts} >= {"tenant", "image state"}


def test_there_is_no_window_of_a_week_before(investigator: Investigator) -> None:
    with pytest.raises(WindowNotFoundError, match="from 2026-02-22 12:20 to 2026-02-22 12:35 UTC"):
        investigator.compare(CaseWish(STREAM, BLURRED.end))


def test_who_comes_while_too_many_wait_is_sent_away_at_once(changeable: Investigator) -> None:
    for _ in range(PLACES):
        changeable._places.acquire()
    with pytest.raises(BusyError, match="ask again"):
        changeable.case(CaseWish(STREAM))
    changeable._places.release()
    assert changeable.case(CaseWish(STREAM)).verdict
