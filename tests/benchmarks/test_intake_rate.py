"""Counting and sampling what is not kept, against parsing the same lines and nothing else."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from monitor.encoders.images import ImageLimits
from monitor.service.embedding import ImageFiles
from monitor.service.ingest_job import Feed, IngestJob
from monitor.service.intake import Intake, SamplingRules
from monitor.service.telemetry import Telemetry
from monitor.store.engine import open_database
from monitor.store.migrations import upgrade
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


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of several rounds; the others were disturbed."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def ingest_seconds(folder: Path, lines: list[bytes]) -> float:
    """Reading the lines from a file through the ingest job into panes that are full already."""
    rules = SamplingRules(
        per_pane=1,
        seed=0,
        pane=timedelta(minutes=5),
        lateness=timedelta(minutes=10),
        target_lateness=timedelta(minutes=10),
        max_streams=10,
    )
    seconds = []
    for round_ in range(ROUNDS):
        path = folder / f"traffic-{round_}.jsonl"
        path.write_bytes(b"".join(lines))
        with open_database(f"sqlite:///{folder}/{round_}.db") as database:
            upgrade(database)
            job = IngestJob(
                database=database,
                clock=lambda: START + timedelta(days=1),
                feeds=[Feed(FileSource("bench", [str(path)], follow=False), "auto")],
                intake=Intake(
                    database=database,
                    clock=lambda: START + timedelta(days=1),
                    rules=rules,
                    files=ImageFiles(None, ImageLimits()),
                ),
                telemetry=Telemetry(CollectorRegistry()),
                follows_clock=False,
            )
            job.step()  # fills the pane
            started = time.perf_counter()
            while job.step():
                pass
            seconds.append(time.perf_counter() - started)
        path.unlink()
    return min(seconds)


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("image_bytes", "count", "least"), [(None, 100_000, 1 / 5), (200_000, 2_000, 4 / 5)]
)
def test_not_keeping_an_exchange_costs_little_more_than_parsing_it(
    image_bytes: int | None,
    count: int,
    least: float,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    image = None if image_bytes is None else "QUJDRA" * (image_bytes // 6)
    lines = [line(i, image) for i in range(count)]
    parse = msgspec.json.Decoder().decode
    alone = fastest(lambda: [parse(text) for text in lines]) / count
    whole = ingest_seconds(tmp_path, lines) / count
    ratio = alone / whole
    kind = "1 kB lines" if image is None else "200 kB lines"
    print(
        f"\n{kind}: parsing alone {alone * 1e6:.2f} us, the ingest job {whole * 1e6:.2f} us, "
        f"rate {ratio:.2f} of parsing alone (at least {least:.2f})"
    )
    record_property("rate_ratio", ratio)
    assert ratio >= least
