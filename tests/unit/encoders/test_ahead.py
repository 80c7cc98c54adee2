import threading
from collections.abc import Iterator

import pytest

from monitor.encoders.ahead import ahead


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_all_items_come_in_their_order(count: int) -> None:
    assert list(ahead(range(count), 3)) == list(range(count))


def test_items_are_drawn_in_another_thread_and_no_further_ahead_than_asked() -> None:
    drawn: list[int] = []
    threads: set[int] = set()

    def source() -> Iterator[int]:
        for item in range(100):
            drawn.append(item)
            threads.add(threading.get_ident())
            yield item

    items = ahead(source(), 4)
    first = next(items)
    items.close()
    assert first == 0
    assert len(drawn) <= 5
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_of_the_source_comes_where_it_belongs() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    items = ahead(source(), 4)
    assert next(items) == 1
    with pytest.raises(ValueError, match="the second"):
        next(items)
