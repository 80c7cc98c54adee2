"""Forgetting exchanges on request: samples, targets, the quarantine, references, their indexes."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from monitor.errors import StoreError
from monitor.records import ReferenceSample, ReferenceVersion
from monitor.reference.artefact import CALIBRATION, DENSITY, Arrays, digest_of
from monitor.reference.build import states_of
from monitor.reference.conditional import Progress, silent
from monitor.reference.removal import without
from monitor.service.derived import without_rare, without_value
from monitor.service.shelf import INDEXES
from monitor.store import forgetting
from monitor.store.engine import Database
from monitor.store.forgetting import Wanted
from monitor.store.references import (
    list_references,
    load_arrays,
    reference_samples,
    save_reference,
)
from monitor.store.samples import ExchangeKey

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Replacement:
    """A version that held exchanges, and the one without them that takes its place."""

    old: ReferenceVersion
    new: ReferenceVersion
    arrays: Arrays
    samples: list[ReferenceSample]
    removed: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted, counted."""

    samples: int
    images: int
    targets: int
    quarantined: int
    measurements: int
    reference_exchanges: int


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to forget; references by digest with the positions in them."""

    samples: frozenset[ExchangeKey]
    references: dict[str, list[int]]
    unknown: tuple[str, ...]  # references that do not know the ids of their exchanges

    @property
    def reference_exchanges(self) -> int:
        """Exchanges of all versions; one that is in several counts in each."""
        return sum(map(len, self.references.values()))


@dataclass(frozen=True, slots=True)
class Forgetter:
    """Finds and deletes exchanges. All of it happens in one transaction, or nothing does."""

    database: Database
    data_dir: Path
    clock: Callable[[], datetime]

    def find(self, wanted: Wanted) -> Found:
        """What is stored of these exchanges."""
        with self.database.read() as session:
            return _find(session, wanted)

    def forget(
        self, wanted: Wanted, found: Found, progress: Progress = silent
    ) -> tuple[Forgotten, list[Replacement]]:
        """Delete what was found. References are made anew first, which takes minutes.

        Raises:
            ReferenceTooSmallError: if a reference would have too few exchanges left.
            StoreError: if references have changed meanwhile.
        """
        replacements = self._replacements(wanted, found, progress)
        with self.database.begin() as session:
            now_found = _find(session, wanted)
            if now_found.references != found.references:
                raise StoreError(
                    "references were changed meanwhile, and nothing was forgotten: "
                    "run the command again"
                )
            forgetting.overwrite_deleted(session)
            for made in replacements:
                save_reference(session, made.new, made.arrays, made.samples)
                forgetting.replace_reference(session, made.old.digest, made.new.digest)
            targets = forgetting.forget_targets(session, wanted, now_found.samples)
            samples, images = forgetting.empty_samples(session, now_found.samples)
            counts = Forgotten(
                samples=samples,
                images=images,
                targets=targets,
                quarantined=forgetting.empty_quarantine(session),
                measurements=forgetting.forget_slice(session, "=".join(wanted.label), wanted.stream)
                if wanted.label
                else 0,
                reference_exchanges=sum(made.removed for made in replacements),
            )
        forget_indexes(self.database, self.data_dir)
        if self.database.is_embedded and not self.database.compact():
            log.warning("database_not_compacted", remedy="stop the daemon, run VACUUM")
        # Neither an id nor the value of a label: the log outlives what it tells of.
        kind = "id" if wanted.label is None else "label"
        log.info(
            "exchanges_forgotten", wanted_by=kind, at=self.clock().isoformat(), **asdict(counts)
        )
        return counts, replacements

    def _replacements(self, wanted: Wanted, found: Found, progress: Progress) -> list[Replacement]:
        renamed: dict[str, str] = {}
        made = []
        with self.database.read() as session:
            versions = [v for v in list_references(session) if v.digest in found.references]
        for version in versions:  # the oldest first, so each before those calibrated from it
            one = self._without(version, found.references[version.digest], renamed, progress)
            if wanted.label is not None:
                one = _without_label(one, wanted.label)
            renamed[version.digest] = one.new.digest
            made.append(one)
        return made

    def _without(
        self,
        version: ReferenceVersion,
        positions: list[int],
        renamed: dict[str, str],
        progress: Progress,
    ) -> Replacement:
        with self.database.read() as session:
            arrays = load_arrays(session, version.digest)
            samples = reference_samples(session, version.digest)
        seed = version.facts.get("seed")
        arrays = without(
            arrays,
            positions,
            seed=seed if isinstance(seed, int) else 0,
            workers=os.cpu_count() or 1,
            progress=progress,
        )
        gone = set(positions)
        left = [sample for sample in samples if sample.position not in gone]
        new = replace(
            version,
            digest=digest_of(arrays, version.encoder_digest),
            facts=_facts(version, arrays, len(gone), renamed),
        )
        renumbered = [replace(sample, position=i) for i, sample in enumerate(left)]
        return Replacement(version, new, arrays, renumbered, len(gone))


def forget_indexes(database: Database, data_dir: Path) -> int:
    """Delete the neighbour indexes of references that are no longer stored; return how many."""
    folder = data_dir / INDEXES
    # Listed before it is asked what is stored: an index is written after its reference.
    present = list(folder.iterdir()) if folder.is_dir() else []
    with database.read() as session:
        stored = {version.digest for version in list_references(session)}
    gone = [index for index in present if index.name not in stored]
    for index in gone:
        shutil.rmtree(index, ignore_errors=True)
    return len(gone)


def _find(session: Session, wanted: Wanted) -> Found:
    samples = forgetting.samples_wanted(session, wanted)
    by_id = {wanted.exchange_id} if wanted.exchange_id is not None else set[str]()
    references, unknown = {}, []
    for version in list_references(session):
        stream = version.facts.get("stream")
        if isinstance(stream, str) and wanted.stream not in {None, stream}:
            continue
        ids = by_id | {i for s, i in samples if stream in {None, s}}
        if positions := forgetting.positions_in(session, version.digest, ids):
            references[version.digest] = positions
        elif not reference_samples(session, version.digest, [0]):
            unknown.append(version.identity)
    return Found(frozenset(samples), references, tuple(unknown))


def _without_label(made: Replacement, label: tuple[str, str]) -> Replacement:
    labels = made.new.facts.get("labels")
    if not isinstance(labels, dict):
        return made
    facts = {**made.new.facts, "labels": without_value(labels, *label)}
    return replace(made, new=replace(made.new, facts=facts))


def _facts(
    version: ReferenceVersion, arrays: Arrays, removed: int, renamed: dict[str, str]
) -> dict[str, object]:
    facts = dict(version.facts)
    part, image, target = arrays["part"], arrays["has_image"], arrays["has_target"]
    for number, name in enumerate((DENSITY, CALIBRATION)):
        inside = part == number
        facts[name] = {
            "exchanges": int(inside.sum()),
            "images": int(image[inside].sum()),
            "targets": int(target[inside].sum()),
        }
    facts["image_states"] = states_of(arrays)
    labels = facts.get("labels")
    if isinstance(labels, dict):
        facts["labels"] = without_rare(labels, removed)
    before = facts.get("forgotten")
    facts["exchanges"] = len(part)
    facts["null_sizes"] = {
        name.split("/")[1]: arrays[name].tolist()
        for name in sorted(arrays)
        if name.startswith("null/") and name.endswith("/sizes")
    }
    facts["forgotten"] = removed + (before if isinstance(before, int) else 0)
    origin = facts.get("calibrated_from")
    if isinstance(origin, str):
        facts["calibrated_from"] = renamed.get(origin, origin)
    return facts
