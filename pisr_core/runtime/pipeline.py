"""Work that goes on ahead of, and behind, the one who does the next step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat, takewhile
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def worker_pool(threads: int) -> Iterator[Executor]:
    """Threads that finish, when the block ends, what they are doing, and begin nothing more."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def mapped_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    pool: Executor,
    ahead: int,
    weight: Callable[[Item], int] = lambda item: 0,
    most: int = 0,
) -> Iterator[Result]:
    """As `map`, in order, but computed by a pool while the caller works on earlier results.

    `Executor.map` would read all items at once; here the memory has a limit.

    Args:
        function: an error of it is raised when its result is due.
        items: read as results are taken.
        pool: computes.
        ahead: most results that are computed before they are asked for.
        weight: of an item, such as its pixels.
        most: of the weight of all that are computed ahead; a single one may be heavier.
    """
    pending: deque[tuple[Future[Result], int]] = deque()
    for item in items:
        own = weight(item)
        while pending and own + sum(others for _, others in pending) > most:
            yield pending.popleft()[0].result()
        pending.append((pool.submit(function, item), own))
        if len(pending) > ahead:
            yield pending.popleft()[0].result()
    while pending:
        yield pending.popleft()[0].result()


def read_ahead(items: Iterator[Item], ahead: int) -> Generator[Item, None, None]:
    """The same items, which are not `None`, read by a thread of its own: `ahead` of them wait at most."""
    with worker_pool(1) as pool:
        read = mapped_ahead(lambda _: next(items, None), repeat(None), pool, ahead)
        for item in takewhile(lambda item: item is not None, read):
            assert item is not None
            yield item
