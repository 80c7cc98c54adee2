"""Stored samples with their content, for people who look at them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.records import ImageState
from monitor.store.statements import in_chunks
from monitor.store.tables import ImageRow, ReferenceSampleRow, SampleImageRow, SampleRow


@dataclass(frozen=True, slots=True)
class ExemplarImage:
    """One image of an exemplar: what became of it, and its file where there is one."""

    state: ImageState
    content_hash: str | None
    has_thumbnail: bool


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A stored sample as people see it; texts are None once retention has taken them."""

    sample_id: int
    stream: str
    exchange_id: str
    time: datetime
    pane_start: datetime
    labels: Mapping[str, str]
    text: str | None
    response: str | None
    target: str | None
    has_target: bool
    target_source: str | None
    images: tuple[ExemplarImage, ...]
