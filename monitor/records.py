"""The values that cross rooms: frozen, typed, free of behaviour that needs anything else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

ALL = "all"  # the slice that is everything
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Modality(StrEnum):
    """What of an exchange is embedded and compared."""

    VISUAL = "visual"
    TEXTUAL = "textual"
    RESPONSE = "response"


class Signal(StrEnum):
    """Every measured quantity that has a null and a threshold."""

    VISUAL_DISCREPANCY = "visual_discrepancy"
    TEXTUAL_DISCREPANCY = "textual_discrepancy"
    RESPONSE_DISCREPANCY = "response_discrepancy"
    OUTPUT_GAP = "output_gap"
    MI_QUERY_RESPONSE = "mi_query_response"
    MI_QUERY_TARGET = "mi_query_target"
    EMI = "emi"
    EMID = "emid"
    EMID_BOUND_UNSCALED = "emid_bound_unscaled"
    EMID_BOUND = "emid_bound"
    INPUT_BOUND = "input_bound"
    IMAGE_TEXT_AGREEMENT = "image_text_agreement"
    NOVELTY_VISUAL = "novelty_visual"
    NOVELTY_TEXTUAL = "novelty_textual"
    IMAGE_SHARE = "image_share"
    IMAGE_LOGGING = "image_logging"


class Verdict(StrEnum):
    """What one measurement says."""

    IN_CONTROL = "in_control"
    DRIFTING = "drifting"
    INSUFFICIENT = "insufficient"


class ImageState(StrEnum):
    """What became of one image of a query on its way into the log and to the encoder.

    References store places in this order: a new one goes last.
    """

    INLINE = "inline"
    URL = "url"
    OBJECT_REF = "object_ref"
    PROVIDER_FILE = "provider_file"
    TRUNCATED = "truncated"
    REDACTED = "redacted"
    UPLOAD_FAILED = "upload_failed"
    MARKER_ONLY = "marker_only"
    ABSENT = "absent"
    REJECTED = "rejected"  # it was there, but could not be decoded safely


class TargetSource(StrEnum):
    """Whose answer a target is."""

    LOGGED = "logged"
    TEACHER = "teacher"


@dataclass(frozen=True, slots=True)
class LoggedImage:
    """One image as the log has it.

    ``data`` holds the encoded file (png, jpeg, gif, webp) where the log carried it inline;
    ``path`` a file below the image root; ``url`` an address that is not fetched unless enabled.
    """

    state: ImageState
    data: bytes | None = None
    path: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One logged query and response. ``aliases`` are further names that labels may call it by."""

    id: str
    time: datetime
    stream: str
    text: str
    response: str
    images: tuple[LoggedImage, ...] = ()
    target: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LateTarget:
    """A target that arrives apart from its exchange.

    ``id`` is any name of it; ``stream`` is empty where it is not known.
    """

    id: str
    stream: str
    target: str


@dataclass(frozen=True, slots=True, order=True)
class WindowId:
    """Whole consecutive panes of event time, half open ``[start, end)``."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Measurement:
    """An estimate with its window, slice, ``n``, threshold, verdict and reference.

    ``value`` is None exactly when ``verdict`` is ``insufficient``; then ``reason`` says why.
    ``terms`` names the parts a bound was summed from; bounds with different terms are not compared.
    That of ``image_logging`` is the state whose share grew most.
    ``low`` to ``high`` covers the value's expectation with 95 %. ``evidence`` is what the windows
    since ``evidence_since`` say together, ``persistent`` whether it has reached its threshold and
    not gone since; absent where a window overlaps one that was counted. ``scores`` are what the
    window adds to it, and are not read back.
    """

    stream: str
    slice_key: str
    signal: Signal
    window: WindowId
    n: int
    verdict: Verdict
    reference: str
    value: float | None = None
    stderr: float | None = None
    null_mean: float | None = None
    threshold: float | None = None
    excess_ratio: float | None = None
    p_value: float | None = None
    reason: str | None = None
    terms: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    evidence: float | None = None
    evidence_threshold: float | None = None
    evidence_since: datetime | None = None
    persistent: bool | None = None
    scores: tuple[float, ...] = ()


def floor_time(time: datetime, step: timedelta) -> datetime:
    """Largest multiple of ``step`` since the epoch that is not after ``time``."""
    return time - (time - EPOCH) % step


def ceil_time(time: datetime, step: timedelta) -> datetime:
    """Smallest multiple of ``step`` since the epoch that is not before ``time``."""
    return time + (EPOCH - time) % step


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image of a candidate: its state, and the encoded file where it was at hand."""

    state: ImageState
    content_hash: str | None = None
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An exchange that may belong to the sample of its pane."""

    exchange: Exchange
    pane_start: datetime
    priority: int
    images: tuple[StoredImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a partition (one file, say) of a source has been read."""

    source: str
    partition: str
    offset: int
    at_end: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that was refused. ``excerpt`` is short and for the quarantine only."""

    reason: str
    detail: str
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class PendingImage:
    """An image of a pending sample: embedded already (``z``), to be (``payload``), or neither."""

    content_hash: str
    payload: bytes | None
    z: bytes | None


@dataclass(frozen=True, slots=True)
class PendingSample:
    """A sample that waits for its embeddings."""

    id: int
    text: str
    response: str
    target: str | None
    images: tuple[PendingImage, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A kept exchange without its content. Vectors are float16 little-endian bytes, unit norm."""

    id: int
    exchange_id: str
    pane_start: datetime
    priority: int
    labels: Mapping[str, str]
    image_states: tuple[ImageState, ...]
    encoder_digest: str | None
    z_v: bytes | None
    z_t: bytes | None
    z_y: bytes | None
    z_target: bytes | None
    novelty_v: float | None
    novelty_t: float | None
    novelty_reference: str | None
    target_source: str | None = None


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """What one measured window was made of. Of its targets, some may be the teacher's."""

    stream: str
    window: WindowId
    reference: str
    revision: int
    seen: int
    n: int
    n_targets: int
    image_states: Mapping[str, int]
    measured_at: datetime
    n_teacher_targets: int = 0


def may_be_name(name: str) -> bool:
    """Whether a reference may be called so: ``name@digest`` tells one version of it."""
    return bool(name.strip()) and "@" not in name and name.isprintable()


@dataclass(frozen=True, slots=True)
class ReferenceVersion:
    """One immutable version of a reference; ``facts`` says how it was made."""

    digest: str
    name: str
    created_at: datetime
    encoder_digest: str
    facts: Mapping[str, object]

    @property
    def identity(self) -> str:
        """What measurements and people call it."""
        return f"{self.name}@{self.digest[:12]}"


@dataclass(frozen=True, slots=True)
class ReferenceSample:
    """One exchange of a reference, for people to look at; content goes as retention says."""

    position: int
    exchange_id: str
    part: str
    text: str | None = None
    response: str | None = None
    target: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class Activation:
    """From when on a reference judges a stream; ``*`` is every stream without its own."""

    stream: str
    digest: str
    activated_at: datetime
