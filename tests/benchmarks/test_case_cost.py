"""What a case costs beside measuring the window that it explains."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.encoders.builtin import builtin_encoders
from monitor.records import ReferenceVersion, WindowId
from monitor.reference.build import build
from monitor.service.attribution import window_events
from monitor.service.investigation import CaseWish
from monitor.service.measure import Measurer
from monitor.service.wiring import make_investigator, make_jobs, measure_rules
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.store.engine import open_database
from monitor.store.references import activate, save_reference
from tests import recorded
from tests.integration.conftest import migrated_file  # noqa: F401 - a fixture
from tests.integration.service.parts import NOW, START, Rig, admit, at, small_settings

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

COUNT, REFERENCE = 1_500, 1_000
WINDOW = WindowId(START, at(15))
MIX = Mix(per_minute=COUNT / 14.9)
BLUR = Drift(DriftKind.BLUR, severity=4, labels={"tenant": "acme"})


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_a_case_beside_measuring_its_window(migrated_file: Path, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    encoders = builtin_encoders()
    built = build(
        recorded.simulated(REFERENCE, seed=1),
        name="normal",
        encoder_digest=encoders.digest,
        smallest_window=20,
        null_draws=20,
    )
    shutil.copy(migrated_file, tmp_path / "monitor.db")
    sections = {"sampling": {"per_pane": 1_000}, "slices": {"labels": ["tenant"]}}
    with open_database(f"sqlite:///{tmp_path / 'monitor.db'}") as database:
        rig = Rig(small_settings(tmp_path, **sections), database)
        rig.jobs = make_jobs(rig.settings, rig.around, encoders, [], follows_clock=True)
        facts = dict(built.facts)
        version = ReferenceVersion(built.digest, "normal", START, built.encoder_digest, facts)
        with database.begin() as session:
            save_reference(session, version, built.arrays)
            activate(session, built.digest, "*", START)
        exchanges = simulate(2, start=START, count=COUNT, drifts=[BLUR], mix=MIX)
        admit(rig.around.intake, [as_native_line(e) for e in exchanges])
        rig.work()

        investigator = make_investigator(rig.settings, database, lambda: NOW)
        wish = CaseWish(MIX.stream, WINDOW.end)
        investigator.case(CaseWish(MIX.stream, at(20)))  # loads the reference and the libraries
        took = seconds(lambda: investigator.case(wish))
        again = seconds(lambda: investigator.case(wish))
        rules = measure_rules(rig.settings, encoders)
        loaded = investigator.shelf.get(built.digest)
        with database.read() as session:
            samples = window_events(session, rules, loaded, MIX.stream, WINDOW)
        measurer = Measurer(rules)
        novelty = measurer.novelty(samples, loaded)
        measuring = seconds(lambda: measurer.measure(MIX.stream, WINDOW, samples, loaded, novelty))
    print(
        f"\nn = {len(samples)}, d = 768, reference of {REFERENCE}: case {took:.2f} s, kept case "
        f"{1e3 * again:.1f} ms, measuring the window with 3 slices {measuring:.2f} s, "
        f"ratio {took / measuring:.2f}"
    )
    assert again < took / 10
