"""Embedding while other processes want the cores: threads that sleep beside threads that spin."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.benchmark

EMBED = """
import io, time
import numpy as np
from PIL import Image
from monitor.encoders.builtin import builtin_encoders
from monitor.encoders.images import ImageLimits, decode_image
image = io.BytesIO()
noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
Image.fromarray(noise).save(image, "PNG")
images = [decode_image(image.getvalue(), ImageLimits())] * 24
encoder = builtin_encoders().visual
encoder.encode(images[:1])
begun = time.perf_counter()
encoder.encode(images)
print(time.perf_counter() - begun)
"""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def embedding_seconds(policy: str) -> float:
    ended = subprocess.run(
        [sys.executable, "-c", EMBED],
        env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        | {"OMP_WAIT_POLICY": policy},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ended.stdout)


def test_threads_that_sleep_embed_faster_on_busy_cores() -> None:
    cores = os.cpu_count() or 1
    for others in (0, cores, 2 * cores):
        with busy(others):
            sleeping, spinning = embedding_seconds("PASSIVE"), embedding_seconds("ACTIVE")
        print(f"\n{others} busy processes on {cores} cores: spinning {spinning / sleeping:.1f} x")
    assert spinning > sleeping
