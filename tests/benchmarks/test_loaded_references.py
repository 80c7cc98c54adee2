"""What loaded references take of memory: the first, and each further one."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from monitor.records import Modality, ReferenceSample, ReferenceVersion
from monitor.reference.artefact import Network, digest_of
from monitor.reference.conditional import QNetwork
from monitor.reference.embedded import PARTS, Arrays
from monitor.store.engine import Database, open_database
from monitor.store.migrations import upgrade
from monitor.store.references import save_reference
from tests.populations import ENCODER, traffic

DIM, FURTHER = 768, 4
LOAD = """
import sys
from pathlib import Path
import psutil
from monitor.encoders.builtin import builtin_encoders
from monitor.service.shelf import ReferenceShelf
from monitor.store.engine import open_database
from monitor.store.references import list_references
me, encoders = psutil.Process(), builtin_encoders()
with open_database(sys.argv[1]) as database:
    with database.read() as session:
        small, *digests = [v.digest for v in list_references(session)]
    shelf = ReferenceShelf(database=database, data_dir=Path(sys.argv[2]), encoder_digest=None)
    print(me.memory_info().rss)
    shelf.get(small)  # and with it the libraries
    print(me.memory_info().rss)
    for digest in digests:
        shelf.get(digest)
        print(me.memory_info().rss)
"""


def store(database: Database, n: int, seed: int) -> None:
    """A reference of n exchanges whose networks know nothing: their size is what counts."""
    rng = np.random.default_rng(seed)
    part = (np.arange(n) % len(PARTS)).astype(np.uint8)
    arrays: Arrays = {
        **traffic(n, seed, dim=DIM, image_share=0.9).to_arrays(),
        **{
            f"q_{network}/{key}": (rng.standard_normal(weights.shape) / 100).astype(np.float32)
            for network in Network
            for key, weights in QNetwork(DIM, DIM).to_arrays().items()
        },
        **{f"novelty/{m}": np.array([1.0]) for m in (Modality.VISUAL, Modality.TEXTUAL)},
        "part": part,
        "smallest_window": np.array([30]),
    }
    digest = digest_of(arrays, ENCODER)
    made = datetime(2026, 1, 1, 0, seed, tzinfo=UTC)
    version = ReferenceVersion(digest, f"reference-{seed}", made, ENCODER, {})
    exchanges = [ReferenceSample(i, f"exchange-{seed}-{i}", PARTS[p]) for i, p in enumerate(part)]
    with database.begin() as session:
        save_reference(session, version, arrays, exchanges)


@pytest.mark.benchmark
@pytest.mark.parametrize("n", [1_000, 5_000])
def test_a_loaded_reference_takes_so_much_memory(n: int, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with open_database(url) as database:
        upgrade(database)
        for seed, size in enumerate([200, *[n] * (1 + FURTHER)]):
            store(database, size, seed)
    command = [sys.executable, "-c", LOAD, url, str(tmp_path / "data")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    start, before, first, *_, last = (int(line) / 2**20 for line in printed.split())
    each = (last - first) / FURTHER
    print(
        f"\n{n} exchanges: {start:.0f} MiB without any, {before:.0f} with a small one, "
        f"{first - before:.0f} more with the first, {each:.0f} each further one"
    )
    # Vectors of the density part, halves of all, two indexes, three densities, two networks.
    held = n * DIM * (4 * 4 / 2 + 2 * 2 + 2 * 4 / 2) + 3 * 8 * DIM**2 + 2 * 2**20
    assert each < 2 * held / 2**20
