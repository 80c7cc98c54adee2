"""Counting and sampling what is not kept, against parsing the same lines and nothing else."""

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from monitor.encoders.images import ImageLimits
from monitor.service.embedding import ImageFiles
from monitor.service.ingest_job import BATCH_LINES, Feed, IngestJob
from monitor.service.intake import Batch, Intake, SamplingRules
from monitor.service.telemetry import Telemetry
from monitor.store.engine import open_database
from monitor.store.migrations import upgrade
from monitor.traffic.formats.detect import format_named
from monitor.traffic.sources.jsonl import FileSource

START = datetime(2026, 3, 1, tzinfo=UTC)
ROUNDS = 5


def line(i: int, image: str | None) -> bytes:
    """About 1 kB of text, and an inline image where there is one."""
    query: dict[str, object] = {"text": f"What is unusual in picture {i}? " + "Explain it. " * 20}
    if image is not None:
        query["images"] = [{"data": image, "media_type": "image/png"}]
    exchange = {
        "id": f"request-{i:08d}",
        "time": (START + timedelta(milliseconds=i)).isoformat(),
        "stream": "llava-v1.5-13b",
        "query": query,
        "response": "A man is ironing clothes on the back of a car. " * 9,
        "labels": {"tenant": "acme", "language": "en"},
    }
    return json.dumps(exchange).encode() + b"\n"


def each(lines: Sequence[bytes], parse: Callable[[bytes], object]) -> None:
    """Parse every line and let the result go."""
    for text in lines:
        parse(text)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


class Setup:
    """An empty database with an intake whose panes keep one exchange each."""

    def __init__(self, folder: Path) -> None:
        self.database = open_database(f"sqlite:///{folder}/bench.db")
        upgrade(self.database)
        self.intake = Intake(
            database=self.database,
            clock=lambda: START + timedelta(days=1),
            rules=SamplingRules(
                per_pane=1,
                seed=0,
                pane=timedelta(minutes=5),
                lateness=timedelta(minutes=10),
                target_lateness=timedelta(minutes=10),
                max_streams=10,
            ),
            files=ImageFiles(None, ImageLimits()),
        )
        self.form = format_named("auto")

    def admit(self, lines: Sequence[bytes]) -> None:
        """From memory, a transaction for every so many lines, as the ingest job does it."""
        for start in range(0, len(lines), BATCH_LINES):
            batch = Batch("bench", "memory", lines[start : start + BATCH_LINES])
            self.intake.admit(batch, self.form)

    def ingest(self, path: Path) -> None:
        """From a file, through the ingest job."""
        job = IngestJob(
            database=self.database,
            clock=lambda: START + timedelta(days=1),
            feeds=[Feed(FileSource(path.name, [str(path)], follow=False), "auto")],
            intake=self.intake,
            telemetry=Telemetry(CollectorRegistry()),
            follows_clock=False,
        )
        while job.step():
            pass


def parse_file(path: Path, parse: Callable[[bytes], object]) -> None:
    with path.open("rb") as file:
        for text in file:
            parse(text)


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("image_bytes", "count", "least"), [(None, 60_000, 1 / 5), (200_000, 2_000, 4 / 5)]
)
def test_not_keeping_an_exchange_costs_little_more_than_parsing_it(
    image_bytes: int | None, count: int, least: float, tmp_path: Path
) -> None:
    image = None if image_bytes is None else "QUJDRA" * (image_bytes // 6)
    lines = [line(i, image) for i in range(count)]
    path = tmp_path / "traffic.jsonl"
    path.write_bytes(b"".join(lines))
    parse = msgspec.json.Decoder().decode
    setup = Setup(tmp_path)
    setup.admit(lines[:1])  # from here on the pane is full
    # Side by side in each round, so that a disturbance hits both; the best round of each counts.
    alone, ours, alone_file, ours_file = [], [], [], []
    for round_ in range(ROUNDS):
        alone.append(seconds(lambda: each(lines, parse)))
        ours.append(seconds(lambda: setup.admit(lines)))
        alone_file.append(seconds(lambda: parse_file(path, parse)))
        copy = path.with_name(f"traffic-{round_}.jsonl")
        copy.write_bytes(b"%d\n" % round_ + path.read_bytes())  # another first line, another log
        ours_file.append(seconds(lambda copy=copy: setup.ingest(copy)))
        copy.unlink()
    kind = "1 kB lines" if image is None else "200 kB lines"
    for what, theirs, mine in (("memory", alone, ours), ("a file", alone_file, ours_file)):
        print(
            f"\n{kind} from {what}: parsing alone {min(theirs) / count * 1e6:.2f} us, counted and "
            f"sampled {min(mine) / count * 1e6:.2f} us, rate {min(theirs) / min(mine):.2f} of "
            f"parsing alone (at least {least:.2f})",
            end="",
        )
        assert min(theirs) / min(mine) >= least
