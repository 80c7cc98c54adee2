"""Rubbish among good lines: what is good arrives, the rest is counted, memory stays flat."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.acceptance.program import Program
from tests.acceptance.rubbish import (
    ACCEPTED,
    BOMBS,
    IMAGES,
    PATHS,
    REFUSED,
    good,
    inline,
    make_traps,
    with_image,
)
from tests.acceptance.traffic import Line, as_bytes

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

GOOD = 600
REPEATED = 25
LONG_LINE_BYTES = 100 * 10**6
# What one line may cost at most: 32 MiB of it are read before it is given up, in pieces and joined
# to one. The rest is the allocator's.
EXTRA_MEMORY_MAX = 80 * 2**20
SETTINGS = {
    "images": {"root": "images"},
    "sampling": {"per_pane": 100_000},
    "http": {"listen": "127.0.0.1:0"},
    "jobs": {"ingest": "1s", "embed": "1s", "measure": "1s"},
}
# Runs the program and leaves its peak of resident memory, in kilobytes, in the file that is named
# last. Not from rusage, which starts from the size of the process that forked it.
WATCHED = """
import atexit, re, sys
from pathlib import Path
from monitor.cli import main

def tell(peak=Path(sys.argv.pop())):
    peak.write_text(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

atexit.register(tell)
main()
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What a run left behind."""

    ids: set[str]
    outcomes: Mapping[str, int]
    image_states: Mapping[str, int]
    image_refusals: Mapping[str, int]
    peak_bytes: int


def exchanges_with_images() -> Iterator[Line]:
    number = 20_000
    files = [make() for makers in (*IMAGES.values(), BOMBS) for make in makers]
    images: list[Line] = [inline(data) for data in files]
    images += [{"path": path} for path in PATHS]
    images += [{"data": "no base64 at all!"}, {"data": 7}, {"url": "https://example.org/a.png"}]
    for image in images:
        yield with_image(number, image)
        number += 1


@cache
def good_lines() -> list[Line]:
    return [good(i) for i in range(GOOD)] + ACCEPTED + list(exchanges_with_images())


def littered(lines: list[Line]) -> list[Line | bytes]:
    """The lines with repeats, blank lines and everything that is refused between them."""
    mixed: list[Line | bytes] = list(lines)
    rubbish: list[Line | bytes] = [line for refused in REFUSED.values() for line in refused]
    rubbish += [*lines[:REPEATED], b"", b"   ", b"\r"]
    for i, line in enumerate(rubbish):
        mixed.insert(3 + 5 * i, line)
    return mixed


def left_by(program: Program, peak: Path) -> Left:
    states: Counter[str] = Counter(s for (s,) in program.query("SELECT state FROM sample_images"))
    refused = program.query("SELECT reject_reason FROM images WHERE reject_reason IS NOT NULL")
    return Left(
        ids={id_ for (id_,) in program.query("SELECT exchange_id FROM samples")},
        outcomes={
            outcome: count
            for outcome, count in program.query(
                "SELECT outcome, sum(count) FROM counters GROUP BY 1"
            )
            if count
        },
        image_states=states,
        image_refusals=Counter(reason for (reason,) in refused),
        peak_bytes=int(peak.read_text()) * 1024 if peak.exists() else 0,
    )


def replayed(folder: Path, content: bytes) -> Left:
    make_traps(folder / "images")
    (folder / "log.jsonl").write_bytes(content)
    program = Program(folder, SETTINGS, command=(sys.executable, "-c", WATCHED))
    program.done("replay", "log.jsonl", "peak")
    return left_by(program, folder / "peak")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return replayed(tmp_path_factory.mktemp("clean"), as_bytes([good(i) for i in range(GOOD)]))


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Left:
    lines = littered(good_lines())
    middle = len(lines) // 2
    long_line = as_bytes([good(0) | {"id": "long", "response": "x" * LONG_LINE_BYTES}])
    content = as_bytes(lines[:middle]) + long_line + as_bytes(lines[middle:])
    return replayed(tmp_path_factory.mktemp("dirty"), content)


def expected_outcomes() -> Counter[str]:
    lines = good_lines()
    expected = Counter({reason: len(refused) for reason, refused in REFUSED.items()})
    expected += {"admitted": len(lines), "sampled": len(lines), "duplicate": REPEATED}
    return expected


def test_every_good_line_arrives_among_rubbish(dirty: Left) -> None:
    assert dirty.ids == {str(line["id"]) for line in good_lines()}


def test_every_refused_line_of_a_file_is_counted_by_its_reason(dirty: Left) -> None:
    assert dirty.outcomes == expected_outcomes() + Counter(line_too_long=1)


def test_images_that_cannot_be_had_are_counted_by_their_state(dirty: Left) -> None:
    undecodable = sum(map(len, IMAGES.values()))
    expected = Counter(PATHS.values()) + Counter(
        inline=len(BOMBS),
        rejected=undecodable + 2,  # and what is no base64 and no text
        url=1,
        absent=1,  # among the odd lines
    )
    assert dirty.image_states == expected


def test_image_files_that_cannot_be_decoded_safely_are_counted_by_their_reason(dirty: Left) -> None:
    assert dirty.image_refusals == {reason: len(files) for reason, files in IMAGES.items()}


def test_rubbish_does_not_cost_memory(clean: Left, dirty: Left) -> None:
    assert dirty.peak_bytes < clean.peak_bytes + EXTRA_MEMORY_MAX


def test_the_same_rubbish_in_a_posted_body_is_counted_likewise(tmp_path: Path) -> None:
    make_traps(tmp_path / "images")
    program = Program(tmp_path, SETTINGS)
    lines = littered(good_lines())
    with program.running("run") as process:
        process.event("daemon_ready")
        answer = httpx.post(f"{process.address}/v1/exchanges", content=as_bytes(lines), timeout=60)
        process.terminate()
    outcomes = {name: n for name, n in answer.json()["outcomes"].items() if n}
    assert (answer.status_code, outcomes) == (200, expected_outcomes())
    assert left_by(program, tmp_path / "none").outcomes == expected_outcomes()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * (70 * 2**20), {}, 413),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (b"x", {"Content-Encoding": "zstd"}, 415),
        (b"[1, 2", {}, 400),
        (b"[" * 100_000, {}, 400),
    ],
    ids=["too large", "not gzip", "another encoding", "broken array", "deep array"],
)
def test_a_body_that_is_rubbish_itself_is_refused_in_words(
    daemon_address: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = httpx.post(f"{daemon_address}/v1/exchanges", content=body, headers=headers, timeout=60)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.fixture(scope="module")
def daemon_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = Program(tmp_path_factory.mktemp("daemon"), SETTINGS)
    with program.running("run") as process:
        process.event("daemon_ready")
        yield process.address
