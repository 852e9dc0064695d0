from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from greenedge.data.ahead import map_ahead

THREADS = pytest.mark.parametrize("threads", [0, 1, 3])


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("greenedge-ahead")]


@THREADS
@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_map_ahead_keeps_the_order_whatever_takes_longest(threads: int, ahead: int) -> None:
    def slowest_first(number: int) -> int:
        time.sleep(0.01 if number % 4 == 0 else 0)
        return number**2

    assert list(map_ahead(slowest_first, range(20), threads=threads, ahead=ahead)) == [n**2 for n in range(20)]
    assert list(map_ahead(slowest_first, [], threads=threads, ahead=ahead)) == []
    assert ours() == []


@pytest.mark.parametrize("ahead", [1, 3])
def test_map_ahead_begins_no_more_than_it_may(ahead: int) -> None:
    begun: list[int] = []
    results = map_ahead(begun.append, range(50), threads=4, ahead=ahead)
    for asked_for in range(1, 11):
        next(results)
        time.sleep(0.002)
        assert len(begun) == asked_for + ahead
    results.close()
    time.sleep(0.01)
    assert len(begun) <= 10 + ahead
    assert ours() == []


@THREADS
def test_map_ahead_raises_an_error_in_its_place(threads: int) -> None:
    def refuse_three(number: int) -> int:
        if number == 3:
            raise ValueError("no three")
        return number

    results = map_ahead(refuse_three, range(9), threads=threads, ahead=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no three"):
        next(results)
    assert list(results) == []
    assert ours() == []


def test_map_ahead_works_while_its_caller_does() -> None:
    main, used = threading.get_ident(), set()

    def note(number: int) -> None:
        used.add(threading.get_ident() == main)

    def items() -> Iterator[int]:
        for number in range(4):
            assert threading.get_ident() == main
            yield number

    list(map_ahead(note, items(), threads=1, ahead=1))
    assert used == {False}
    used.clear()
    list(map_ahead(note, items(), threads=0, ahead=1))
    assert used == {True}
