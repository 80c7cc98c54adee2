"""Nearest reference embeddings: the index, its file, and the distances that novelty rests on."""

import hashlib
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from monitor.errors import IndexUnusableError

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLAT_MAX = 200_000  # above, exact search over everything costs more than a window may
PROBES = 32
NEIGHBOURS = 10
BATCH = 4096  # queries searched at once, so that memory does not grow with the reference
MAGIC = b"mllmidx1"
DIGEST_SIZE = hashlib.sha256().digest_size


class NeighbourIndex:
    """Unit vectors by their positions in the reference, searched by Euclidean distance.

    Exact up to ``FLAT_MAX`` vectors; above, inverted lists of 8-bit codes. Searches run on the
    calling thread alone and may run side by side.
    """

    def __init__(self, index: object) -> None:
        self._index = index

    @property
    def shape(self) -> tuple[int, int]:
        """Number of vectors and their dimension."""
        return self._index.ntotal, self._index.d  # type: ignore[attr-defined]  # SWIG object

    def search(self, queries: Vectors, k: int) -> tuple[Floats, Ints]:
        """Distances ``(n, k)`` ascending and positions; inf and -1 where there are fewer than k."""
        _faiss()
        found = self._index.search(np.ascontiguousarray(queries, np.float32), k)  # type: ignore[attr-defined]  # SWIG object
        squared, positions = found
        distances = np.sqrt(squared.astype(np.float64).clip(min=0.0))
        return np.where(positions < 0, np.inf, distances), positions

    def to_bytes(self) -> bytes:
        """The index in the library's own format."""
        data: bytes = _faiss().serialize_index(self._index).tobytes()
        return data


def build_index(vectors: Vectors, positions: Ints | None = None) -> NeighbourIndex:
    """Index of unit vectors; ``positions`` are their row numbers unless given."""
    faiss = _faiss()
    n, dim = vectors.shape
    lists = f"IVF{int(4 * n**0.5)},SQ8" if n > FLAT_MAX else "Flat"
    index = faiss.index_factory(dim, f"IDMap2,{lists}", faiss.METRIC_L2)
    rows = np.ascontiguousarray(vectors, np.float32)
    if n > FLAT_MAX:
        faiss.extract_index_ivf(index).nprobe = PROBES
        index.train(rows)
    index.add_with_ids(rows, np.arange(n) if positions is None else positions.astype(np.int64))
    return NeighbourIndex(index)


def save_index(index: NeighbourIndex, path: Path) -> None:
    """Write so that the file is whole or absent, whenever the machine stops."""
    payload = index.to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines((MAGIC, hashlib.sha256(payload).digest(), payload))
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_index(path: Path) -> NeighbourIndex:
    """Read an index.

    Raises:
        IndexUnusableError: if the file is missing, unreadable, damaged or something else.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise IndexUnusableError(f"cannot read {path}: {exc.strerror}; rebuild it") from exc
    head = len(MAGIC) + DIGEST_SIZE
    payload = memoryview(data)[head:]
    # The library itself notices a cut file, but not a flipped bit.
    if data[:head] != MAGIC + hashlib.sha256(payload).digest():
        raise IndexUnusableError(f"{path} is damaged or no index of this program; rebuild it")
    try:
        return NeighbourIndex(_faiss().deserialize_index(np.frombuffer(payload, np.uint8)))
    except RuntimeError as exc:
        raise IndexUnusableError(f"{path} is of another library version; rebuild it") from exc


def open_index(path: Path, vectors: Vectors, positions: Ints | None = None) -> NeighbourIndex:
    """Index of these vectors: the file's if it is whole and fits, else built anew and written."""
    try:
        index = load_index(path)
    except IndexUnusableError:
        index = None
    if index is None or index.shape != vectors.shape:
        index = build_index(vectors, positions)
        save_index(index, path)
    return index


def kth_distances(index: NeighbourIndex, queries: Vectors, k: int = NEIGHBOURS) -> Floats:
    """Distance of each query to its ``k``-th nearest vector, the last one where there are fewer."""
    reach = min(k, index.shape[0])
    return _in_batches(index, queries, reach)


def leave_one_out_distances(index: NeighbourIndex, vectors: Vectors, k: int = NEIGHBOURS) -> Floats:
    """``kth_distances`` of the indexed vectors themselves, each without itself.

    Itself is the nearest at distance 0, so the ``k + 1``-th of all is the ``k``-th of the others,
    also where a vector occurs more than once.
    """
    return _in_batches(index, vectors, min(k + 1, index.shape[0]))


def neighbours(index: NeighbourIndex, queries: Vectors, k: int = NEIGHBOURS) -> tuple[Ints, Floats]:
    """Positions and distances of the ``k`` nearest vectors, ``(n, min(k, size))`` each."""
    distances, positions = index.search(queries, min(k, index.shape[0]))
    return positions, distances


def _in_batches(index: NeighbourIndex, queries: Vectors, k: int) -> Floats:
    last = [
        index.search(queries[start : start + BATCH], k)[0][:, -1]
        for start in range(0, len(queries), BATCH)
    ]
    return np.concatenate(last) if last else np.empty(0)


def _faiss() -> ModuleType:
    import faiss  # noqa: PLC0415 - half a second that only searches should pay

    faiss.omp_set_num_threads(1)  # holds for the calling thread only
    return faiss
