"""One function over many items in several processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

import cv2

from pisr_core.errors import DataError


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


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item], workers: int = 0) -> Iterator[Result]:
    """The function's results in the order of the items.

    Args:
        function: can be pickled, as can items and results.
        items: what it gets, one by one.
        workers: processes, 0 for one a core; with 1 all is done in this one.

    Raises:
        DataError: the system ended a process.
    """
    count = min(workers or available_cores(), len(items))
    if count <= 1:
        yield from map(function, items)
        return
    executor = ProcessPoolExecutor(count, initializer=_start_worker)
    try:
        yield from executor.map(function, items, chunksize=max(1, min(16, len(items) // (4 * count))))
    except BrokenProcessPool as error:
        raise DataError("the system ended a working process, perhaps for memory. Use fewer with --workers.") from error
    finally:
        executor.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    """Leaves Ctrl-C to the main process and threads alone: workers are many already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)  # its threads do not survive a fork
