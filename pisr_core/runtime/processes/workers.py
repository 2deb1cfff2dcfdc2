"""Work shared by several processes, in which nothing can hang: whatever happens to one ends in one message."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from pisr_core.errors import DataError
from pisr_core.runtime.devices.allocation import keep_freed_memory
from pisr_core.runtime.patience import PATIENCE, HangingError, waited_for, worker_pool
from pisr_core.runtime.processes.messages import Message, packed, receive, send
from pisr_core.runtime.processes.parents import end_with

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MOST_PER_CORE = 4
"""Processes: more of them wait for the disk than for a core, but thousands stop the machine."""

FILES_LEFT = 16
"""Which this process may open beside what its workers take."""

FILES_A_WORKER = 3

SECONDS_TO_END = 5
"""That a killed process gets, for one that waits for a dead disk may not end at all."""


@runtime_checkable
class Tasks(Protocol):
    """A sequence of sequences of parts, as far as it is needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Work(Generic[Result]):
    """What is to be done. All of it can be pickled.

    Attributes:
        tasks: one for each result.
        do: of a part of a task.
        gather: the result of a task from those of its parts.
    """

    tasks: Tasks
    do: Callable[[Any], Any]
    gather: Callable[[list[Any]], Result]

    def result(self, number: int, tell: Callable[[int], None] = lambda part: None) -> Result:
        """A task's; `tell` hears of the position of each part before it is done."""
        values = []
        for position, part in enumerate(self.tasks[number]):
            tell(position)
            values.append(self.do(part))
        return self.gather(values)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bounded(workers: int, setting: str) -> int:
    """As many processes as were asked for, as long as the machine bears them. Says so when there are many.

    Args:
        workers: asked for.
        setting: which asked for them, for the message.
    """
    cores = available_cores()
    most = MOST_PER_CORE * cores
    if workers > most:
        _say_once(f"{setting} = {workers}: {most} are started, for this machine has {cores} cores")
    elif workers > cores:
        _say_once(f"{setting} = {workers}: more than the {cores} cores; they help only where they wait for files")
    return min(workers, most)


class Workers(Generic[Result]):
    """Processes that share work; the results come in order. To be left with `with`, which ends them.

    Each does every so-manieth task, holds one result ready and begins the next one when that was taken. None of them
    outlives this process.

    Args:
        work: to be done.
        count: of processes; with 0, or where none can be started, the work is done in this one.
        setting: that asked for them, for messages; empty where there is none.
        name: of a part, for messages.
        patience: seconds after which a part that is not done counts as stuck, 0 for never.
        longer: how the user sets that, for messages.
    """

    def __init__(
        self,
        work: Work[Result],
        count: int,
        setting: str,
        name: Callable[[Any], str],
        patience: int = PATIENCE,
        longer: str = "",
    ) -> None:
        self.work = work
        self.setting = setting
        self.name = name
        self.patience = patience
        self.longer = longer
        self._running: list[_Worker] = []
        self._count = min(count, len(work.tasks))

    def __enter__(self) -> Workers[Result]:
        with ExitStack() as stack:
            stack.callback(self._end)
            self._start()
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def results(self) -> Iterator[Result]:
        """Those of all tasks, once.

        Raises:
            DataError: a process died, or is stuck.
            Exception: what the work raised, with the traceback in its process as a note.
        """
        if not self._running:
            yield from self._results_of_a_thread()
        for number in range(len(self.work.tasks) if self._running else 0):
            yield self._received(self._running[number % len(self._running)], self.work.tasks[number])

    def _start(self) -> None:
        room = _open_files_left() // FILES_A_WORKER
        reason = "too few files may be open (`ulimit -n`)"
        try:
            while len(self._running) < min(self._count, room):
                self._running.append(_Worker(self.work))
        except OSError as error:  # no more processes, or no memory for one
            reason = str(error)
        started = len(self._running)
        if started < self._count:
            asked = self.setting and f"{self.setting}: "
            _say_once(f"{asked}{started or 'none'} of {self._count} processes could be started: {reason}")
        for rank, worker in enumerate(self._running):
            worker.share(rank, started)

    def _results_of_a_thread(self) -> Iterator[Result]:
        """In this process, one after another as they are asked for."""
        told = [0]
        with worker_pool(1) as pool:
            for number in range(len(self.work.tasks)):
                told[0], task = 0, self.work.tasks[number]
                done = pool.submit(self.work.result, number, partial(told.__setitem__, 0))
                at = partial(self._name_of, task, told)
                yield waited_for(done, self.patience, at, self.longer)

    def _name_of(self, task: Sequence[Any], position: list[int]) -> str:
        return self.name(task[position[0]])

    def _received(self, worker: _Worker, task: Sequence[Any]) -> Result:
        at = task[0]
        try:
            while True:
                message = worker.receive(self.patience)
                if not isinstance(message, _Begun):
                    break
                at = task[message.position]
        except EOFError:
            raise self._death(worker, at) from None
        except TimeoutError:
            raise HangingError(self.name(at), self.patience, self.longer) from None
        if isinstance(message, _Failed):
            raise message.error
        return message

    def _death(self, worker: _Worker, at: Any) -> DataError:
        where, how = self.name(at), worker.how_it_ended()
        cure = f"Use fewer with {self.setting}=N, or give" if self.setting else "Give"
        return DataError(
            f"a working process died ({how}) at {where}. For want of memory? {cure} the machine or container more "
            "memory. If it dies there again, look at that file."
        )

    def _end(self) -> None:
        for worker in self._running:
            worker.kill()
        for worker in self._running:
            worker.process.join(SECONDS_TO_END)
        self._running = []


@dataclass(frozen=True)
class _Begun:
    """What a process tells before each part of a task."""

    position: int


@dataclass(frozen=True)
class _Failed:
    """What a process tells in place of a result."""

    error: Exception


class _Worker:
    """A process and this end of its socket."""

    def __init__(self, work: Work[Any]) -> None:
        self.end, other = socket.socketpair()
        self._begun = False
        try:
            # A daemon, which Python ends with this process.
            self.process = multiprocessing.Process(target=_serve, args=(other, work, os.getpid()), daemon=True)
            self.process.start()
        except BaseException:
            self.end.close()
            raise
        finally:
            other.close()  # or its death would not be seen here

    def share(self, rank: int, count: int) -> None:
        """Tells which tasks are its own."""
        with suppress(OSError):  # it died; that is told of when a result is asked for
            send(self.end, packed((rank, count)))
        self.end.settimeout(1)

    def receive(self, patience: int) -> Any:
        """Its next message. It may take its time to start, for Python may import all anew there."""
        message = receive(self.end, patience if self._begun else 0)
        self._begun = True
        return message

    def how_it_ended(self) -> str:
        """In words."""
        self.process.join(SECONDS_TO_END)
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """It has nothing to tidy up: files appear when they are whole."""
        self.process.kill()
        self.end.close()


def _serve(end: socket.socket, work: Work[Any], parent: int) -> None:
    """What a process does."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler of its parent came along
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    end_with(parent, signal.SIGKILL)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # the processes are many already
    keep_freed_memory()
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(0)  # sequential; 1 would wait for ever for threads that a fork does not copy
    with suppress(OSError, EOFError):  # the parent is gone
        rank, count = receive(end)
        for number in range(rank, len(work.tasks), count):
            send(end, _answer(end, work, number))


def _answer(end: socket.socket, work: Work[Any], number: int) -> Message:
    try:
        return packed(work.result(number, lambda position: send(end, packed(_Begun(position)))))
    except Exception as error:
        error.add_note(f"in a working process:\n{traceback.format_exc()}")
        with suppress(Exception):  # not all exceptions can be pickled, nor made anew
            pickle.loads(pickle.dumps(error))
            return packed(_Failed(error))
        return packed(_Failed(RuntimeError(f"{type(error).__name__}: {error}")))


def _open_files_left() -> int:
    """How many this process may open before only `FILES_LEFT` are left."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(most - len(os.listdir("/dev/fd")) - FILES_LEFT, 0)
    except (ImportError, OSError):  # not on Windows
        return 1 << 30


@cache
def _say_once(text: str) -> None:
    """Evaluations start processes again and again."""
    logger.warning(text)
