"""The references in use, loaded once and kept in memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from monitor.errors import ReferenceMismatchError
from monitor.records import ReferenceVersion
from monitor.reference.artefact import Neighbourhood, Reference
from monitor.reference.signals import single_threaded
from monitor.service.overlap import MadeFrom
from monitor.store.engine import Database
from monitor.store.references import (
    find_reference,
    load_arrays,
    reference_positions,
    stored_digests,
)

INDEXES = "references"  # folder of the FAISS files, one folder a digest
KEPT = 8  # one of 5,000 exchanges takes some 80 MiB, and as much again while it is loaded
ASKED_AGAIN = 60.0  # seconds after which it is asked again which references are still stored


@dataclass(frozen=True, slots=True)
class LoadedReference:
    """A reference ready for measuring, with the neighbour indexes of its density part."""

    reference: Reference
    neighbourhood: Neighbourhood
    made_from: MadeFrom = field(default_factory=MadeFrom)


class ReferenceShelf:
    """Loads references by digest; the database is the truth, the FAISS files are a cache.

    ``encoder_digest`` None takes references of any encoders, to look at what is stored. Whoever
    asks for any, a minute after the last time, makes it let go of those that were deleted or,
    because something in them was to be forgotten, replaced.
    """

    def __init__(
        self,
        *,
        database: Database,
        data_dir: Path,
        encoder_digest: str | None,
        encoder_name: str = "others",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._folder = data_dir / INDEXES
        self._encoder_digest = encoder_digest
        self._encoder_name = encoder_name
        self._clock = clock
        self._asked = clock()
        self._loaded: dict[str, LoadedReference] = {}

    def get(self, digest: str) -> LoadedReference:
        """The reference of this digest.

        Raises:
            ReferenceNotFoundError: if it is not in the database.
            ReferenceMismatchError: if it was built with other encoders.
        """
        if self._clock() >= self._asked + ASKED_AGAIN:
            self._drop_deleted()
        if digest not in self._loaded:
            while len(self._loaded) >= KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[digest] = self._load(digest)
        return self._loaded[digest]

    def _drop_deleted(self) -> None:
        with self._database.read() as session:
            stored = stored_digests(session)
        self._loaded = {d: loaded for d, loaded in self._loaded.items() if d in stored}
        self._asked = self._clock()

    def _load(self, digest: str) -> LoadedReference:
        with self._database.read() as session:
            version = find_reference(session, digest)
            self._require_encoders(version)
            arrays = load_arrays(session, digest)
            made_from = MadeFrom(reference_positions(session, digest), arrays["z_t"], arrays["z_y"])
        with single_threaded():
            reference = Reference.load(version, arrays)
        return LoadedReference(reference, reference.open_neighbourhood(self._folder), made_from)

    def _require_encoders(self, version: ReferenceVersion) -> None:
        if self._encoder_digest not in (None, version.encoder_digest):
            theirs = version.facts.get("encoders", "others")
            raise ReferenceMismatchError(
                what=f"the encoder digest of reference {version.identity}, built with {theirs},",
                expected=str(self._encoder_digest),
                got=version.encoder_digest,
                remedy=f"the settings give {self._encoder_name}: set the encoders it was built "
                "with, or build it again with `mllm-monitor reference build`",
            )
