"""The settings tree: one YAML file, environment overrides, every fault reported at once."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)

from monitor.errors import SettingsError

CONFIG_VARIABLE = "MLLM_MONITOR_CONFIG"
PREFIX = "MLLM_MONITOR_"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SECRETS = {"http.tokens"}


def parse_duration(value: object) -> object:
    """Turn ``90s``, ``5m``, ``1h``, ``7d`` or ``0`` into a timedelta."""
    if isinstance(value, timedelta):
        return value
    if found := re.fullmatch(r"(\d+)([smhd])", str(value).strip()):
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    if str(value).strip() == "0":
        return timedelta(0)
    raise ValueError("expected a duration such as 90s, 5m, 1h or 7d")


def format_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that divides it."""
    seconds = int(value.total_seconds())
    for unit, size in reversed(_UNITS.items()):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")
]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Section):
    """Where everything is kept."""

    url: str = Field(
        "sqlite:///mllm-monitor.db",
        description="SQLite file or PostgreSQL address. Give one with a password only in the "
        "environment: MLLM_MONITOR_DATABASE__URL.",
        repr=False,
    )


class HttpSettings(_Section):
    """What the daemon listens on."""

    listen: str = Field("127.0.0.1:9750", description="Address and port; port 0 takes a free one.")
    tokens_file: Path | None = Field(
        None, description="File with one accepted bearer token per line, for what is posted."
    )
    tokens: SecretStr | None = Field(
        None,
        description="Further accepted tokens, separated by blanks. Only in the environment: "
        "MLLM_MONITOR_HTTP__TOKENS.",
    )
    allow_unauthenticated: bool = Field(
        default=False,
        description="Listen beyond loopback without tokens. Anybody there can then post traffic "
        "and, where no tokens are set for it, read what users wrote and act.",
    )
    read_tokens_file: Path | None = Field(
        None,
        description="File with one token per line, perhaps after a name and a blank, for pages and "
        "API. Without it nobody reads beyond loopback.",
    )
    act_tokens_file: Path | None = Field(
        None,
        description="The same for what changes something: acknowledge, promote, activate, forget. "
        "These tokens read too.",
    )
    session_length: Duration = Field(
        timedelta(hours=12),
        ge=timedelta(minutes=1),
        description="How long somebody stays signed in.",
    )
    session_secret_file: Path | None = Field(
        None,
        description="File with what sessions are signed with; one is made in data_dir unless set. "
        "Replicas behind one address need the same.",
    )
    metrics_need_token: bool = Field(
        default=False, description="Whether /metrics takes a token for reading too."
    )
    max_body_bytes: int = Field(
        64 * 2**20, ge=2**10, description="Largest request body, after decompression."
    )
    max_requests_per_second: Count = Field(
        1_000, description="Posts answered in a second; more are asked to come again."
    )

    external_url: str = Field(
        "",
        description="Address under which people reach the pages, for links in alerts; what is "
        "listened on unless set.",
    )
    grafana_url: str = Field(
        "", description="Address of Grafana, for links in alerts; none without it."
    )

    @property
    def host(self) -> str:
        """Address without the port."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in _LOOPBACK

    @property
    def given_tokens(self) -> tuple[bytes, ...]:
        """Tokens that came through the environment."""
        given = self.tokens.get_secret_value() if self.tokens else ""
        return tuple(token.encode() for token in given.split())

    @property
    def is_guarded(self) -> bool:
        """Whether it takes a token to post."""
        return self.tokens_file is not None or bool(self.given_tokens)

    @model_validator(mode="after")
    def _can_be_opened(self) -> Self:
        for name in ("external_url", "grafana_url"):
            url: str = getattr(self, name)
            if url and not re.fullmatch(r"https?://[^\s\"'<>?#]+", url):
                raise ValueError(f"{name} must be an http or https address, got {url!r}")
        return self

    @model_validator(mode="after")
    def _needs_guard(self) -> Self:
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}", self.listen):
            raise ValueError(f"listen must be ADDRESS:PORT, got {self.listen!r}")
        if not (self.is_loopback or self.is_guarded or self.allow_unauthenticated):
            raise ValueError(
                f"listen {self.listen} is reachable from other machines: set tokens_file, or "
                "allow_unauthenticated: true if anybody there may post traffic"
            )
        return self


class SourceSettings(_Section):
    """One place that traffic is read from."""

    type: Literal["jsonl", "folder", "kafka", "table"] = Field(
        "jsonl",
        description="jsonl (files of one record a line, that grow), folder (files of lines or "
        "Parquet, dropped whole), kafka (one record a message) or table (one record a row).",
    )
    name: str = Field(
        "",
        max_length=200,
        description="What its cursors and metrics are kept under; the path, topic or table unless "
        "set. "
        "With another name it is read anew.",
    )
    path: str = Field(
        "",
        max_length=200,
        description="jsonl: file or glob, followed across rotation; .gz is understood. folder: "
        "glob; each file is read once.",
    )
    brokers: str = Field("", description="kafka: addresses to begin with, HOST:PORT,HOST:PORT.")
    topic: str = Field("", max_length=200, description="kafka: the topic.")
    group: str = Field(
        "mllm-monitor", description="kafka: consumer group; its members share out the partitions."
    )
    properties_file: Path | None = Field(
        None,
        description="kafka: file of further properties of the client, key=value a line. The place "
        "for passwords.",
    )
    url: str = Field(
        "", description="table: address of the database, without a password.", repr=False
    )
    url_file: Path | None = Field(
        None, description="table: file with the address, where that has a password."
    )
    table: str = Field("", max_length=200, description="table: table or view, or SCHEMA.NAME.")
    key: str = Field(
        "", description="table: column of whole numbers that grow with every row, its index say."
    )
    column: str = Field(
        "",
        description="table, folder: column with whole records in JSON. Unless set the columns id, "
        "time, stream, query, response, target, labels and images are read.",
    )
    settle: Duration = Field(
        timedelta(seconds=10),
        description="table: how long a new row waits for rows before it that are committed later. "
        "folder: how long nobody must have written to a file.",
    )
    format: Literal[
        "auto",
        "native",
        "openai",
        "anthropic",
        "otlp",
        "litellm",
        "langfuse",
        "mlflow",
        "kserve",
        "otlp_spans",
        "otlp_logs",
    ] = Field("auto", description="Wire format; otlp_spans and otlp_logs: kafka, in protobuf.")

    @property
    def title(self) -> str:
        """What it is called where no name is given."""
        return self.name or self.path or self.topic or self.table

    @model_validator(mode="after")
    def _has_what_its_type_takes(self) -> Self:
        needed, possible = _KEYS_OF_SOURCES[self.type]
        if missing := [key for key in needed if not getattr(self, key)]:
            raise ValueError(f"type {self.type} needs {' and '.join(missing)}")
        others = self.model_fields_set - {"type", "name", "format", *needed, *possible}
        if others:
            raise ValueError(f"{min(others)} is not for type {self.type}")
        if self.format in {"otlp_spans", "otlp_logs"} and self.type != "kafka":
            raise ValueError(f"format {self.format} is protobuf, which only type kafka reads")
        if self.type == "table" and bool(self.url) == bool(self.url_file):
            raise ValueError("type table needs url or url_file")
        if _has_password(self.url):
            raise ValueError("url holds a password: put the address into a file, url_file")
        return self


# What each type needs, and what it takes beside that.
_KEYS_OF_SOURCES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jsonl": (("path",), ()),
    "folder": (("path",), ("column", "settle")),
    "kafka": (("brokers", "topic"), ("group", "properties_file")),
    "table": (("table", "key"), ("url", "url_file", "column", "settle")),
}


class ImageSettings(_Section):
    """How images of queries are found and how large they may be."""

    root: Path | None = Field(None, description="Folder that relative image paths are below.")
    fetch_hosts: tuple[str, ...] = Field(
        (), description="Hosts images may be fetched from. Fetching is not available yet."
    )
    max_bytes: Count = Field(20 * 2**20, description="Largest encoded image.")
    max_pixels: int = Field(
        2**24, ge=1, le=80_000_000, description="Most pixels an image may decode to."
    )

    @model_validator(mode="after")
    def _nothing_is_fetched(self) -> Self:
        if self.fetch_hosts:
            raise ValueError("fetch_hosts must be empty: this version fetches no images")
        return self


class UploadSettings(_Section):
    """Where instrumentations put the messages that their telemetry only refers to."""

    roots: tuple[Path, ...] = Field(
        (), description="Folders that referred messages are read below; nowhere else."
    )


class SamplingSettings(_Section):
    """Which exchanges are kept."""

    per_pane: Count = Field(256, description="Exchanges kept of each pane of each stream.")
    seed: int = Field(0, description="Seed of the sampling hash; replicas must share it.")
    max_streams: Count = Field(200, description="Streams watched; further ones are refused.")


class WindowSettings(_Section):
    """How traffic is cut in event time."""

    pane: Duration = Field(timedelta(minutes=5), description="Unit of sampling.")
    length: Duration = Field(timedelta(hours=1), description="Measured window; whole panes.")
    slide: Duration = Field(timedelta(minutes=15), description="Step between windows.")
    lateness: Duration = Field(timedelta(minutes=10), description="How late an event may come.")
    target_lateness: Duration | None = Field(
        None, description="How late a target may come; the same as lateness unless set."
    )
    min_samples: int = Field(30, ge=2, description="Below this the verdict is 'insufficient'.")

    @model_validator(mode="after")
    def _whole_panes(self) -> Self:
        if self.pane < timedelta(seconds=1):
            raise ValueError("pane must be at least 1s")
        for name in ("length", "slide"):
            span: timedelta = getattr(self, name)
            if not span or span % self.pane:
                raise ValueError(
                    f"{name} {format_duration(span)} must be a multiple of "
                    f"pane {format_duration(self.pane)}"
                )
        return self


class StreamSettings(_Section):
    """What tells streams apart: each is judged by itself."""

    by: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (),
        max_length=8,
        description="Parts of a stream's name: stream, model, deployment, or a label, an attribute "
        "or a path in the record. Unless set, what its format calls it: the model or its route.",
    )


class SliceSettings(_Section):
    """Which labels traffic is broken down by."""

    labels: tuple[str, ...] = Field(
        (),
        description="Labels; each value becomes a slice. Of language, images, image_size, "
        "prompt_length and client none has to be logged.",
    )
    max_per_label: Count = Field(20, description="Values per label; the rest become 'other'.")
    top_level_keys: tuple[str, ...] = Field(
        (), description="Top-level keys of native lines that are taken as labels."
    )


class VisualEncoderSettings(_Section):
    """The image model."""

    model: str | None = Field(
        None, description="Folder or hub id; for `paper`, openai/clip-vit-base-patch32 unless set."
    )
    pooling: Literal["clip_patch_mean", "cls", "mean", "pooler", "clip_projection"] | None = Field(
        None, description="For `custom`: clip_patch_mean, cls, mean, pooler or clip_projection."
    )


class TextualEncoderSettings(_Section):
    """The text model."""

    model: str | None = Field(
        None, description="Folder or hub id; for `paper`, FacebookAI/xlm-roberta-base unless set."
    )
    pooling: (
        Literal["embedding_layer", "cls", "mean", "pooler", "clip_projection", "sentence"] | None
    ) = Field(
        None,
        description="For `custom`: embedding_layer, cls, mean, pooler, clip_projection or "
        "sentence (as a sentence-embedding model declares it).",
    )


class EncoderSettings(_Section):
    """How images and texts become vectors."""

    preset: Literal["builtin", "paper", "custom"] = Field(
        "builtin",
        description="builtin (untrained, no download), paper (CLIP and XLM-RoBERTa, as published) "
        "or custom (any model and pooling).",
    )
    visual: VisualEncoderSettings = VisualEncoderSettings()
    textual: TextualEncoderSettings = TextualEncoderSettings()
    projection: bool = Field(
        default=False,
        description="Where the two have different dimensions: bring images to that of the texts "
        "by a fixed random projection when both are fused to one query.",
    )
    offline: bool = Field(default=False, description="Take hub ids from the local cache alone.")
    device: str = Field(
        "auto", description="auto (a GPU where there is one), cpu, cuda or cuda:N for the Nth."
    )
    precision: Literal["mixed", "single"] = Field(
        "mixed", description="mixed is float16 on a GPU and float32 on the CPU; single is float32."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        named = [
            f"encoders.{name}.{key}"
            for name, part in (("visual", self.visual), ("textual", self.textual))
            for key in ("model", "pooling")
            if getattr(part, key) is not None
        ]
        if self.preset == "builtin" and named:
            raise ValueError(
                f"{named[0]} is for the presets paper and custom, and preset is builtin"
            )
        poolings = [name for name in named if name.endswith("pooling")]
        if self.preset == "paper" and poolings:
            raise ValueError(f"preset paper pools as published; choose custom to set {poolings[0]}")
        if self.preset == "custom" and len(named) < _CUSTOM_KEYS:
            raise ValueError("preset custom needs model and pooling of both visual and textual")
        return self


_CUSTOM_KEYS = 4


class ReferenceSettings(_Section):
    """How a reference is built."""

    calibration_share: float = Field(
        0.5, gt=0.1, lt=0.9, description="Share kept apart to draw nulls from."
    )
    seed: int = Field(0, description="Seed of the split, the q networks and the nulls.")
    max_samples: int = Field(5_000, ge=100, description="Exchanges taken at most.")
    null_draws: int = Field(200, ge=50, description="Pseudo-windows per size.")
    max_age: Duration = Field(
        timedelta(days=90), description="Age at which an alert asks for a new one."
    )


class AlertSettings(_Section):
    """What the thresholds promise."""

    false_alarms_per_week: float = Field(1.0, gt=0, description="Accepted per stream.")
    entropy_factor: float = Field(
        10.0, gt=0, description="H of the scaled EMID bound, an upper limit of the output entropy."
    )


class PrivacySettings(_Section):
    """What of what was said is kept, and how long."""

    content_retention: Duration = Field(
        timedelta(days=7),
        description="Texts, thumbnails and excerpts of refused records; 0 keeps none once "
        "embedded.",
    )
    keep: tuple[str, ...] = Field(
        ("text", "response", "target", "thumbnails", "excerpts", "labels.*"),
        description="What is kept once it is embedded; labels.NAME keeps one label, labels.* all.",
    )
    redact: tuple[Literal["token", "email", "card", "phone"], ...] = Field(
        (),
        description="token, email, card, phone: taken out of texts, labels and excerpts before "
        "they are stored and embedded.",
    )
    patterns: dict[str, str] = Field(
        {}, description="Further ones, as regular expressions by name."
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        for item in self.keep:
            if item not in _KEEPABLE and not re.fullmatch(r"labels\..+", item):
                raise ValueError(f"keep takes {', '.join(_KEEPABLE)} and labels.NAME, got {item!r}")
        # What is to go at its age is found by the texts and the targets.
        if "response" in self.keep and "text" not in self.keep:
            raise ValueError("keep has response: it is kept only beside text")
        return self

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if not self.patterns:
            return self
        import regex  # type: ignore[import-untyped]  # noqa: PLC0415 - no types; seldom needed

        for name, pattern in self.patterns.items():
            if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
                raise ValueError(f"names of patterns are of a-z, 0-9, _ and -, got {name!r}")
            try:
                is_empty = regex.search(pattern, "") is not None
            except regex.error as exc:
                raise ValueError(f"patterns.{name} is no regular expression: {exc}") from exc
            if is_empty:
                raise ValueError(f"patterns.{name} matches where there is nothing")
        return self


_KEEPABLE = ("text", "response", "target", "thumbnails", "excerpts")


class TargetSettings(_Section):
    """Where reference answers are found."""

    paths: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        ("reference_answer", "expected_output", "expected_response", "ground_truth"),
        max_length=16,
        description="Names in the metadata or attributes of a call; with dots, a path in the "
        "record. The first that holds a text is the target.",
    )


class TeacherSettings(_Section):
    """A model that answers a small share of the sampled queries that have no target."""

    url: str = Field(
        "",
        description="OpenAI-compatible endpoint, https://HOST/v1 say; without one there is no "
        "teacher.",
    )
    model: str = Field("", description="What the endpoint calls the model.")
    key_file: Path | None = Field(None, description="File with the key of the endpoint.")
    share: float = Field(0.02, gt=0, le=1, description="Share of the samples that it answers.")
    calls_per_day: Count = Field(1_000, description="Calls in a day of UTC, of all processes.")
    tokens_per_day: Count = Field(1_000_000, description="Tokens in a day, both ways.")
    timeout: Duration = Field(timedelta(seconds=20), description="Longest wait for an answer.")
    instructions: str = Field(
        "", description="System message: how answers should look to be comparable."
    )
    parameters: dict[str, int | float | str | bool] = Field(
        {"max_tokens": 512, "temperature": 0},
        description="Further keys of the request; some endpoints want max_completion_tokens.",
    )
    max_text_chars: Count = Field(8_000, description="Longer queries are not sent.")
    image_side: int = Field(
        512, ge=64, le=2_048, description="Longest side of pictures that are kept and sent."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.url:
            return self
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url must be https://HOST/v1 or the like")
        if parts.username is not None or parts.query:
            raise ValueError("url holds a key or a password: put it into a file, key_file")
        if not self.model:
            raise ValueError("url needs model")
        if not self.timeout:
            raise ValueError("timeout must be at least 1s")
        return self


class RetentionSettings(_Section):
    """How long what was computed is kept."""

    samples: Duration = Field(timedelta(days=30), description="Vectors of samples.")
    measurements: Duration = Field(timedelta(days=400), description="Measurements.")


class JobSettings(_Section):
    """How often each job looks for work."""

    ingest: Duration = Field(timedelta(seconds=1), description="Reading the sources.")
    embed: Duration = Field(timedelta(seconds=2), description="Embedding samples.")
    measure: Duration = Field(timedelta(seconds=5), description="Measuring due windows.")
    retain: Duration = Field(timedelta(minutes=10), description="Deleting what is too old.")
    teacher: Duration = Field(timedelta(seconds=5), description="Asking the teacher.")


class LogSettings(_Section):
    """What the daemon says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="Console on a terminal, else JSON lines."
    )


class Settings(_Section):
    """Everything an operator can set."""

    database: DatabaseSettings = DatabaseSettings()
    data_dir: Path = Field(Path("mllm-monitor-data"), description="FAISS indexes; can be rebuilt.")
    http: HttpSettings = HttpSettings()
    sources: tuple[SourceSettings, ...] = Field((), description="Where traffic is read from.")
    images: ImageSettings = ImageSettings()
    uploads: UploadSettings = UploadSettings()
    sampling: SamplingSettings = SamplingSettings()
    windows: WindowSettings = WindowSettings()
    streams: StreamSettings = StreamSettings()
    slices: SliceSettings = SliceSettings()
    encoders: EncoderSettings = EncoderSettings()
    reference: ReferenceSettings = ReferenceSettings()
    alerts: AlertSettings = AlertSettings()
    privacy: PrivacySettings = PrivacySettings()
    targets: TargetSettings = TargetSettings()
    teacher: TeacherSettings = TeacherSettings()
    retention: RetentionSettings = RetentionSettings()
    jobs: JobSettings = JobSettings()
    logging: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _slices_are_kept(self) -> Self:
        keep = self.privacy.keep
        for label in self.slices.labels:
            if "labels.*" not in keep and f"labels.{label}" not in keep:
                raise ValueError(f"slices.labels has {label}: add labels.{label} to privacy.keep")
        return self

    @model_validator(mode="after")
    def _sources_are_told_apart(self) -> Self:
        titles = [source.title for source in self.sources]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"two sources are called {twice[0]}: give them names")
        return self


def load_settings(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the file (or ``MLLM_MONITOR_CONFIG``, or the defaults) and the environment overrides.

    Raises:
        SettingsError: naming every fault, one a line.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    tree = _read_file(path) if path else {}
    faults = _secrets_in(tree, path)
    overrides: dict[tuple[str, ...], str] = {}
    for variable, value in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE:
            where = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            overrides[where] = variable
            _put(tree, where, _parse_override(value))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as exc:
        faults += [_fault(error, overrides, path) for error in exc.errors()]
        raise SettingsError("\n".join(faults)) from exc
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _read_file(path: Path) -> dict[str, object]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise SettingsError(f"no settings file at {path}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"cannot read the settings file {path}: {exc}") from exc
    except yaml.YAMLError as exc:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} must hold sections, got a {type(tree).__name__}")
    return tree


def _secrets_in(tree: Mapping[str, object], path: Path | None) -> list[str]:
    faults = []
    database, http = tree.get("database"), tree.get("http")
    url = database.get("url") if isinstance(database, dict) else None
    if isinstance(url, str) and _has_password(url):
        faults.append(
            f"database.url in {path} holds a password: give the address in the environment "
            f"variable {PREFIX}DATABASE__URL instead"
        )
    if isinstance(http, dict) and http.get("tokens") is not None:
        faults.append(
            f"http.tokens in {path}: give tokens in the environment variable "
            f"{PREFIX}HTTP__TOKENS, or the name of a file with them as http.tokens_file"
        )
    return faults


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False


def _parse_override(value: str) -> object:
    """Lists and sections are written as YAML; all else is a string that pydantic converts."""
    if value in {"", "null"}:
        return None
    if not value.startswith(("[", "{")):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _put(tree: dict[str, object], where: tuple[str, ...], value: object) -> None:
    *sections, key = where
    for section in sections:
        inner = tree.get(section)
        tree[section] = inner = dict(inner) if isinstance(inner, dict) else {}
        tree = inner
    tree[key] = value


def _fault(error: object, overrides: Mapping[tuple[str, ...], str], path: Path | None) -> str:
    assert isinstance(error, dict)  # noqa: S101 - pydantic's ErrorDetails
    where = tuple(str(part) for part in error["loc"])
    name = ".".join(where) or "settings"
    origin = overrides.get(where[:2]) or overrides.get(where[:1]) or (str(path) if path else "")
    said = f" ({origin})" if origin else ""
    if error["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(where[:-1]))
        return f"{name}: unknown setting{said}; known here: {known}"
    message = error["msg"].removeprefix("Value error, ")
    is_hidden = isinstance(error["input"], dict | BaseModel) or name in _SECRETS
    got = "" if is_hidden else f", got {error['input']!r}"
    return f"{name}: {message}{'' if 'got ' in message else got}{said}"


def _known_keys(where: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for key in where:
        if key.isdigit():
            continue
        field = model.model_fields[key]
        inner = (*get_args(field.annotation), field.annotation)
        model = next(m for m in inner if isinstance(m, type) and issubclass(m, BaseModel))
    return sorted(model.model_fields)
