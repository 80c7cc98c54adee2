"""Standard input and named pipes: read once, in order."""

from io import BufferedReader

from monitor.errors import SourceError
from monitor.traffic.sources.heads import head_of, read_head
from monitor.traffic.sources.lines import GZIP_MAGIC, Batch, Gunzip, LineReader


class Pipe:
    """A log that cannot be gone back in. ``id`` is None if there is nothing in it.

    A restart that is given the same content passes over what it has read before.
    """

    def __init__(self, file: BufferedReader, max_line_bytes: int) -> None:
        self._file = file
        is_zipped = file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        content = Gunzip(file) if is_zipped else file
        begun, _ = read_head(content)
        self.id = head_of(begun, is_whole=True)
        self.is_at_end = self.id is None
        self._is_begun = False
        self._reader = LineReader(
            content, 0, is_whole=True, max_line_bytes=max_line_bytes, begun=begun
        )

    def read(self, offset: int, max_lines: int, max_bytes: int) -> Batch:
        if not self._is_begun:
            self._reader.skip_to(offset)
            self._is_begun = True
        if offset != self._reader.offset:
            raise SourceError(
                f"a pipe stands at byte {self._reader.offset} and cannot go to {offset}; give a "
                "file, or start again with the same input"
            )
        batch = self._reader.take(max_lines, max_bytes)
        self.is_at_end = batch.at_end
        return batch

    def close(self) -> None:
        self._file.close()
