"""All tables. Rows stay inside ``store``; records go out."""

import re
from datetime import UTC, date, datetime
from typing import NotRequired, TypedDict

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
NAME_LENGTH = 200  # streams, labels, sources
ID_LENGTH = 256  # ids given by clients
SLICE_LENGTH = 2 * NAME_LENGTH + 1  # label=value
IDENTITY_LENGTH = NAME_LENGTH + 65  # name@digest
# Retention asks with the very words of its partial indexes, so that it reads only what is left.
SAMPLE_HAS_CONTENT = "text IS NOT NULL OR target IS NOT NULL"
IMAGE_HAS_CONTENT = "payload IS NOT NULL OR thumbnail IS NOT NULL"
# So do the time lines with those of theirs.
IS_DRIFTING = "verdict = 'drifting'"
IS_PERSISTENT = "is_persistent"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER keys by itself


def _partial_index(name: str, *columns: str, where: str) -> Index:
    condition = text(where)
    return Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; a naive one is refused instead of guessed at."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected an aware time, got the naive {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def storable(text: str) -> str:
    """The text as both databases can hold it: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class CleanName(TypeDecorator[str]):
    """A name that a stranger may have given, made storable on its way in."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class CleanText(CleanName):
    """The same of any length."""

    impl = Text
    cache_ok = True


class Base(DeclarativeBase):
    """Holds the metadata that migrations are compared with."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime(), bytes: LargeBinary(), str: CleanText()}  # noqa: RUF012 - SQLAlchemy's own declaration form


class StreamRow(Base):
    """A watched model.

    ``watermark``: event time up to which its panes are closed. ``forgotten_until``: start of the
    latest pane or window that retention has deleted; a window that starts there or earlier has
    lost samples and is never measured again.
    """

    __tablename__ = "streams"
    name: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    first_seen: Mapped[datetime]
    watermark: Mapped[datetime | None]
    forgotten_until: Mapped[datetime | None]


class PartitionWatermarkRow(Base):
    """Largest event time that one partition of a source has shown for one stream."""

    __tablename__ = "partition_watermarks"
    source: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    partition: Mapped[str] = mapped_column(CleanName(ID_LENGTH), primary_key=True)
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    first: Mapped[datetime]
    last: Mapped[datetime]


class CursorRow(Base):
    """How far one partition of a source has been read; committed with what was read."""

    __tablename__ = "cursors"
    source: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    partition: Mapped[str] = mapped_column(CleanName(ID_LENGTH), primary_key=True)
    offset: Mapped[int] = mapped_column(BigInteger)
    at_end: Mapped[bool]
    updated_at: Mapped[datetime]


class PaneRow(Base):
    """What one pane of a stream has seen; ``revision`` grows with every change in it.

    ``settled_revision`` is the revision at which every window over the pane was found measured.
    """

    __tablename__ = "panes"
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    start: Mapped[datetime] = mapped_column(primary_key=True)
    seen: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger)
    settled_revision: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        _partial_index(
            "ix_panes_unsettled", "stream", "start", where="revision <> settled_revision"
        ),
    )


class SampleRow(Base):
    """A kept exchange. Pending until ``encoder_digest`` is set; texts go when retention says.

    ``target_source`` says whose the target is and is set exactly where ``has_target`` is.
    """

    __tablename__ = "samples"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    exchange_id: Mapped[str] = mapped_column(CleanName(ID_LENGTH))
    pane_start: Mapped[datetime]
    time: Mapped[datetime]
    priority: Mapped[int] = mapped_column(BigInteger)
    labels: Mapped[dict[str, str]] = mapped_column(JSON)
    text: Mapped[str | None]
    response: Mapped[str | None]
    target: Mapped[str | None]
    has_target: Mapped[bool]
    target_source: Mapped[str | None] = mapped_column(String(10))
    stored_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int]
    encoder_digest: Mapped[str | None] = mapped_column(String(64))
    z_v: Mapped[bytes | None]
    z_t: Mapped[bytes | None]
    z_y: Mapped[bytes | None]
    z_target: Mapped[bytes | None]
    novelty_v: Mapped[float | None] = mapped_column(Float(53))
    novelty_t: Mapped[float | None] = mapped_column(Float(53))
    novelty_reference: Mapped[str | None] = mapped_column(String(64))
    __table_args__ = (
        UniqueConstraint("stream", "exchange_id"),
        Index("ix_samples_pane", "stream", "pane_start", "priority"),
        Index("ix_samples_exchange_id", "exchange_id"),
        _partial_index(
            "ix_samples_pending", "pane_start", "stream", "id", where="encoder_digest IS NULL"
        ),
        Index("ix_samples_stored_at", "stored_at"),
        _partial_index("ix_samples_content", "stored_at", where=SAMPLE_HAS_CONTENT),
        # Else SQLite gives the id of a displaced sample to the next one, whose vectors would then
        # be those that a worker was computing for the other.
        {"sqlite_autoincrement": True},
    )


class SampleAliasRow(Base):
    """A further name that a label may call a sample by; it need not be the only one."""

    __tablename__ = "sample_aliases"
    sample_id: Mapped[int] = mapped_column(
        Key, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True
    )
    alias: Mapped[str] = mapped_column(CleanName(ID_LENGTH), primary_key=True, index=True)


class SampleImageRow(Base):
    """One image of a sample: its state, and the file where there is one."""

    __tablename__ = "sample_images"
    sample_id: Mapped[int] = mapped_column(
        Key, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    content_hash: Mapped[str | None] = mapped_column(String(64), index=True)


class ImageRow(Base):
    """One image file, known by its content, embedded once.

    ``payload`` is the file as it came and goes when it is embedded; ``thumbnail`` stays for the
    content-retention time; ``reject_reason`` is set where it could not be decoded safely.
    """

    __tablename__ = "images"
    content_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    payload: Mapped[bytes | None]
    thumbnail: Mapped[bytes | None]
    reject_reason: Mapped[str | None] = mapped_column(String(40))
    encoder_digest: Mapped[str | None] = mapped_column(String(64))
    z: Mapped[bytes | None]
    stored_at: Mapped[datetime]
    __table_args__ = (_partial_index("ix_images_content", "stored_at", where=IMAGE_HAS_CONTENT),)


class EarlyTargetRow(Base):
    """A target whose exchange is not (yet) among the samples.

    ``exchange_id`` is any name of it; ``stream`` is empty where the label named none.
    """

    __tablename__ = "early_targets"
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    exchange_id: Mapped[str] = mapped_column(CleanName(ID_LENGTH), primary_key=True)
    target: Mapped[str]
    stored_at: Mapped[datetime] = mapped_column(index=True)


class TeacherAskRow(Base):
    """A sample that the teacher is to answer; gone once it is settled."""

    __tablename__ = "teacher_asks"
    sample_id: Mapped[int] = mapped_column(
        Key, ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    stored_at: Mapped[datetime] = mapped_column(index=True)
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int]


class TeacherDayRow(Base):
    """What the teacher was asked in one day of UTC; what is reserved counts as spent."""

    __tablename__ = "teacher_days"
    day: Mapped[date] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger)


class CounterRow(Base):
    """Exchanges by source, format and outcome since the database was made."""

    __tablename__ = "counters"
    source: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    format: Mapped[str] = mapped_column(String(40), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(40), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class QuarantineRow(Base):
    """A record that was refused: where, why, and its first bytes. The newest few are kept."""

    __tablename__ = "quarantine"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    source: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    partition: Mapped[str] = mapped_column(CleanName(ID_LENGTH))
    reason: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str]
    excerpt: Mapped[str]
    stored_at: Mapped[datetime]


class WindowFacts(TypedDict):
    """What a window was made of, as far as nobody asks the database for it."""

    n: int
    n_targets: int
    n_teacher_targets: NotRequired[int]
    image_states: dict[str, int]


class WindowRow(Base):
    """One measured window of one stream, and the pane revisions it was measured at."""

    __tablename__ = "windows"
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    start: Mapped[datetime] = mapped_column(primary_key=True)
    end: Mapped[datetime] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str] = mapped_column(CleanName(IDENTITY_LENGTH))
    seen: Mapped[int] = mapped_column(BigInteger)
    measured_at: Mapped[datetime]
    summary: Mapped[WindowFacts] = mapped_column(JSON)
    __table_args__ = (Index("ix_windows_end", "stream", "end"),)


class MeasurementRow(Base):
    """One measurement; re-measuring a window replaces its rows."""

    __tablename__ = "measurements"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    slice_key: Mapped[str] = mapped_column(CleanName(SLICE_LENGTH))
    signal: Mapped[str] = mapped_column(String(40))
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    reference: Mapped[str] = mapped_column(CleanName(IDENTITY_LENGTH))
    n: Mapped[int]
    verdict: Mapped[str] = mapped_column(String(20))
    value: Mapped[float | None] = mapped_column(Float(53))
    stderr: Mapped[float | None] = mapped_column(Float(53))
    low: Mapped[float | None] = mapped_column(Float(53))
    high: Mapped[float | None] = mapped_column(Float(53))
    null_mean: Mapped[float | None] = mapped_column(Float(53))
    threshold: Mapped[float | None] = mapped_column(Float(53))
    excess_ratio: Mapped[float | None] = mapped_column(Float(53))
    p_value: Mapped[float | None] = mapped_column(Float(53))
    reason: Mapped[str | None]
    terms: Mapped[list[str]] = mapped_column(JSON)
    __table_args__ = (
        UniqueConstraint("stream", "slice_key", "signal", "window_start", "window_end"),
        Index("ix_measurements_window_end", "window_end", "stream"),
        _partial_index(
            "ix_measurements_drifting",
            "stream",
            "slice_key",
            "window_start",
            where=IS_DRIFTING,
        ),
    )


class EvidenceRow(Base):
    """What one counted window adds to the evidence of a signal, and what all together say then.

    ``since`` is the start of the first window of the present run.
    """

    __tablename__ = "evidence"
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), primary_key=True)
    window_start: Mapped[datetime] = mapped_column(primary_key=True)
    window_end: Mapped[datetime] = mapped_column(primary_key=True)
    slice_key: Mapped[str] = mapped_column(CleanName(SLICE_LENGTH), primary_key=True)
    signal: Mapped[str] = mapped_column(String(40), primary_key=True)
    reference: Mapped[str] = mapped_column(CleanName(IDENTITY_LENGTH))
    scores: Mapped[list[float]] = mapped_column(JSON)
    threshold: Mapped[float] = mapped_column(Float(53))
    bets: Mapped[list[float]] = mapped_column(JSON)
    windows: Mapped[int]
    since: Mapped[datetime | None]
    is_persistent: Mapped[bool]
    __table_args__ = (
        _partial_index(
            "ix_evidence_persistent", "stream", "slice_key", "window_start", where=IS_PERSISTENT
        ),
    )


class ReferenceRow(Base):
    """One immutable version of a reference; ``facts`` says how it was made."""

    __tablename__ = "references"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    created_at: Mapped[datetime]
    encoder_digest: Mapped[str] = mapped_column(String(64))
    facts: Mapped[dict[str, object]] = mapped_column(JSON)


class ReferenceArrayRow(Base):
    """A named array of a reference: vectors, q weights, null draws."""

    __tablename__ = "reference_arrays"
    digest: Mapped[str] = mapped_column(
        String(64), ForeignKey("references.digest", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    dtype: Mapped[str] = mapped_column(String(8))
    shape: Mapped[list[int]] = mapped_column(JSON)
    data: Mapped[bytes]


class ReferenceSampleRow(Base):
    """One exchange of a reference, for people to look at; content goes as retention says."""

    __tablename__ = "reference_samples"
    digest: Mapped[str] = mapped_column(
        String(64), ForeignKey("references.digest", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(CleanName(ID_LENGTH))
    part: Mapped[str] = mapped_column(String(12))
    text: Mapped[str | None]
    response: Mapped[str | None]
    target: Mapped[str | None]
    thumbnail: Mapped[bytes | None]


class ActivationRow(Base):
    """Which reference judged which stream since when; ``*`` is every stream without its own."""

    __tablename__ = "activations"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH), index=True)
    digest: Mapped[str] = mapped_column(
        String(64), ForeignKey("references.digest", ondelete="CASCADE")
    )
    activated_at: Mapped[datetime]


class AcknowledgementRow(Base):
    """What somebody says about windows of a stream; it changes nothing that was measured.

    It is about windows that overlap ``[since, until)`` in event time, without ``until`` also about
    all that come; of one slice and one signal where these are set.
    """

    __tablename__ = "acknowledgements"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    stream: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    slice_key: Mapped[str | None] = mapped_column(CleanName(SLICE_LENGTH))
    signal: Mapped[str | None] = mapped_column(String(40))
    since: Mapped[datetime]
    until: Mapped[datetime | None]
    note: Mapped[str]
    author: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[str | None] = mapped_column(CleanName(NAME_LENGTH))
    __table_args__ = (Index("ix_acknowledgements_stream", "stream", "since"),)


class AuditRow(Base):
    """Who did what to what, and how it ended; without content and without ids of exchanges."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    action: Mapped[str] = mapped_column(String(40))
    target: Mapped[str]
    outcome: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str]


class TaskRow(Base):
    """Work of minutes that a page asked for. One that runs is given up when its claim runs out."""

    __tablename__ = "tasks"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(12))
    asked: Mapped[dict[str, object]] = mapped_column(JSON)
    asked_by: Mapped[str] = mapped_column(CleanName(NAME_LENGTH))
    asked_at: Mapped[datetime] = mapped_column(index=True)
    stage: Mapped[str] = mapped_column(String(80))
    done: Mapped[int]
    total: Mapped[int]
    claimed_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, object] | None] = mapped_column(JSON)
    problem: Mapped[str | None]


class LeaseRow(Base):
    """What only one of several processes does at a time, and who it is until when."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(40))
    until: Mapped[datetime]
