"""Why a window is what it is: the case of a window put together, and windows compared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from monitor.errors import MonitorError
from monitor.records import ALL, Signal, WindowId
from monitor.service.case import Case, Comparison
from monitor.service.measure import MeasureRules
from monitor.service.shelf import ReferenceShelf
from monitor.store.engine import Database


@dataclass(frozen=True, slots=True)
class CaseLimits:
    """How much a case holds."""

    exchanges: int = 20
    neighbours: int = 3
    points: int = 400  # on the map, of either side
    slices: int = 100
    clusters: int = 6
    values: int = 20  # of each label


@dataclass(frozen=True, slots=True)
class CaseWish:
    """Which case: a window by its end (None: the newest), a slice, what to rank by."""

    stream: str
    end: datetime | None = None
    slice_key: str = ALL
    signal: Signal | None = None  # None: the leading one


@dataclass
class Investigator:
    """Puts cases together, one at a time, and keeps the newest in memory. Any thread may ask."""

    database: Database
    shelf: ReferenceShelf
    rules: MeasureRules
    clock: Callable[[], datetime]
    limits: CaseLimits = field(default_factory=CaseLimits)
    _lock: Lock = field(default_factory=Lock)

    def case(self, wish: CaseWish) -> Case:
        """The case of a measured window; takes seconds, nothing when it was asked for before.

        Raises:
            WindowNotFoundError: if no such window has been measured.
        """
        raise MonitorError("not written yet")

    def compare(self, wish: CaseWish, base: WindowId) -> Comparison:
        """A window beside another one of its stream.

        Raises:
            WindowNotFoundError: if one of them has not been measured.
        """
        raise MonitorError("not written yet")
