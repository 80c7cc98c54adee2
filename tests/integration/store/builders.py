"""Small records with everything filled in but what a test is about."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from monitor.records import (
    ALL,
    Candidate,
    Exchange,
    ImageState,
    Measurement,
    ReferenceVersion,
    Signal,
    StoredImage,
    Verdict,
    WindowId,
    WindowSummary,
)
from monitor.store.keeping import keep_candidates
from monitor.store.pending import claim_pending, record_embeddings

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)  # when things are stored
START = datetime(2026, 3, 1, 12, tzinfo=UTC)  # when they happened
PANE = timedelta(minutes=5)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
STREAM = "llava"
DIGEST = "e" * 64


def pane(number: int) -> datetime:
    return START + number * PANE


def candidate(
    name: str,
    priority: int = 0,
    *,
    in_pane: int = 0,
    stream: str = STREAM,
    images: Sequence[StoredImage] = (),
    target: str | None = None,
    labels: Mapping[str, str] | None = None,
    text: str = "What is unusual?",
) -> Candidate:
    exchange = Exchange(
        name, pane(in_pane), stream, text, "A man irons.", target=target, labels=labels or {}
    )
    return Candidate(exchange, pane(in_pane), priority, tuple(images))


def image(content_hash: str, payload: bytes | None = b"file") -> StoredImage:
    return StoredImage(ImageState.INLINE, content_hash, payload)


def keep(session: Session, *candidates: Candidate, per_pane: int = 100) -> None:
    keep_candidates(session, candidates, per_pane, NOW)


def embed(session: Session, now: datetime = NOW) -> list[int]:
    """Embed all that is pending, with vectors that say whose they are."""
    claimed = claim_pending(session, 10_000, now, HOUR)
    record_embeddings(
        session,
        DIGEST,
        [
            (s.id, b"v", s.text.encode(), s.response.encode(), s.target and s.target.encode())
            for s in claimed
        ],
    )
    return [s.id for s in claimed]


def window(start: datetime = START, length: timedelta = HOUR) -> WindowId:
    return WindowId(start, start + length)


def summary(
    at: WindowId, *, revision: int = 1, stream: str = STREAM, measured_at: datetime = NOW
) -> WindowSummary:
    return WindowSummary(stream, at, "coco@0123", revision, 9, 7, 2, {"inline": 5}, measured_at)


def measurement(
    at: WindowId,
    *,
    stream: str = STREAM,
    slice_key: str = ALL,
    signal: Signal = Signal.EMI,
    value: float | None = 0.25,
) -> Measurement:
    verdict = Verdict.INSUFFICIENT if value is None else Verdict.DRIFTING
    return Measurement(stream, slice_key, signal, at, 7, verdict, "coco@0123", value)


def version(digest: str, name: str = "coco", age: timedelta = timedelta()) -> ReferenceVersion:
    return ReferenceVersion(digest, name, NOW - age, DIGEST, {"n": 3})
