"""Work that goes on ahead of, and behind, the one who does the next step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import repeat, takewhile
from typing import TypeVar

from pisr_core.runtime.patience import waited_for, worker_pool

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    pool: Executor,
    ahead: int,
    weight: Callable[[Item], int] = lambda item: 0,
    most: int = 0,
    patience: int = 0,
    longer: str = "",
    name: Callable[[Item], str] = str,
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
        patience: seconds after which a result that is waited for counts as hanging, 0 for never.
        longer: how the user allows more.
        name: of an item that hangs.

    Raises:
        HangingError: one hangs.
    """
    pending: deque[tuple[Future[Result], Item]] = deque()

    def first() -> Result:
        future, item = pending.popleft()
        return waited_for(future, patience, lambda: name(item), longer)

    for item in items:
        while pending and weight(item) + sum(weight(other) for _, other in pending) > most:
            yield first()
        pending.append((pool.submit(function, item), item))
        if len(pending) > ahead:
            yield first()
    while pending:
        yield first()


def read_ahead(
    items: Iterator[Item], ahead: int, patience: int = 0, longer: str = "", at: Callable[[], str] = str
) -> Generator[Item, None, None]:
    """The same items, which are not `None`, read by a thread of its own.

    Args:
        items: what to read.
        ahead: of them wait at most.
        patience: see `mapped_ahead`.
        longer: likewise.
        at: the file that is being read.
    """
    with worker_pool(1) as pool:
        read = mapped_ahead(
            lambda _: next(items, None),
            repeat(None),
            pool,
            ahead,
            patience=patience,
            longer=longer,
            name=lambda _: at(),
        )
        for item in takewhile(lambda item: item is not None, read):
            assert item is not None
            yield item
