"""Results that are computed in background threads before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Applies a function to items and yields the results in the items' order.

    An error of the function reaches the caller where its result would have come. Nothing runs any more once the
    iterator is at its end or closed.

    Args:
        function: safe to call from several threads.
        items: taken one by one, in the caller's thread.
        threads: that compute results before they are asked for; 0: each is computed when it is asked for.
        ahead: how many results are computed, or wait, beyond the one asked for.
    """
    if threads == 0:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="greenedge-ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # What runs is waited for, since it may read files that are closed next.
        pool.shutdown(cancel_futures=True)
