"""Which exchanges are kept: the k of smallest priority in every pane of event time."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Generic, TypeVar

from monitor.records import floor_time

Item = TypeVar("Item")

_SHIFT = 2**63  # databases have no unsigned 64-bit integers; subtracting keeps the order
_CHOICE_BYTES, _CHOICES = 8, 2.0**64
_NEVER_FULL = 2**63  # above every priority
_NO_PANES: Mapping[tuple[str, datetime], int] = {}


def priority(seed: int, stream: str, exchange_id: str) -> int:
    """64-bit hash of the three, as a signed integer; replays and replicas agree on it."""
    return _finish(_prefix(seed, stream), exchange_id)


def is_chosen(share: float, stream: str, exchange_id: str) -> bool:
    """Whether an exchange is among a share that is drawn uniformly, by a hash of its own.

    It has nothing to do with the priority that exchanges are kept by; replicas agree on it.
    """
    name = f"{stream}\0{exchange_id}".encode()
    digest = blake2b(name, digest_size=_CHOICE_BYTES, person=b"chosen").digest()
    return int.from_bytes(digest) < share * _CHOICES


def uniform_threshold(pane_maxima: Iterable[int | None]) -> int | None:
    """Largest priority that a window may take from its panes; None if it may take everything.

    A busy pane drops almost all of its exchanges and a quiet one none, so their kept samples
    together over-represent the quiet one. Taking only priorities up to the smallest maximum is
    reading the whole window in order of priority and stopping when the first pane is full: a
    draw without replacement from all of it.

    Args:
        pane_maxima: for each pane the largest priority it kept, or None if it dropped nothing.
    """
    return min((largest for largest in pane_maxima if largest is not None), default=None)


@dataclass(frozen=True, slots=True)
class Kept(Generic[Item]):
    """An item of a batch that may belong to the sample of its pane."""

    stream: str
    pane_start: datetime
    exchange_id: str
    priority: int
    item: Item


@dataclass(frozen=True, slots=True)
class PaneTally:
    """How much of a batch fell into one pane, kept or not, and its span of event time.

    ``seen`` leaves out what was offered again while it was kept; see ``PaneSampler.duplicates``.
    """

    stream: str
    pane_start: datetime
    seen: int
    first: datetime
    last: datetime


class PaneSampler(Generic[Item]):
    """Bottom-k of one batch; memory is at most ``per_pane`` items in each pane met.

    The result does not depend on the order of the offers, and an exchange offered twice to a pane
    is kept once, the first time.
    """

    def __init__(
        self,
        *,
        per_pane: int,
        seed: int,
        pane: timedelta,
        known: Mapping[tuple[str, datetime], int] = _NO_PANES,
    ) -> None:
        """``known`` has the largest priority kept by each (stream, pane start) that is full.

        It may be stale: those thresholds only fall, so an old one admits too much, never too
        little.
        """
        self._per_pane = per_pane
        self._seed = seed
        self._length = pane
        self._known = known
        self._panes: dict[tuple[str, datetime], _Pane[Item]] = {}
        self._latest: dict[str, _Pane[Item]] = {}  # logs are nearly in order of time

    def offer(self, stream: str, time: datetime, exchange_id: str, item: Item) -> bool:
        """Count an exchange and say whether it was taken; a later offer may still displace it."""
        pane = self._latest.get(stream)
        if pane is None or not pane.start <= time < pane.end:
            pane = self._latest[stream] = self._pane(stream, time)
        pane.seen += 1
        if time > pane.last:
            pane.last = time
        elif time < pane.first:
            pane.first = time
        # `_finish` written out: a call is a tenth of what a line that is not kept costs.
        state = pane.prefix.copy()
        state.update(exchange_id.encode())
        value = int.from_bytes(state.digest(), "big") - _SHIFT
        return value < pane.bound and pane.take(value, exchange_id, item, self._per_pane)

    @property
    def duplicates(self) -> int:
        """Offers of exchanges that were kept already; repeats of others are not recognised."""
        return sum(pane.duplicates for pane in self._panes.values())

    def kept(self) -> list[Kept[Item]]:
        """What the batch would add to the samples, by pane and priority."""
        return [
            Kept(stream, start, exchange_id, -negated, item)
            for (stream, start), pane in sorted(self._panes.items(), key=lambda entry: entry[0])
            for negated, exchange_id, item in sorted(pane.heap, key=lambda entry: -entry[0])
        ]

    def tallies(self) -> list[PaneTally]:
        """The counts of the batch, by pane."""
        return [
            PaneTally(stream, start, pane.seen - pane.duplicates, pane.first, pane.last)
            for (stream, start), pane in sorted(self._panes.items(), key=lambda entry: entry[0])
        ]

    def _pane(self, stream: str, time: datetime) -> "_Pane[Item]":
        start = floor_time(time.astimezone(UTC), self._length)
        key = stream, start
        pane = self._panes.get(key)
        if pane is None:
            pane = self._panes[key] = _Pane(
                start,
                start + self._length,
                _prefix(self._seed, stream),
                first=time,
                last=time,
                bound=self._known.get(key, _NEVER_FULL),
            )
        return pane


@dataclass(slots=True)
class _Pane(Generic[Item]):
    start: datetime
    end: datetime
    prefix: blake2b
    first: datetime
    last: datetime
    bound: int  # priorities from here on are not taken
    seen: int = 0
    duplicates: int = 0
    heap: list[tuple[int, str, Item]] = field(default_factory=list)  # negated: the worst on top
    ids: set[str] = field(default_factory=set)

    def take(self, value: int, exchange_id: str, item: Item, per_pane: int) -> bool:
        if exchange_id in self.ids:
            self.duplicates += 1
            return False
        self.ids.add(exchange_id)
        if len(self.heap) < per_pane:
            heapq.heappush(self.heap, (-value, exchange_id, item))
        else:
            _, displaced, _ = heapq.heapreplace(self.heap, (-value, exchange_id, item))
            self.ids.discard(displaced)
        if len(self.heap) == per_pane:
            self.bound = min(self.bound, -self.heap[0][0])
        return True


def _prefix(seed: int, stream: str) -> blake2b:
    name = stream.encode()
    # The length tells where the stream ends and the id begins.
    return blake2b(b"%d:%d:%s" % (seed, len(name), name), digest_size=8)


def _finish(prefix: blake2b, exchange_id: str) -> int:
    state = prefix.copy()
    state.update(exchange_id.encode())
    return int.from_bytes(state.digest(), "big") - _SHIFT
