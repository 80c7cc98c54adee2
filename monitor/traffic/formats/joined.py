"""Makes a format whose records tell parts of calls one whose records are exchanges."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from monitor.errors import RecordRejectedError
from monitor.records import Rejection
from monitor.traffic.formats.call import PieceFormat
from monitor.traffic.formats.wire import MAX_RECORDS, Record, rejection, too_many_records
from monitor.traffic.joining import Joiner


class JoinedFormat:
    """A format whose records are joined; instances that share a ``joiner`` join across them."""

    unknown_keys = 0

    def __init__(self, form: PieceFormat, joiner: Joiner) -> None:
        self.name = form.name
        self.recognises = form.recognises
        self._form = form
        self._joiner = joiner

    @property
    def passed_over(self) -> int:
        return self._form.passed_over

    @property
    def duplicates(self) -> int:
        return self._joiner.duplicates

    def parse(self, line: bytes, latest: datetime) -> Sequence[Record]:
        records: list[Record] = []
        try:
            for count, piece in enumerate(self._form.pieces(line, latest)):
                if count == MAX_RECORDS:
                    raise too_many_records()
                if isinstance(piece, Rejection):
                    records.append(piece)
                else:
                    records += self._joiner.offer(piece)
        except RecordRejectedError as exc:
            records.append(rejection(exc, line))
        return records

    def finish(self) -> Sequence[Record]:
        return self._joiner.flush()

    def attempt(self) -> AbstractContextManager[None]:
        return self._joiner.attempt()
