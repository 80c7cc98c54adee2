"""One window of simulated traffic, one tenant asking in new languages, measured and explained."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from monitor.encoders.builtin import builtin_encoders
from monitor.errors import TooFewSamplesError
from monitor.records import ALL, Measurement, Modality, ReferenceVersion, Sample, Signal, WindowId
from monitor.reference.build import BuiltReference, build
from monitor.service.attribution import (
    Depth,
    WindowAttribution,
    explain_events,
    slices_by_label,
    window_events,
)
from monitor.service.measure import Measurer
from monitor.service.wiring import make_jobs, make_shelf, measure_rules
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.store.engine import Database, open_database
from monitor.store.references import activate, save_reference
from monitor.store.samples import window_samples
from monitor.store.windows import measurements_of
from tests import recorded
from tests.integration.service.parts import MINUTE, START, Rig, admit, at, small_settings

COUNT = 200
WINDOW = WindowId(START, at(15))
MIX = Mix(per_minute=COUNT / 14.9, target_share=0.8, truth=True)
FOREIGN = Drift(DriftKind.LANGUAGE, labels={"tenant": "globex"})
DIVERGENCES = (
    Signal.VISUAL_DISCREPANCY,
    Signal.TEXTUAL_DISCREPANCY,
    Signal.RESPONSE_DISCREPANCY,
    Signal.OUTPUT_GAP,
)
SPLIT = (
    *DIVERGENCES,
    Signal.MI_QUERY_RESPONSE,
    Signal.EMI,
    Signal.IMAGE_TEXT_AGREEMENT,
    Signal.NOVELTY_VISUAL,
    Signal.NOVELTY_TEXTUAL,
)
DEPTH = Depth(events=12, neighbours=4)


@pytest.fixture(scope="module")
def built() -> BuiltReference:
    return build(
        recorded.simulated(400, seed=1),
        name="normal",
        encoder_digest=builtin_encoders().digest,
        smallest_window=20,
        null_draws=4,
    )


@pytest.fixture(scope="module")
def database(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path = shutil.copy(migrated_file, tmp_path_factory.mktemp("explained") / "monitor.db")
    with open_database(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture(scope="module")
def rig(database: Database, built: BuiltReference, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A daemon that has measured the window."""
    settings = small_settings(
        tmp_path_factory.mktemp("data"),
        sampling={"per_pane": 100},
        slices={"labels": ["tenant", "drift"]},
    )
    rig = Rig(settings, database)
    rig.jobs = make_jobs(settings, rig.around, builtin_encoders(), [], follows_clock=True)
    version = ReferenceVersion(
        built.digest, built.name, START, built.encoder_digest, dict(built.facts)
    )
    with database.begin() as session:
        save_reference(session, version, built.arrays)
        activate(session, built.digest, "*", START)
    exchanges = simulate(2, start=START, count=COUNT, drifts=[FOREIGN], mix=MIX)
    admit(rig.around.intake, [as_native_line(e) for e in exchanges])
    rig.work()
    return rig


def explain(rig: Rig, built: BuiltReference, window: WindowId) -> WindowAttribution:
    encoders = builtin_encoders()
    shelf = make_shelf(rig.settings, rig.database, encoders)
    reference, rules = shelf.get(built.digest), measure_rules(rig.settings, encoders)
    with rig.database.read() as session:
        events = window_events(session, rules, reference, MIX.stream, window)
    slices = slices_by_label(events, rules.slice_labels, rules.max_per_label)
    measured = sum(part.value is not None for part in slices)
    alpha = Measurer(rules).alpha(measured).overall
    return explain_events(events, rules, reference, slices, alpha=alpha, depth=DEPTH)


@pytest.fixture(scope="module")
def explained(rig: Rig, built: BuiltReference) -> WindowAttribution:
    return explain(rig, built, WINDOW)


@pytest.fixture(scope="module")
def measured(rig: Rig) -> dict[Signal, Measurement]:
    with rig.database.read() as session:
        found = measurements_of(session, MIX.stream, WINDOW)
    return {m.signal: m for m in found if m.slice_key == ALL}


@pytest.fixture(scope="module")
def samples(rig: Rig, explained: WindowAttribution) -> list[Sample]:
    """The samples of the window in the order of the explanation."""
    with rig.database.read() as session:
        found = {s.id: s for s in window_samples(session, MIX.stream, WINDOW.start, WINDOW.end)}
    return [found[sample.id] for sample in explained.samples]


@pytest.mark.parametrize("signal", SPLIT)
def test_shares_add_up_to_the_measured_value(
    explained: WindowAttribution, measured: dict[Signal, Measurement], signal: Signal
) -> None:
    split = explained.signals[signal]
    total = split.shares.sum() + split.reference_shares.sum()
    assert total == pytest.approx(measured[signal].value, abs=1e-9)
    assert split.value == pytest.approx(measured[signal].value, abs=1e-9)
    assert len(split.shares) == measured[signal].n


@pytest.mark.parametrize("signal", SPLIT)
@pytest.mark.parametrize("label", ["tenant", "drift"])
def test_slices_of_a_label_and_the_reference_add_up_to_the_measured_value(
    explained: WindowAttribution,
    measured: dict[Signal, Measurement],
    signal: Signal,
    label: str,
) -> None:
    split = explained.signals[signal]
    parts = [part for part in split.slices if part.label == label]
    total = sum(part.share for part in parts) + split.reference_part
    assert total == pytest.approx(measured[signal].value, abs=1e-9)
    assert sum(part.n for part in parts) == measured[signal].n


def test_every_signal_that_is_a_sum_over_events_is_split(explained: WindowAttribution) -> None:
    assert tuple(explained.signals) == SPLIT


def test_the_slice_with_the_drift_has_the_largest_share(explained: WindowAttribution) -> None:
    slices = explained.signals[Signal.TEXTUAL_DISCREPANCY].slices
    tenants = {part.value: part.share for part in slices if part.label == "tenant"}
    assert max(tenants, key=lambda tenant: tenants[tenant]) == "globex"


def test_drifted_events_are_ranked_before_the_others(
    explained: WindowAttribution, samples: list[Sample]
) -> None:
    split = explained.signals[Signal.TEXTUAL_DISCREPANCY]
    truth = [samples[i].labels["drift"] == "language" for i in split.events]
    assert roc_auc_score(truth, split.shares) > 0.95


def test_the_first_of_a_ranking_push_most_towards_drift(explained: WindowAttribution) -> None:
    textual, emi = (explained.signals[s] for s in (Signal.TEXTUAL_DISCREPANCY, Signal.EMI))
    assert textual.ranked()[0] == textual.events[textual.shares.argmax()]
    assert emi.ranked()[0] == emi.events[emi.shares.argmin()]


def test_every_ranking_begins_with_events_that_are_told_about(
    explained: WindowAttribution,
) -> None:
    told = {event.position for event in explained.events}
    first = [set(split.ranked()[: DEPTH.events].tolist()) for split in explained.signals.values()]
    assert set.union(*first) == told


def test_an_event_is_told_with_its_own_shares_and_distances(
    explained: WindowAttribution, samples: list[Sample]
) -> None:
    for event in explained.events:
        sample = samples[event.position]
        assert (event.sample_id, event.exchange_id) == (sample.id, sample.exchange_id)
        assert event.novelty.get(Modality.TEXTUAL) == pytest.approx(sample.novelty_t)
        assert (Modality.VISUAL in event.neighbours) == (sample.z_v is not None)
        assert (Signal.VISUAL_DISCREPANCY in event.shares) == (sample.z_v is not None)
        assert (Signal.EMI in event.shares) == (sample.z_target is not None)


def test_neighbours_come_nearest_first_and_are_of_the_density_part(
    explained: WindowAttribution, built: BuiltReference
) -> None:
    density = {i for i, part in enumerate(built.parts) if part == "density"}
    for event in explained.events:
        for near in event.neighbours.values():
            distances = [neighbour.distance for neighbour in near]
            assert (len(near), distances) == (DEPTH.neighbours, sorted(distances))
            assert {neighbour.position for neighbour in near} <= density


def test_shares_of_the_reference_are_of_the_density_part_and_images_of_those_with_images(
    explained: WindowAttribution, built: BuiltReference
) -> None:
    density = [i for i, part in enumerate(built.parts) if part == "density"]
    with_image = [i for i in density if built.arrays["has_image"][i]]
    textual, visual = (explained.signals[s] for s in (DIVERGENCES[1], DIVERGENCES[0]))
    assert textual.reference_events.tolist() == density
    assert visual.reference_events.tolist() == with_image
    assert len(visual.reference_shares) == len(with_image)


def test_a_window_that_is_too_small_to_be_measured_is_not_explained(
    rig: Rig, built: BuiltReference
) -> None:
    with pytest.raises(TooFewSamplesError, match="an explanation needs at least 10"):
        explain(rig, built, WindowId(START - 15 * MINUTE, START))
