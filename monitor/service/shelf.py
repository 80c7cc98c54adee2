"""The references in use, loaded once and kept in memory."""

from pathlib import Path

from monitor.errors import ReferenceMismatchError
from monitor.reference.artefact import Reference
from monitor.store.engine import Database
from monitor.store.references import find_reference, load_arrays

KEPT = 8  # a reference of 5,000 exchanges takes some 60 MB


class ReferenceShelf:
    """Loads references by digest; the database is the truth, the FAISS files are a cache."""

    def __init__(self, *, database: Database, data_dir: Path, encoder_digest: str) -> None:
        self._database = database
        self._data_dir = data_dir
        self._encoder_digest = encoder_digest
        self._loaded: dict[str, Reference] = {}

    def get(self, digest: str) -> Reference:
        """The reference of this digest.

        Raises:
            ReferenceNotFoundError: if it is not in the database.
            ReferenceMismatchError: if it was built with other encoders.
        """
        if digest not in self._loaded:
            while len(self._loaded) >= KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[digest] = self._load(digest)
        return self._loaded[digest]

    def _load(self, digest: str) -> Reference:
        with self._database.read() as session:
            version = find_reference(session, digest)
            require_encoders(version.encoder_digest, self._encoder_digest, version.identity)
            arrays = load_arrays(session, digest)
        return Reference.load(version, arrays, self._data_dir / "references" / digest)


def require_encoders(built_with: str, running: str, identity: str) -> None:
    """Refuse a reference whose vectors came from other encoders."""
    if built_with != running:
        raise ReferenceMismatchError(
            what=f"the encoder digest of reference {identity}",
            expected=running,
            got=built_with,
            remedy="set the encoders it was built with, or build it again with "
            "`mllm-monitor reference build`",
        )
