"""Processes that do not outlive the one that started them, however that dies."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
SECONDS_BETWEEN_LOOKS = 1.0

VARIABLE = "PISR_PARENT"
"""In the environment of a command: the process that it shall not outlive."""


def end_with_named(number: int) -> None:
    """As `end_with`, for a command whose environment names a parent."""
    if parent := os.environ.pop(VARIABLE, None):
        end_with(int(parent), number)


def end_with(parent: int, number: int) -> None:
    """Has this process get a signal when its parent dies, by SIGKILL too: on Linux at once, elsewhere in a second.

    Args:
        parent: its process id, as the parent itself knows it, for it may be dead already. A process that a fork server
            has started is watched too, though it is no child of it.
        number: the signal.
    """
    direct = os.getppid() == parent
    if direct and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    threading.Thread(target=_watch, args=(parent, number, direct), daemon=True).start()


def _watch(parent: int, number: int, direct: bool) -> None:
    while os.getppid() == parent if direct else _lives(parent):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), number)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
