"""What a promoted reference is made of: a uniform draw of chosen time, honest about its targets."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from monitor.errors import ReferenceTooSmallError
from monitor.records import TargetSource
from monitor.service.promotion import Promoter, Promotion
from monitor.service.promotion_choice import PromotionWish, choose
from monitor.service.target_mix import TEACHER_TARGETS
from monitor.service.wiring import build_rules, make_promoter, measure_rules
from monitor.store.engine import Database
from monitor.store.tables import SampleRow
from tests.integration.service.parts import (
    HOUR,
    START,
    STREAM,
    Rig,
    admit,
    exchange,
    hash_encoders,
    small_settings,
    store_reference,
    traffic,
)

WISH = PromotionWish(STREAM, START, START + HOUR, include_drifting=True)


def quiet(stage: str, done: int, total: int) -> None:
    del stage, done, total


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    """An hour of traffic, embedded and measured, on either database."""
    made = Rig(small_settings(tmp_path), database)
    with database.begin() as session:
        store_reference(session)
    admit(made.around.intake, traffic(350, 59))
    for _ in range(2):
        made.work()
    return made


def promoter(rig: Rig) -> Promoter:
    return make_promoter(rig.settings, rig.database, hash_encoders(), workers=1)


def promoted(rig: Rig, wish: PromotionWish = WISH) -> Promotion:
    return promoter(rig).promote(wish, quiet)


def test_it_knows_its_exchanges_its_labels_and_what_it_replaces(rig: Rig) -> None:
    made = promoted(rig)
    facts = made.version.facts
    assert facts["exchanges"] == len(made.samples) == 350
    assert {s.exchange_id for s in made.samples} == {f"{STREAM}-0-{i}" for i in range(350)}
    labels = facts["labels"]
    assert isinstance(labels, dict)
    assert sum(labels["images"].values()) == 350
    assert made.replaced is not None
    assert made.diff.before == made.replaced.identity
    assert made.rollback == (
        f"mllm-monitor reference activate {made.replaced.identity} --stream {STREAM}"
    )


def test_the_same_past_makes_the_same_version(rig: Rig) -> None:
    assert promoted(rig).version.digest == promoted(rig).version.digest


def test_a_busy_pane_sets_the_threshold_for_all(rig: Rig) -> None:
    busy = [exchange(f"{i}", 30 + i / 100, stream="busy") for i in range(400)]
    quiet_ones = traffic(900, 29, stream="busy")
    admit(rig.around.intake, [*quiet_ones, *busy], source="other")
    for _ in range(2):
        rig.work()
    rules = measure_rules(rig.settings, hash_encoders())
    wish = replace(WISH, stream="busy")
    chosen = choose(rig.database, wish, rules, build_rules(rig.settings), at_most=10_000)
    of_pane = [s for s in chosen.samples if s.pane_start == START + timedelta(minutes=30)]
    assert len(of_pane) == 40
    # One in ten of its exchanges is a sample, so no more than one in ten of the others is taken.
    assert 60 < len(chosen.samples) - len(of_pane) < 130


def test_no_more_are_taken_than_a_reference_may_have(rig: Rig) -> None:
    rules = measure_rules(rig.settings, hash_encoders())
    chosen = choose(rig.database, WISH, rules, build_rules(rig.settings), at_most=120)
    smallest = sorted(chosen.samples, key=lambda s: s.priority)
    assert len(chosen.samples) == 120
    everything = choose(rig.database, WISH, rules, build_rules(rig.settings), at_most=10_000)
    assert smallest == sorted(everything.samples, key=lambda s: s.priority)[:120]


def test_it_remembers_whose_its_targets_are(rig: Rig) -> None:
    with rig.database.begin() as session:
        session.execute(
            update(SampleRow)
            .where(SampleRow.has_target)
            .values(target_source=TargetSource.TEACHER.value)
        )
    made = promoted(rig)
    assert made.version.facts[TEACHER_TARGETS] == 1.0
    assert any("100% of its targets are the teacher's" in note for note in made.diff.notes)
    emi = next(s for s in made.diff.signals if s.signal == "emi")
    assert emi.value is None  # the version in force has logged ones


def test_content_that_is_not_kept_does_not_go_along(rig: Rig) -> None:
    with rig.database.begin() as session:
        session.execute(update(SampleRow).values(text=None, response=None, target=None))
    assert {(s.text, s.response, s.target) for s in promoted(rig).samples} == {(None, None, None)}


def test_content_that_is_not_to_be_kept_does_not_either(rig: Rig) -> None:
    whole = promoter(rig)
    sparing = replace(whole, rules=replace(whole.rules, content=frozenset({"text"})))
    kept = sparing.promote(WISH, quiet).samples
    assert all(s.text for s in kept)
    assert {(s.response, s.target) for s in kept} == {(None, None)}


def test_time_that_is_not_closed_yet_is_not_taken(rig: Rig) -> None:
    later = replace(WISH, since=START + 30 * HOUR, until=START + 40 * HOUR)
    with pytest.raises(ReferenceTooSmallError, match="no traffic of that time is stored"):
        promoted(rig, later)
