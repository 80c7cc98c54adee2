"""Preparing what comes next while the present is worked on."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items in the same order, drawn in one other thread up to ``depth`` of them early.

    An exception of the source comes out in its place. Whoever stops early closes the iterator,
    and nothing more is drawn.
    """
    source = iter(items)
    end = object()
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    try:
        drawn = deque(worker.submit(next, source, end) for _ in range(depth))
        while (item := drawn.popleft().result()) is not end:
            drawn.append(worker.submit(next, source, end))
            yield item  # type: ignore[misc]  # of type T, because it is not the end
    finally:
        worker.shutdown(wait=True, cancel_futures=True)
