"""One process at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pisr_core.errors import TrainingError
from pisr_core.runtime.obstacles import unwritable

logger = logging.getLogger(__name__)


@contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Keeps other processes out of a block with the same lock file until it ends or this process dies.

    It is the system that holds the lock, not the file, which stays: one that a killed process left locks nothing.
    Loading processes do not inherit it, and file systems that are shared by hosts know it there too.

    Args:
        path: the lock file, which names its last holder; its folder is made when it is missing.

    Raises:
        TrainingError: another process is in such a block.
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never closed before the end: closing any handle of a file gives up the process's locks on it.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        _lock(file, path)
        _write_holder(file, path)
        yield
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.pread(file, 200, 0).decode(errors="replace").strip()
        raise TrainingError(
            f"{path.parent}: another process ({holder}) is training there. Wait for it or end it, or choose another "
            "--out."
        ) from None
    except OSError as error:
        logger.warning("%s: this file system has no locks (%s); do not train there twice at once", path, error)


def _write_holder(file: int, path: Path) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError as error:
        raise unwritable(path, error) from error
