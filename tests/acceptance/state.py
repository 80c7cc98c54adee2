"""What two runs of the program left in their databases, compared."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tests.acceptance.program import Program

SAMPLES = (
    "SELECT stream, exchange_id, pane_start, time, priority, labels, text, response, target,"
    " encoder_digest, hex(z_v), hex(z_t), hex(z_y), hex(z_target), novelty_v, novelty_t"
    " FROM samples ORDER BY stream, exchange_id"
)
IMAGES = (
    "SELECT s.stream, s.exchange_id, i.position, i.state, i.content_hash, hex(f.z)"
    " FROM sample_images i JOIN samples s ON s.id = i.sample_id"
    " LEFT JOIN images f USING (content_hash) ORDER BY 1, 2, 3"
)
PANES = "SELECT stream, start, seen FROM panes ORDER BY 1, 2"
WINDOWS = "SELECT stream, start, end, reference, seen, summary FROM windows ORDER BY 1, 2, 3"
MEASUREMENTS = (
    "SELECT stream, slice_key, signal, window_start, window_end, reference, n, verdict, value,"
    " stderr, null_mean, threshold, excess_ratio, p_value, reason, terms, low, high"
    " FROM measurements ORDER BY 1, 2, 3, 4, 5"
)
EVIDENCE = (
    "SELECT stream, window_start, window_end, slice_key, signal, reference, threshold, windows,"
    " since, is_persistent, bets FROM evidence ORDER BY 1, 2, 3, 4, 5"
)
COUNTS = "SELECT source, format, outcome, count FROM counters ORDER BY 1, 2, 3"
REFUSED = "SELECT reason, excerpt FROM quarantine ORDER BY 1, 2"
EVERYTHING = (SAMPLES, IMAGES, PANES, WINDOWS, MEASUREMENTS, EVIDENCE, COUNTS, REFUSED)

# The same by a daemon, which counts under another name, and whose batches end where the file did
# when it looked. How often a sample was kept at first and displaced later depends on that, and the
# last bit of a float: matrix products of images and of neighbours round by the size of a batch.
TOLERANCE = 1e-6
OUTCOMES = (
    "SELECT outcome, sum(count) FROM counters WHERE outcome <> 'sampled' GROUP BY 1 ORDER BY 1"
)
ROUGH_SAMPLES = SAMPLES.replace("hex(z_v)", "z_v IS NULL")
ROUGH_IMAGES = IMAGES.replace("hex(f.z)", "f.z IS NULL")
ROUGH_EVIDENCE = EVIDENCE.replace(", bets", "")
FOLLOWED = (
    ROUGH_SAMPLES,
    ROUGH_IMAGES,
    PANES,
    WINDOWS,
    MEASUREMENTS,
    ROUGH_EVIDENCE,
    OUTCOMES,
    REFUSED,
)

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class State:
    """What the database holds that does not depend on when it was written."""

    tables: Mapping[str, Rows]

    @classmethod
    def of(cls, program: Program, tables: Iterable[str] = EVERYTHING) -> "State":
        found = {sql: program.query(sql) for sql in tables}
        assert all(found.values())
        return cls(found)

    def differences(self, other: "State") -> dict[str, tuple[Rows, Rows]]:
        """By table the first rows that do not agree."""
        found = {}
        for sql, mine in self.tables.items():
            theirs = other.tables[sql]
            pairs = [pair for pair in zip_longest(mine, theirs, fillvalue=()) if not agree(*pair)]
            if pairs:
                found[sql] = [a for a, _ in pairs[:3]], [b for _, b in pairs[:3]]
        return found


def agree(mine: Sequence[object], theirs: Sequence[object]) -> bool:
    return len(mine) == len(theirs) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in zip(mine, theirs, strict=True)
    )
