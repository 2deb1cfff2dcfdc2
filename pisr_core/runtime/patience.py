"""Waiting for work that may never end, such as reading from a disk that died: it ends in one message.

The work is done in threads that Python does not wait for when it ends: nothing can stop one that the system holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from pisr_core.errors import DataError

Result = TypeVar("Result")

PATIENCE = 30
"""Seconds that a file may take to be read."""

LONGER = "--set data.timeout=SECONDS"
"""How the user allows more, where there is a config."""

SECONDS_TO_END = 5.0
"""That threads get to end what they are doing, of which one may hang."""


class HangingError(DataError):
    """A file that is not read in time.

    Args:
        name: of the file.
        seconds: that were waited.
        longer: how the user allows more.
    """

    def __init__(self, name: str, seconds: int, longer: str = "") -> None:
        super().__init__(
            f"{name}: not read after {seconds} s: its disk, network or file system hangs. "
            f"See to that{longer and ', or wait longer: ' + longer}."
        )


def waited_for(future: Future[Result], patience: int, at: Callable[[], str], longer: str = "") -> Result:
    """The result of work that a thread does.

    Args:
        future: the work.
        patience: seconds after which it hangs, 0 for never. They are counted as they are waited for, once it has begun:
            time for which this process stood still itself, as after Ctrl-Z, is none.
        at: the file that it is at; they begin anew at each.
        longer: how the user allows more.

    Raises:
        HangingError: it hangs.
        Exception: what the work raised.
    """
    waited, before = 0, at()
    while patience:
        try:
            return future.result(timeout=1)
        except TimeoutError:
            if future.done():
                break
        waited = waited + future.running() if at() == before else 0
        before = at()
        if waited == patience:
            raise HangingError(before, patience, longer)
    return future.result()


def in_time(work: Callable[[Callable[[Any], None]], Result], patience: int, longer: str = "") -> Result:
    """The result of work that reads files.

    Args:
        work: is given a function to tell each file that it comes to.
        patience: see `waited_for`.
        longer: likewise.

    Raises:
        HangingError: it hangs.
    """
    told: list[Any] = [""]
    with worker_pool(1) as pool:
        return waited_for(pool.submit(work, partial(told.__setitem__, 0)), patience, lambda: str(told[0]), longer)


@contextmanager
def worker_pool(threads: int) -> Iterator[Executor]:
    """Threads that finish, when the block ends, what they are doing, and begin nothing more.

    When it ends because one of them hangs, by a signal, or as a generator that is given up, they get a moment only.
    """
    pool = _Threads(threads)
    patience = None
    try:
        yield pool
    except BaseException as error:
        if isinstance(error, HangingError) or not isinstance(error, Exception):
            patience = SECONDS_TO_END
        raise
    finally:
        pool.end(patience)


class _Threads(Executor):
    """As `ThreadPoolExecutor`, whose threads Python would wait for at its end."""

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Has a thread call the function."""
        future: Future[Any] = Future()
        self._tasks.put((future, partial(function, *args, **kwargs)))
        return future

    def end(self, seconds: float | None) -> None:
        """Cancels what has not begun and waits for the rest, so long at most."""
        try:
            while task := self._tasks.get_nowait():
                task[0].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._tasks.put(None)
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))

    def _work(self) -> None:
        while task := self._tasks.get():
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del task, future, call  # or the last result would be kept
