"""One function over many items in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from pisr_core.runtime.processes.workers import Work, Workers, available_cores, bounded


@dataclass(frozen=True)
class Process:
    """One of several processes that share the work on a data set."""

    rank: int = 0
    """Its number."""
    world_size: int = 1
    """How many there are."""


ALONE = Process()

Item = TypeVar("Item")
Result = TypeVar("Result")

SETTING = "--workers"


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 0,
    name: Callable[[Item], str] = str,
) -> Iterator[Result]:
    """The function's results in the order of the items.

    Args:
        function: can be pickled, as can items and results.
        items: what it gets, one by one.
        workers: processes, 0 for one a core; with 1 all is done in a thread of this one.
        name: of an item, for messages.

    Raises:
        DataError: a process died, or is stuck.
    """
    count = min(bounded(workers or available_cores(), SETTING), len(items))
    size = max(1, min(16, len(items) // (4 * count))) if count > 1 else 1
    tasks = [items[first : first + size] for first in range(0, len(items), size)]
    with Workers(Work(tasks, function, list), count if count > 1 else 0, SETTING, name) as processes:
        yield from chain.from_iterable(processes.results())
