"""Nothing is judged against data that it was made from: which exchanges each step consumes."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from monitor.errors import StoreError
from monitor.records import (
    ALL,
    Measurement,
    Modality,
    ReferenceSample,
    ReferenceVersion,
    Verdict,
    WindowId,
)
from monitor.reference import artefact, recalibration
from monitor.reference import build as building
from monitor.reference.artefact import Neighbourhood
from monitor.reference.build import BuiltReference, build
from monitor.reference.conditional import Pairs, QNetwork, train_q
from monitor.reference.embedded import CALIBRATION, DENSITY, PARTS, Embedded, parts_of
from monitor.service.calibration import Past, Span
from monitor.service.measure import Measurer
from monitor.service.shelf import ReferenceShelf
from monitor.service.wiring import measure_rules
from monitor.settings import Settings
from monitor.store.engine import Database, open_database
from monitor.store.references import activate, delete_reference, save_reference
from tests.integration.service.parts import (
    START,
    STREAM,
    Rig,
    admit,
    at,
    everything_measured,
    exchange,
    hash_encoders,
    small_reference,
    small_settings,
    traffic,
)
from tests.populations import traffic as embedded_traffic

N = 240
MADE = ("q of answers", "q of image and text", "neighbours", "visual P", "textual P", "response P")
JUDGED = ("report", "nulls", "shares", "EMI of the reference")

Rows = dict[str, set[int]]  # positions of exchanges that a step consumed


class Consumption:
    """Remembers which exchanges of a reference each step of its building is given."""

    def __init__(self, events: Embedded, patch: pytest.MonkeyPatch) -> None:
        stored = Embedded.from_arrays(events.to_arrays())
        columns = (stored.fused(), stored.z_v, stored.z_t, stored.z_y)
        # Continuous vectors: no two exchanges share one.
        self._position = {row.tobytes(): i for z in columns for i, row in enumerate(z)}
        self.rows: Rows = defaultdict(set)
        self._patch = patch
        self._spy(building, "train_q", lambda x, *_, stage, **__: (stage, self._of(x)))
        self._spy(building, "assess", self._assessed)
        self._spy(recalibration, "draw_nulls", lambda _, pool, **__: ("nulls", _ids(pool)))
        self._spy(recalibration, "count_shares", lambda _, pool, *__: ("shares", _ids(pool)))
        self._spy(artefact, "_emi", lambda _, pool: ("EMI of the reference", _ids(pool)))
        self._spy(Neighbourhood, "of", lambda part, *_, **__: ("neighbours", _ids(part)))

    def _spy(self, owner: Any, name: str, read: Any) -> None:
        real = getattr(owner, name)

        def spy(*args: Any, **named: Any) -> Any:
            step, rows = read(*args, **named)
            self.rows[step] |= rows
            return real(*args, **named)

        self._patch.setattr(owner, name, spy)

    def _of(self, rows: np.ndarray) -> set[int]:
        return {self._position[row.tobytes()] for row in rows}

    def _assessed(self, _: QNetwork, *, unseen: Pairs, **__: object) -> tuple[str, set[int]]:
        return "report", self._of(unseen.x)


def _ids(part: Embedded) -> set[int]:
    return {int(i) for i in part.ids}


def consumed(**settings: Any) -> tuple[Rows, BuiltReference]:
    events = embedded_traffic(N, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        consumption = Consumption(events, patch)
        built = build(
            events,
            name="normal",
            encoder_digest="e" * 64,
            smallest_window=20,
            null_draws=4,
            **settings,
        )
        frozen = artefact.FrozenReference.of(built.arrays, *parts_of(built.arrays))
    stored = Embedded.from_arrays(built.arrays)
    density = np.flatnonzero(built.arrays["part"] == PARTS.index(DENSITY))
    for modality, z in zip(Modality, (stored.z_v, stored.z_t, stored.z_y), strict=True):
        alone = artefact.spectrum(z[density]).density
        if (frozen.spectra[modality].density == alone).all():
            consumption.rows[f"{modality.value} P"] = set(density.tolist())
    return consumption.rows, built


@pytest.fixture(scope="module")
def rows() -> Rows:
    return consumed()[0]


@pytest.mark.parametrize("judged", JUDGED)
@pytest.mark.parametrize("made", MADE)
def test_what_judges_shares_no_exchange_with_what_was_made(
    rows: Rows, made: str, judged: str
) -> None:
    assert rows[made]
    assert rows[judged]
    assert not rows[made] & rows[judged]


def test_every_exchange_is_used_on_one_of_the_two_sides(rows: Rows) -> None:
    assert rows["neighbours"] | rows["nulls"] == set(range(N))


def test_an_imported_q_is_judged_by_the_calibration_part_alone() -> None:
    other = embedded_traffic(120, seed=9)
    network = train_q(other.fused(), other.z_y, seed=0).network
    found, built = consumed(conditional=network)
    assert not found["q of answers"]
    assert found["report"] == {i for i, p in enumerate(built.parts) if p == CALIBRATION}


def keeping_all(folder: Path) -> Settings:
    """Settings by which every exchange of these logs is a sample."""
    return small_settings(folder, sampling={"per_pane": 400})


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    yield Rig(keeping_all(tmp_path), database)  # noqa: PT022 - a subclass may close it


OF_REFERENCE = traffic(300, 60, seed=99)  # what the small reference was built from


def activate_with_ids(database: Database) -> None:
    """The small reference with what it remembers of its exchanges, and no content of them."""
    built = small_reference()
    version = ReferenceVersion(
        built.digest, built.name, START, built.encoder_digest, dict(built.facts)
    )
    samples = [ReferenceSample(i, f"llava-99-{i}", part) for i, part in enumerate(built.parts)]
    with database.begin() as session:
        save_reference(session, version, built.arrays, samples)
        activate(session, version.digest, "*", START)


def measured(rig: Rig, lines: list[bytes]) -> list[Measurement]:
    """The window of the first quarter of an hour."""
    admit(rig.around.intake, lines)
    rig.work()
    found = everything_measured(rig.database)
    return [m for m in found if (m.window.start, m.window.end) == (START, at(15))]


def test_a_window_of_the_exchanges_of_its_reference_is_not_judged(rig: Rig) -> None:
    activate_with_ids(rig.database)
    with structlog.testing.capture_logs() as logs:
        whole = measured(rig, OF_REFERENCE)
    (reason,) = {m.reason for m in whole if m.slice_key == ALL}
    assert reason is not None
    assert reason.startswith("too_few_samples: 0 of 10, besides ")
    assert reason.endswith(" that the reference was made from")
    assert {m.verdict for m in whole} == {Verdict.INSUFFICIENT}
    said = [entry["stream"] for entry in logs if entry["event"] == "window_overlaps_reference"]
    assert said == ["llava"]  # once, however many windows there are


def test_exchanges_of_the_reference_leave_a_window_as_it_is_without_them(
    rig: Rig, tmp_path: Path, migrated_file: Path
) -> None:
    activate_with_ids(rig.database)
    fresh = traffic(60, 14.9, seed=3)
    mixed = measured(rig, fresh + OF_REFERENCE[:40])
    apart = shutil.copy(migrated_file, tmp_path / "apart.db")
    with open_database(f"sqlite:///{apart}") as database:
        alone = Rig(keeping_all(tmp_path), database)
        activate_with_ids(database)
        assert measured(alone, fresh) == mixed


def test_no_null_is_made_from_past_windows_of_the_exchanges_of_the_reference(rig: Rig) -> None:
    activate_with_ids(rig.database)
    measured(rig, OF_REFERENCE + traffic(60, 14.9, start=60, seed=3))
    encoders = hash_encoders()
    shelf = ReferenceShelf(
        database=rig.database, data_dir=rig.settings.data_dir, encoder_digest=encoders.digest
    )
    past = Past(
        database=rig.database,
        measurer=Measurer(measure_rules(rig.settings, encoders)),
        stream=STREAM,
        length=rig.settings.windows.length,
        lateness=rig.settings.windows.lateness,
        per_pane=rig.settings.sampling.per_pane,
    )
    reference = shelf.get(small_reference().digest)
    history = past.history(reference, Span(), lambda stage, done, total: None)
    assert history.windows == [WindowId(at(60), at(75))]


def test_an_id_that_comes_again_with_other_words_is_another_exchange(rig: Rig) -> None:
    activate_with_ids(rig.database)
    again = [exchange(f"llava-99-{i}", i / 10, response="Something else.") for i in range(60)]
    assert {m.n for m in measured(rig, again) if m.slice_key == ALL and m.value is not None} == {60}


def burnt_in(database: Database, last: datetime) -> tuple[str, str]:
    """The small reference, and a version of it that judges, made from windows until ``last``."""
    built = small_reference()
    facts = {
        **built.facts,
        "calibrated_from": built.digest,
        "thresholds": {"from": "burn-in", "stream": STREAM, "last": last.isoformat()},
    }
    arrays = {**built.arrays, "smallest_window": np.array([11])}
    digest = artefact.digest_of(arrays, built.encoder_digest)
    origin = ReferenceVersion(built.digest, built.name, START, built.encoder_digest, built.facts)
    version = ReferenceVersion(digest, built.name, START, built.encoder_digest, facts)
    with database.begin() as session:
        save_reference(session, origin, built.arrays)
        save_reference(session, version, arrays)
        activate(session, version.digest, "*", START)
    return origin.identity, version.identity


def test_windows_of_a_burn_in_are_judged_by_the_version_before_it(rig: Rig) -> None:
    before, after = burnt_in(rig.database, at(30))
    admit(rig.around.intake, traffic(240, 59.9))
    rig.work()
    found = {m.window.start: m.reference for m in everything_measured(rig.database)}
    assert {found[at(0)], found[at(25)]} == {before}
    assert {found[at(30)], found[at(45)]} == {after}


def test_the_version_before_a_burn_in_in_use_is_not_deleted(rig: Rig) -> None:
    burnt_in(rig.database, at(30))
    with (
        rig.database.begin() as session,
        pytest.raises(StoreError, match="judges the windows of llava"),
    ):
        delete_reference(session, small_reference().digest)
