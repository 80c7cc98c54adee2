"""Who is limited to one thread and who is not, in a process that may use three."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from threadpoolctl import threadpool_info

from monitor.reference.signals import limit_thread, single_threaded

THREADS = 3
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as other:
        return other.submit(torch.get_num_threads).result()


def nested() -> int:
    with single_threaded():
        with single_threaded():
            pass
        return torch.get_num_threads()


def overlapping() -> list[int]:
    """Limits of the thread that is still in it when another one has left."""
    inside, leave, left = Event(), Event(), Event()

    def other() -> None:
        with single_threaded():
            inside.set()
            leave.wait()
        left.set()

    with ThreadPoolExecutor(1) as threads, single_threaded():
        threads.submit(other)
        inside.wait()
        leave.set()
        left.wait()
        return sorted({info["num_threads"] for info in threadpool_info()})


def meanwhile() -> int:
    with single_threaded():
        return of_a_new_thread()


def of_a_pool() -> int:
    with ThreadPoolExecutor(1, initializer=limit_thread) as threads:
        return threads.submit(torch.get_num_threads).result()


def observed() -> dict[str, object]:
    """In the order of the keys."""
    return {
        "nested": nested(),
        "after": torch.get_num_threads(),
        "overlapping": overlapping(),
        "after overlapping": torch.get_num_threads(),
        "another meanwhile": meanwhile(),
        "another after": of_a_new_thread(),
        "of a pool": of_a_pool(),
    }


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.reference.test_threads"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **dict.fromkeys(VARIABLES, str(THREADS))},
        check=True,
        capture_output=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("whose", ["nested", "of a pool"])
def test_who_is_in_it_has_one_thread(found: dict[str, object], whose: str) -> None:
    assert found[whose] == 1


def test_one_that_leaves_does_not_lift_the_limit_of_one_that_is_still_in_it(
    found: dict[str, object],
) -> None:
    assert found["overlapping"] == [1]


@pytest.mark.parametrize(
    "whose", ["after", "after overlapping", "another meanwhile", "another after"]
)
def test_who_is_not_in_it_has_its_threads(found: dict[str, object], whose: str) -> None:
    assert found[whose] == THREADS


if __name__ == "__main__":
    json.dump(observed(), sys.stdout)
