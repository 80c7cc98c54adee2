"""Ten thousand damaged and hostile image files: no crash, no hang, bounded memory, a state each.

Run as a program it is the process under test: it reads files from standard input, each behind its
length, and writes one line for each: state, processor seconds, wall seconds, peak megabytes.
"""

import faulthandler
import itertools
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monitor.encoders.containers import SCANS_MAX
from monitor.encoders.images import ImageLimits
from tests.unit.encoders.conftest import encoded
from tests.unit.encoders.mutants import (
    STATES,
    bombs,
    mutants,
    outcome,
    png_chunk,
    raw_png,
    seeds,
)

COUNT = 10_000
OF_LARGEST = 300  # of the files as large as the caps allow
MOST_SECONDS = 2.0
MOST_MEGABYTES = 200
HANG_SECONDS = 60
MOST_BYTES = ImageLimits().max_bytes + 1
SIDE = 4096  # squared, as many pixels as are decoded unless settings say otherwise

_ROOT = Path(__file__).parents[2]


@pytest.mark.benchmark
@pytest.mark.timeout(3_600)
def test_damaged_images_neither_crash_nor_hang_nor_swell() -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.test_image_fuzz"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    states: Counter[str] = Counter()
    costs: list[tuple[float, float, float, str]] = []
    name = "start"
    for name, whole in itertools.islice(hostile_files(), COUNT):
        # What is longer is refused by its length alone, and reading it would be what is measured.
        data = whole[:MOST_BYTES]
        child.stdin.write(struct.pack("<I", len(data)) + data)
        child.stdin.flush()
        answer = child.stdout.readline().split()
        assert answer, f"the process died of {name}"
        states[answer[0].decode()] += 1
        costs.append((*map(float, answer[1:]), name))
    child.stdin.close()
    child.stdout.close()
    assert child.wait() == 0, name
    seconds, megabytes = max(costs), max(costs, key=lambda cost: cost[2])
    print(
        f"\n{sum(states.values())} files: " + ", ".join(f"{n} {s}" for s, n in states.most_common())
    )
    print(f"slowest: {seconds[0]:.2f} s of processor time, at most {MOST_SECONDS} ({seconds[3]})")
    print(f"longest by the clock: {max(cost[1] for cost in costs):.2f} s")
    print(f"most memory: {megabytes[2]:.0f} MB above the baseline ({megabytes[3]})")
    assert set(states) <= STATES
    assert sum(states.values()) == COUNT
    assert seconds[0] <= MOST_SECONDS
    assert megabytes[2] <= MOST_MEGABYTES


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Bombs, files at the caps, and damage to both and to sound files; endless enough."""
    yield from ((name, data) for name, (data, _) in bombs().items())
    largest = largest_files()
    yield from largest.items()
    yield from mutants(largest, OF_LARGEST, seed=1)
    sound = seeds() | photographs()
    yield from mutants(sound | {n: d for n, (d, _) in bombs().items() if len(d) < 10**6}, COUNT, 2)


def photographs() -> dict[str, bytes]:
    """Real ones where they are beside the checkout."""
    files = sorted((_ROOT.parent / "shared" / "data" / "photos").glob("*.jpg"))
    return {file.name: file.read_bytes() for file in files[:30]}


def largest_files() -> dict[str, bytes]:
    """What takes the decoders the most time and memory that the caps allow."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIDE, SIDE // 2, 4), np.uint8)
    calm = np.kron(noise[::64, ::64], np.ones((64, 64, 1), np.uint8))
    tall = Image.fromarray(calm)
    rough = Image.fromarray(noise // 16 * 16 + calm // 16)
    square = Image.fromarray(np.concatenate([calm, calm[::-1]], axis=1))
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) + png_chunk(b"tRNS", bytes(range(256)))
    return {
        "png of 16-bit colours with alpha": raw_png((SIDE, SIDE), 16, 6, _rows(8 * SIDE, SIDE)),
        "png of the same, interlaced": raw_png((SIDE, SIDE), 16, 6, _passes(8), lace=1),
        "png of short rows": raw_png(
            (SIDE // 16, 16 * SIDE - 1), 16, 6, _rows(SIDE // 2, 16 * SIDE)
        ),
        "png of a palette with alpha": raw_png(
            (SIDE, SIDE), 8, 3, _rows(SIDE, SIDE), before=palette
        ),
        "png of grey with alpha": raw_png((SIDE, SIDE), 8, 4, _rows(2 * SIDE, SIDE)),
        "jpeg with many scans": _refined_jpeg(SCANS_MAX - 1),
        "jpeg of inks, progressive": encoded(square.convert("CMYK"), "JPEG", progressive=True),
        "gif": encoded(square.convert("RGB").quantize(64), "GIF", transparency=3),
        "webp": encoded(rough.convert("RGB"), "WEBP", quality=60, method=0),
        "webp with alpha": encoded(rough, "WEBP", quality=60, method=0, alpha_quality=50),
        "webp, lossless": encoded(rough, "WEBP", lossless=True, quality=0, method=0),
        "webp, animated": encoded(
            tall, "WEBP", quality=30, method=0, save_all=True, append_images=[rough]
        ),
    }


def _rows(width_bytes: int, height: int) -> bytes:
    """Rows of the filter that takes longest, Paeth's."""
    return (b"\4" + bytes(range(256)) * (width_bytes // 256) + bytes(width_bytes % 256)) * height


def _passes(pixel_bytes: int) -> bytes:
    steps = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
    return b"".join(_rows(SIDE // across * pixel_bytes, SIDE // down) for down, across in steps)


def _refined_jpeg(refinements: int) -> bytes:
    """Scans that add one bit to every block, over and over."""

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    def scan(bits: int, data: bytes) -> bytes:
        return segment(0xDA, b"\3\1\0\2\0\3\0" + bytes([0, 0, bits])) + data

    frame = struct.pack(">BHHB", 8, SIDE, SIDE, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    tables = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC4, b"\0\1" + bytes(16))
    levels = [(13 - i % 13) << 4 | (12 - i % 13) for i in range(refinements)]
    scans = [scan(13, bytes(400_000)), *(scan(level, b"\x55" * 100_000) for level in levels)]
    return b"".join([b"\xff\xd8", tables, segment(0xC2, frame), *scans, b"\xff\xd9"])


def serve() -> None:
    """Decode what comes until there is no more."""
    limits = ImageLimits()
    for data in seeds().values():  # decoders and profiles loaded, buffers of the allocator there
        outcome(data, limits)
    baseline = _resident("VmRSS")
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        wall, processor = time.perf_counter(), time.process_time()
        state = outcome(data, limits)
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
        faulthandler.cancel_dump_traceback_later()
        grown = _resident("VmHWM") - baseline
        print(state, f"{processor:.4f} {wall:.4f} {grown:.1f}", flush=True)


def _resident(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    serve()
