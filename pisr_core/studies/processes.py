"""Several trainings at once, each in a process of its own with its share of the machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from pisr_core.errors import TrainingError
from pisr_core.runtime.processes.interruption import StopRequest
from pisr_core.runtime.processes.parents import VARIABLE
from pisr_core.runtime.processes.workers import bounded
from pisr_core.training.state import RunFolder, metrics_record

POLL_SECONDS = 0.5
"""Between two looks at the processes."""

TAIL_BYTES = 1 << 16
"""Enough of a file's end for its last line."""


@dataclass(frozen=True)
class Slot:
    """A share of the machine, for one training at a time.

    Attributes:
        cores: of the CPU.
        device: for `--device`; `None` leaves the choice to the training.
    """

    cores: tuple[int, ...]
    device: str | None = None


@dataclass(frozen=True)
class Training:
    """One run to be made, or to be continued where its folder holds a state.

    Attributes:
        name: for people.
        folder: the run's.
        steps: that it makes.
        start: arguments of `pisr train` that begin it.
        resume: those that continue it.
    """

    name: str
    folder: RunFolder
    steps: int
    start: tuple[str, ...]
    resume: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder.path / "train.log"


class _Process:
    """A training that runs."""

    def __init__(self, command: Sequence[str], training: Training, slot: Slot) -> None:
        self.training = training
        arguments = training.resume if training.folder.state.is_file() else training.start
        device = ("--device", slot.device) if slot.device else ()
        training.log.parent.mkdir(parents=True, exist_ok=True)
        with training.log.open("a", encoding="utf-8") as log:
            _lock(log.fileno(), training)
            self.process = subprocess.Popen(
                [*command, *arguments, *device],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": str(len(slot.cores)), **os.environ, VARIABLE: str(os.getpid())},
                start_new_session=True,  # Ctrl-C comes to us alone, and we pass it on once
            )
        if hasattr(os, "sched_setaffinity"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(self.process.pid, slot.cores)


def train_all(
    command: Sequence[str],
    trainings: Sequence[Training],
    slots: Sequence[Slot],
    on_progress: Callable[[Training, int], None],
    on_done: Callable[[Training], None],
) -> dict[str, str]:
    """Makes all trainings, as many at a time as there are slots. One that fails does not stop the others.

    Ctrl-C and SIGTERM are passed on: each training saves its state, and the next call continues it. So it does when
    this process is killed.

    Args:
        command: what runs `pisr train`.
        trainings: in the order in which they start.
        slots: see `machine_slots`.
        on_progress: hears of each running training's steps.
        on_done: hears of each training that ended well.

    Returns:
        What the log of each failed training says last, by the training's name.

    Raises:
        TrainingError: another process is training one of them.
        KeyboardInterrupt: Ctrl-C, after the states were saved.
    """
    waiting = deque(trainings)
    running: dict[int, _Process] = {}
    failures: dict[str, str] = {}
    with StopRequest() as stop:
        try:
            while running or (waiting and stop.signal is None):
                for index, slot in enumerate(slots):
                    if waiting and index not in running:
                        running[index] = _Process(command, waiting.popleft(), slot)
                time.sleep(POLL_SECONDS)
                if stop.signal is not None:
                    waiting.clear()
                    _end(running.values())
                for index, run in list(running.items()):
                    on_progress(run.training, last_step(run.training.folder.metrics))
                    code = run.process.poll()
                    if code is None:
                        continue
                    del running[index]
                    if code == 0:
                        on_done(run.training)
                    else:
                        failures[run.training.name] = _last_words(run.training.log)
        finally:
            _end(running.values())
    stop.obey()
    return failures


def machine_slots(count: int | None = None, device: str | None = None) -> list[Slot]:
    """Shares of this machine; GPUs are given out in turn.

    Args:
        count: how many; else one for each GPU, or for every two cores where there is none.
        device: all train there; else on the GPUs.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    gpus = torch.cuda.device_count() if device is None else 0
    count = bounded(count, "--parallel") if count else gpus or max(len(cores) // 2, 1)
    return [
        Slot(
            # More slots than cores share them.
            cores=tuple(cores[i * len(cores) // count : (i + 1) * len(cores) // count]) or (cores[i % len(cores)],),
            device=f"cuda:{i % gpus}" if gpus else device,
        )
        for i in range(count)
    ]


def last_step(metrics: Path) -> int:
    """The step of the last whole line of a `metrics.jsonl`, 0 without any."""
    records = (metrics_record(line.decode("utf-8", errors="replace")) for line in reversed(_tail(metrics).splitlines()))
    return next((int(record["step"]) for record in records if record), 0)


def _end(runs: Iterable[_Process]) -> None:
    """Asks trainings to save their state and stop, and waits for that."""
    waited_for = list(runs)
    for run in waited_for:
        run.process.terminate()
    for run in waited_for:
        run.process.wait()


def _lock(log: int, training: Training) -> None:
    """The log stays locked as long as the training has it open, even if we are killed."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TrainingError(
            f"{training.folder.path}: another process is training this run. Wait for it, or end it and start again."
        ) from None


def _last_words(log: Path) -> str:
    lines = _tail(log).decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def _tail(path: Path) -> bytes:
    """The last bytes of a file; none where there is no file yet."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        return file.read()
