"""One call is one exchange, however many records tell of it."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace as struct_replace

from monitor.errors import RecordRejectedError
from monitor.records import LateTarget, Rejection
from monitor.traffic.formats.answers import USUAL_PATHS, AnswerPaths
from monitor.traffic.formats.call import Call, Label, Piece
from monitor.traffic.formats.streams import BY_FORMAT, StreamRule
from monitor.traffic.formats.wire import Reason, Record, rejection

LIMIT = timedelta(minutes=5)
MAX_CALLS = 50_000
MAX_WAITING_BYTES = 64 * 2**20
MAX_NAMES = 64
_TWINS_LOOKED_AT = 16


@dataclass(slots=True, eq=False)
class _Entry:
    """A call within the time limit. ``waiting`` is None once it was given out or refused."""

    deadline: datetime
    call_id: str
    waiting: Call | None
    stream: str | None = None
    has_target: bool = False
    held_bytes: int = 0
    ids: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    twin: str | None = None
    intervals: list[tuple[int, int]] = field(default_factory=list)

    def copy(self) -> "_Entry":
        return replace(self, ids=[*self.ids], aliases=[*self.aliases], intervals=[*self.intervals])

    def become(self, other: "_Entry") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))


@dataclass(slots=True)
class _Attempt:
    """What is needed to take back everything since it began."""

    newest: datetime
    duplicates: int
    orphans: Counter[str]
    begun: int = 0  # calls that were new
    let_go: list[_Entry] = field(default_factory=list)
    before: dict[_Entry, _Entry] = field(default_factory=dict)  # entries as they were


class Joiner:
    """Puts the records of a call together and gives each call out once.

    A call is given out as soon as its query, response and model are known; records of it that
    come later are counted as duplicates. What is incomplete after ``limit`` of event time, or must
    make room before, is an orphan: given out if only the model is missing, else refused, and
    counted by what was missing. What is given out depends on the order of the records alone.
    """

    def __init__(
        self,
        *,
        limit: timedelta = LIMIT,
        max_calls: int = MAX_CALLS,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        rule: StreamRule = BY_FORMAT,
        answers: AnswerPaths = USUAL_PATHS,
    ) -> None:
        self.duplicates = 0
        self.orphans: Counter[str] = Counter()
        self._limit = limit
        self._max_calls = max_calls
        self._max_bytes = max_waiting_bytes
        self._rule = rule
        self._answers = answers
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._bytes = 0
        self._queue: deque[_Entry] = deque()
        self._ids: dict[str, _Entry] = {}
        # The latest call of that name, and whether it was the only one.
        self._aliases: dict[str, tuple[_Entry, bool]] = {}
        self._twins: dict[str, list[_Entry]] = {}
        self._attempt: _Attempt | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Take back what was offered within if it ends in an error, so it may be offered again."""
        attempt = self._attempt = _Attempt(
            self._newest,
            self.duplicates,
            self.orphans.copy(),
        )
        try:
            yield
        except BaseException:
            self._take_back(attempt)
            raise
        finally:
            self._attempt = None

    def offer(self, piece: Piece) -> list[Record]:
        """What is known now that was not before."""
        self._newest = max(self._newest, piece.time)
        records = list(self._expired())
        if isinstance(piece, Label):
            records += self._label(piece)
        else:
            records += self._call(piece.noted(self._rule, self._answers))
            while len(self._queue) > self._max_calls or self._bytes > self._max_bytes:
                records += self._let_go_oldest()
        return records

    def flush(self) -> list[Record]:
        """End of the traffic: what still waits is an orphan."""
        records: list[Record] = []
        while self._queue:
            records += self._let_go_oldest()
        return records

    def _expired(self) -> Iterator[Record]:
        while self._queue and self._queue[0].deadline < self._newest:
            yield from self._let_go_oldest()

    def _call(self, call: Call) -> list[Record]:
        entry = self._ids.get(call.id) or self._nested(call)
        if entry is None:
            entry = _Entry(self._newest + self._limit, call.id, call)
            self._queue.append(entry)
            if self._attempt is not None:
                self._attempt.begun += 1
        elif entry.waiting is None:
            self._note(entry)
            self.duplicates += 1
        else:
            self._note(entry)
            entry.waiting = entry.waiting.joined(call)
        self._name(entry, call)
        if entry.waiting is None:
            if call.target is None or entry.has_target:
                return []
            return self._label_entry(entry, Label(call.id, call.time, call.target))
        if entry.waiting.is_complete:
            return [self._given_out(entry, entry.waiting)]
        entry.waiting = entry.waiting.kept()
        self._hold(entry, entry.waiting.held_bytes())
        return []

    def _nested(self, call: Call) -> _Entry | None:
        if call.twin is None or call.interval is None:
            return None
        for entry in self._twins.get(call.twin, ())[-_TWINS_LOOKED_AT:]:
            if any(_is_nested(call.interval, interval) for interval in entry.intervals):
                return entry
        return None

    def _name(self, entry: _Entry, call: Call) -> None:
        if len(entry.ids) + len(entry.aliases) + len(entry.intervals) > MAX_NAMES:
            return
        if call.id not in self._ids:
            self._ids[call.id] = entry
            entry.ids.append(call.id)
        for alias in call.aliases:
            other = self._aliases.get(alias)
            if other is None or other[0] is not entry:
                self._aliases[alias] = entry, other is None
                entry.aliases.append(alias)
        if call.twin is not None and call.interval is not None:
            if call.interval not in entry.intervals:
                entry.intervals.append(call.interval)
            if entry.twin is None:
                entry.twin = call.twin
                self._twins.setdefault(call.twin, []).append(entry)

    def _label(self, label: Label) -> list[Record]:
        named, is_unique = self._aliases.get(label.key, (None, True))
        entry = self._ids.get(label.key) or named
        if entry is None:  # the store may know the call, or will
            return [LateTarget(label.key, "", label.target)]
        if label.key not in self._ids and not is_unique:
            return [self._orphan(Reason.TARGET_AMBIGUOUS, "a target for one of several calls")]
        return self._label_entry(entry, label)

    def _label_entry(self, entry: _Entry, label: Label) -> list[Record]:
        self._note(entry)
        if entry.waiting is not None:
            entry.waiting = struct_replace(entry.waiting, target=label.target)
            return []
        if entry.stream is None:  # refused
            return [self._orphan(Reason.UNKNOWN_CALL, "a target for a call that was refused")]
        entry.has_target = True
        return [LateTarget(entry.call_id, entry.stream, label.target)]

    def _given_out(self, entry: _Entry, call: Call) -> Record:
        self._hold(entry, 0)
        entry.waiting = None
        try:
            wire = call.wire(self._rule)
        except RecordRejectedError as exc:
            return rejection(exc, b"")
        entry.stream, entry.has_target = wire.stream, call.target is not None
        return wire

    def _let_go_oldest(self) -> list[Record]:
        entry = self._queue.popleft()
        self._note(entry)
        if self._attempt is not None:
            self._attempt.let_go.append(entry)
        for key in entry.ids:
            del self._ids[key]
        for alias in entry.aliases:
            if (named := self._aliases.get(alias)) and named[0] is entry:
                del self._aliases[alias]
        if entry.twin is not None:
            twins = self._twins[entry.twin]
            twins.remove(entry)
            if not twins:
                del self._twins[entry.twin]
        if entry.waiting is None:
            return []
        record = self._given_out(entry, entry.waiting)
        self.orphans[record.reason if isinstance(record, Rejection) else "model"] += 1
        return [record]

    def _orphan(self, reason: Reason, detail: str) -> Rejection:
        self.orphans[reason] += 1
        return Rejection(reason, detail)

    def _hold(self, entry: _Entry, count: int) -> None:
        self._bytes += count - entry.held_bytes
        entry.held_bytes = count

    def _note(self, entry: _Entry) -> None:
        if self._attempt is not None and entry not in self._attempt.before:
            self._attempt.before[entry] = entry.copy()

    def _take_back(self, attempt: _Attempt) -> None:
        for entry, before in attempt.before.items():
            entry.become(before)
        self._newest, self.duplicates = attempt.newest, attempt.duplicates
        self.orphans = attempt.orphans
        self._queue.extendleft(reversed(attempt.let_go))
        for _ in range(attempt.begun):
            self._queue.pop()
        self._bytes = sum(entry.held_bytes for entry in self._queue)
        self._ids, self._aliases, self._twins = {}, {}, {}
        for entry in self._queue:
            self._ids |= dict.fromkeys(entry.ids, entry)
            for alias in entry.aliases:
                self._aliases[alias] = entry, alias not in self._aliases
            if entry.twin is not None:
                self._twins.setdefault(entry.twin, []).append(entry)


def _is_nested(one: tuple[int, int], other: tuple[int, int]) -> bool:
    inner, outer = sorted((one, other), key=lambda interval: interval[1] - interval[0])
    return outer[0] <= inner[0] and inner[1] <= outer[1]
