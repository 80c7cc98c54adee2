"""What a stream and a stored reference take, in bytes and in processor time."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

GOOD, DAY = 800, 2_400
SAMPLES = ("samples", "sample_aliases", "sample_images", "images")
WINDOWS = ("windows", "measurements", "evidence")
REFERENCE = ("references", "reference_arrays", "reference_samples")
SETTINGS = """
data_dir: {folder}/data
sampling: {{per_pane: 1000}}
windows: {{pane: 5m, length: 10m, slide: 5m}}
reference: {{null_draws: 50}}
slices: {{labels: [tenant]}}
privacy: {{content_retention: {retention}}}
"""


@dataclass
class Place:
    """A folder and a database that a monitor works in."""

    folder: Path
    url: str

    def run(self, *arguments: str) -> float:
        """One command; its processor time in seconds."""
        environ = {**os.environ, "MLLM_MONITOR_DATABASE__URL": self.url}
        command = [sys.executable, "-m", "monitor", "--config", str(self.folder / "m.yaml")]
        with (self.folder / "said").open("wb") as said:
            child = subprocess.Popen([*command, *arguments], stdout=said, stderr=said, env=environ)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, (self.folder / "said").read_text()[-2000:]
        return usage.ru_utime + usage.ru_stime

    def sizes(self) -> dict[str, int]:
        """Bytes of each table with its indexes and large values."""
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection:
                rows = connection.execute(
                    "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m"
                    " ON m.name = s.name GROUP BY 1"
                ).fetchall()
        else:
            with psycopg.connect(self.url, autocommit=True) as server:
                server.execute("VACUUM FULL")  # without what other transactions left behind
                rows = server.execute(
                    "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
                    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
                ).fetchall()
        return {str(name): int(size) for name, size in rows}

    def count(self, table: str) -> int:
        query = f"SELECT count(*) FROM {table}"  # noqa: S608 - names from above
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection:
                return int(connection.execute(query).fetchone()[0])
        with psycopg.connect(self.url) as server:
            (number,) = server.execute(query).fetchone() or (0,)
            return int(number)

    def bytes_of(self, tables: tuple[str, ...]) -> int:
        sizes = self.sizes()
        return sum(sizes[table] for table in tables)


@pytest.fixture(params=["sqlite", "postgresql"])
def places(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_url: str
) -> Iterator[dict[str, Place]]:
    """One that keeps content and one that keeps none."""
    made = {}
    for retention in ("7d", "0"):
        folder = tmp_path / retention
        folder.mkdir()
        (folder / "m.yaml").write_text(SETTINGS.format(folder=folder, retention=retention))
        url = f"sqlite:///{folder}/m.db"
        if request.param == "postgresql":
            with psycopg.connect(postgres_url, autocommit=True) as server:
                server.execute(f"CREATE DATABASE sizes{retention}")
            url = postgres_url.replace("/postgres?", f"/sizes{retention}?")
        made[retention] = Place(folder, url)
        made[retention].run("db", "upgrade")
    yield made
    if request.param == "postgresql":
        with psycopg.connect(postgres_url, autocommit=True) as server:
            for retention in made:
                server.execute(f"DROP DATABASE sizes{retention} WITH (FORCE)")


def simulate(place: Place, name: str, count: int, seed: int) -> str:
    path = str(place.folder / name)
    place.run("simulate", f"--count={count}", f"--seed={seed}", f"--out={path}")
    return path


@pytest.mark.benchmark
def test_a_sample_a_window_and_a_reference_take_so_many_bytes(
    places: dict[str, Place], request: pytest.FixtureRequest
) -> None:
    per_sample = {}
    for retention, place in places.items():
        built = place.run("reference", "build", simulate(place, "good.jsonl", GOOD, 1))
        before = place.bytes_of(SAMPLES)
        spent = place.run("replay", simulate(place, "day.jsonl", DAY, 2))
        kept = place.count("samples")
        per_sample[retention] = (place.bytes_of(SAMPLES) - before) / kept
        rows, windows = place.count("measurements"), place.count("windows")
        reference = place.bytes_of(REFERENCE) / GOOD
        index = sum(f.stat().st_size for f in (place.folder / "data").rglob("*") if f.is_file())
        print(
            f"\n{request.node.callspec.id}, content kept for {retention}:"
            f"\n  a sample {per_sample[retention]:,.0f} bytes ({kept} of them)"
            f"\n  a measurement {place.bytes_of(WINDOWS) / rows:,.0f} bytes, {rows / windows:.0f} a"
            f" window of {place.count('windows')}"
            f"\n  a reference {reference:,.0f} bytes an exchange, its indexes {index / GOOD:,.0f}"
            f"\n  building it {built:.0f} s, replaying {DAY} exchanges {spent:.0f} s of a core"
        )
    assert per_sample["0"] < per_sample["7d"] < 20_000
