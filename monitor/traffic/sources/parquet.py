"""Rows of a Parquet file from any row on, a few at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monitor.errors import SourceError
from monitor.traffic.sources.lines import Batch
from monitor.traffic.sources.rows import NATIVE, NEEDED, json_of, native_line

MAGIC = b"PAR1"
_ROWS_AT_ONCE = 500


class ParquetReader:
    """Hands out the rows of a file from ``offset``; rows without an id are called by their number.

    Raises:
        SourceError: if it is not a whole Parquet file with the columns that are needed.
    """

    def __init__(self, path: Path, offset: int, *, name: str, json_column: str) -> None:
        self.offset = offset
        self._name = name
        self._json_column = json_column
        self._arrow, parquet = _library()
        try:
            self._file = parquet.ParquetFile(path)
        except (self._arrow.ArrowException, ValueError) as exc:
            raise SourceError(f"{path}: is not a whole Parquet file") from exc
        found = self._file.schema_arrow.names
        needed, wanted = ((json_column,),) * 2 if json_column else (NEEDED, NATIVE)
        if missing := [column for column in needed if column not in found]:
            self.close()
            raise SourceError(f"{path} has no column {', '.join(missing)}")
        self._columns = [column for column in wanted if column in found]
        self._lines = self._from(offset)

    def take(self, max_lines: int, max_bytes: int) -> Batch:
        """The next rows as lines.

        Raises:
            SourceError: if the file is damaged.
        """
        lines: list[bytes] = []
        size = 0
        try:
            while len(lines) < max_lines and size < max_bytes:
                line = next(self._lines, None)
                if line is None:
                    return Batch(lines, self.offset, at_end=True, rejections=[])
                self.offset += 1
                size += len(line)
                lines += [line] if line else []
        except (self._arrow.ArrowException, ValueError) as exc:
            raise SourceError(f"row {self.offset} of a Parquet file cannot be read") from exc
        return Batch(lines, self.offset, at_end=False, rejections=[])

    def close(self) -> None:
        self._file.close()

    def _from(self, offset: int) -> Iterator[bytes]:
        number = 0
        for group in range(self._file.num_row_groups):
            n = self._file.metadata.row_group(group).num_rows
            if number + n <= offset:
                number += n
                continue
            for batch in self._file.iter_batches(
                batch_size=_ROWS_AT_ONCE, row_groups=[group], columns=self._columns
            ):
                for row in self._in_microseconds(batch).to_pylist():
                    if number >= offset:
                        yield self._line(row, number)
                    number += 1

    def _line(self, row: dict[str, object], number: int) -> bytes:
        if self._json_column:
            return json_of(row[self._json_column]).strip()
        return native_line(row, or_id=f"{self._name}:{number}")

    def _in_microseconds(self, batch: Any) -> Any:
        """Python's times have no nanoseconds."""
        if "time" not in self._columns or not self._arrow.types.is_timestamp(
            type_ := batch.schema.field("time").type
        ):
            return batch
        at = batch.schema.get_field_index("time")
        micros = batch.column(at).cast(self._arrow.timestamp("us", type_.tz), safe=False)
        return batch.set_column(at, "time", micros)


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise SourceError(
            "Parquet files need an extra: pip install 'mllm-drift-monitor[parquet]'"
        ) from exc
    return pa, parquet
