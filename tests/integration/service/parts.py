"""The daemon's parts, put together small: traffic lines, a clock that is set, hash encoders."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from sqlalchemy.orm import Session

from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import ImageLimits
from monitor.records import Measurement, ReferenceVersion
from monitor.reference.build import BuiltReference, build
from monitor.reference.conditional import QReport
from monitor.service.embedding import Embedder, ImageFiles, average_images, columns
from monitor.service.ingest_job import Feed, IngestJob
from monitor.service.intake import Batch, Intake, Receipt, SamplingRules
from monitor.service.privacy import Privacy
from monitor.service.reference_build import ReferenceRow
from monitor.service.telemetry import Telemetry
from monitor.service.wiring import Jobs, Surroundings, make_jobs, make_surroundings
from monitor.settings import Settings
from monitor.store.counters import all_counts
from monitor.store.engine import Database
from monitor.store.references import activate, save_reference
from monitor.store.windows import measurements_between
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Wire
from monitor.traffic.sources.jsonl import FileSource
from tests.fakes import HashEncoder

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
PANE = timedelta(minutes=5)
LATENESS = timedelta(minutes=10)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
STREAM = "llava"
DIM = 16


def hash_encoders(salt: str = "") -> EncoderPair:
    return EncoderPair("hash", HashEncoder(DIM, f"v{salt}"), HashEncoder(DIM, f"t{salt}"))


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def at(minutes: float) -> datetime:
    return START + minutes * MINUTE


def png(seed: int, side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def inline(data: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode(), "media_type": "image/png"}


def exchange(
    name: str,
    minutes: float = 0,
    *,
    stream: str = STREAM,
    images: Sequence[Mapping[str, str]] = (),
    **more: object,
) -> bytes:
    """One native line; ``more`` are further top-level keys."""
    body = {
        "id": name,
        "time": at(minutes).isoformat(),
        "stream": stream,
        "query": {"text": f"What is unusual in {name}?", "images": list(images)},
        "response": f"A man irons {name}.",
        **more,
    }
    return json.dumps(body).encode() + b"\n"


def late_target(name: str, target: str = "A taxi.", stream: str = STREAM) -> bytes:
    return json.dumps({"id": name, "stream": stream, "target": target}).encode() + b"\n"


def traffic(
    count: int, minutes: float, *, start: float = 0, seed: int = 0, stream: str = STREAM
) -> list[bytes]:
    """Exchanges spread over a time in order, some with an image, a target and labels."""
    rng = np.random.default_rng(seed)
    moments = start + np.sort(rng.uniform(0, minutes, count))
    return [
        exchange(
            f"{stream}-{seed}-{i}",
            float(moment),
            stream=stream,
            images=[inline(png(i % 7))] if i % 2 else [],
            labels={"tenant": f"t{i % 3}"},
            **({"target": f"target {i}"} if i % 3 else {}),
        )
        for i, moment in enumerate(moments)
    ]


def make_intake(database: Database, clock: Clock | None = None, **rules: object) -> Intake:
    usual = {
        "per_pane": 100,
        "seed": 0,
        "pane": PANE,
        "lateness": LATENESS,
        "target_lateness": LATENESS,
        "max_streams": 10,
    }
    root, privacy = rules.pop("root", None), rules.pop("privacy", None)
    return Intake(
        database=database,
        clock=clock or Clock(),
        rules=SamplingRules(**{**usual, **rules}),  # type: ignore[arg-type]  # from a dict
        files=ImageFiles(root if isinstance(root, Path) else None, ImageLimits()),
        privacy=privacy if isinstance(privacy, Privacy) else None,
    )


def admit(
    intake: Intake, lines: Sequence[bytes], *, source: str = "file", partition: str = "a"
) -> Receipt:
    return intake.admit(Batch(source, partition, lines), format_named("auto"))


def outcomes(database: Database) -> dict[str, int]:
    """Counts by outcome, of all sources."""
    found: dict[str, int] = {}
    with database.read() as session:
        for _, _, outcome, count in all_counts(session):
            found[outcome] = found.get(outcome, 0) + count
    return found


def small_settings(folder: Path, **sections: Mapping[str, object]) -> Settings:
    """Settings whose windows are short and whose references are small."""
    usual: dict[str, Mapping[str, object]] = {
        "database": {"url": f"sqlite:///{folder / 'monitor.db'}"},
        "windows": {"length": "15m", "slide": "5m", "min_samples": 10},
        "sampling": {"per_pane": 40},
        "http": {"listen": "127.0.0.1:0"},
    }
    merged = {
        key: {**usual.get(key, {}), **sections.get(key, {})}
        for key in usual.keys() | sections.keys()
    }
    return Settings.model_validate({**merged, "data_dir": folder / "data"})


def file_feed(path: Path, *, follow: bool = True, name: str | None = None) -> Feed:
    return Feed(FileSource(name or str(path), [str(path)], follow=follow), "auto")


@dataclass
class Rig:
    """All jobs over one database, on a clock that is set."""

    settings: Settings
    database: Database
    feeds: Sequence[Feed] = ()
    clock: Clock = field(default_factory=Clock)
    follows_clock: bool = True
    salt: str = ""
    around: Surroundings = field(init=False)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.around = make_surroundings(self.settings, self.database, self.clock, Event())
        self.jobs = make_jobs(
            self.settings,
            self.around,
            hash_encoders(self.salt),
            self.feeds,
            follows_clock=self.follows_clock,
        )

    def work(self) -> None:
        """One turn of every job."""
        self.jobs.ingest.run(self.around.stop.is_set)
        self.jobs.embed()
        self.jobs.measure()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.around.telemetry.registry.get_sample_value(f"mllm_monitor_{name}", labels)


def everything_measured(database: Database) -> list[Measurement]:
    with database.read() as session:
        return measurements_between(
            session,
            None,
            START - timedelta(days=365),
            START + timedelta(days=365),
            limit=1_000_000,
        )


def ingest_job(
    database: Database,
    feeds: Sequence[Feed],
    clock: Clock,
    registry: CollectorRegistry | None = None,
    *,
    follows_clock: bool,
) -> IngestJob:
    """The job over these feeds, which are open already."""
    return IngestJob(
        database=database,
        clock=clock,
        feeds=feeds,
        intake=make_intake(database, clock),
        telemetry=Telemetry(registry or CollectorRegistry()),
        follows_clock=follows_clock,
    )


@cache
def small_reference(salt: str = "") -> BuiltReference:
    """Built from traffic like that of ``traffic``, once for all tests.

    From hashes nothing can be learned. Networks are kept all the same: every signal has a value.
    """
    encoders = hash_encoders(salt)
    embedder = Embedder(encoders, ImageLimits(), with_thumbnails=False)
    rows = []
    form = format_named("native")
    for raw in traffic(300, 60, seed=99):
        (wire,) = form.parse(raw, NOW)
        assert isinstance(wire, Wire)
        logged = wire.exchange()
        texts = embedder.texts([logged.text, logged.response, logged.target])
        files = ImageFiles(None, ImageLimits()).find(logged.images)
        vectors = embedder.images({f.content_hash or "": f.payload or b"" for f in files})
        rows.append(
            ReferenceRow(
                exchange=logged,
                z_v=average_images(v.z for v in vectors),
                z_t=texts[logged.text],
                z_y=texts[logged.response],
                z_target=None if logged.target is None else texts[logged.target],
                thumbnail=None,
                image_states=tuple(image.state for image in files),
            )
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QReport, "has_learned", True)
        return build(
            columns(rows, DIM),
            name="normal",
            encoder_digest=encoders.digest,
            smallest_window=10,
            null_draws=50,
        )


def store_reference(session: Session, *, salt: str = "", stream: str | None = "*") -> str:
    """The small reference in this database, active for ``stream``; returns its identity."""
    built = small_reference(salt)
    version = ReferenceVersion(
        built.digest, built.name, START, built.encoder_digest, dict(built.facts)
    )
    save_reference(session, version, built.arrays)
    if stream is not None:
        activate(session, built.digest, stream, START)
    return version.identity
