"""Where traffic and the images and messages that it refers to are read from."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from monitor.settings.section import Count, Duration, Section, has_password


class SourceSettings(Section):
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
        if has_password(self.url):
            raise ValueError("url holds a password: put the address into a file, url_file")
        return self


# What each type needs, and what it takes beside that.
_KEYS_OF_SOURCES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jsonl": (("path",), ()),
    "folder": (("path",), ("column", "settle")),
    "kafka": (("brokers", "topic"), ("group", "properties_file")),
    "table": (("table", "key"), ("url", "url_file", "column", "settle")),
}


class ImageSettings(Section):
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


class UploadSettings(Section):
    """Where instrumentations put the messages that their telemetry only refers to."""

    roots: tuple[Path, ...] = Field(
        (), description="Folders that referred messages are read below; nowhere else."
    )
