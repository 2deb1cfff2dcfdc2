"""Where a shell limits the memory that a process may address, large libraries may end it: they are tried elsewhere."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from traceback import walk_tb
from types import ModuleType
from typing import Never

from pisr_core.errors import DeviceError

LARGE = ("numpy", "cv2", "scipy.linalg", "torch")

LONGEST = 60
"""Seconds that one may take: without memory some wait for ever."""

TO_SPARE = 2**28
"""Bytes that must be left: what just fits into one process may not into the next, for places are drawn by lot."""

TOO_LITTLE = ("failed to map", "annot allocate memory", "bad_alloc")
"""In what the loader and the C++ library say."""


def try_large_imports() -> None:
    """From now on an import ends in a message where the memory that may be addressed is too little for it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        sys.meta_path.insert(0, _Trial(limit))


def failed_import(error: BaseException) -> DeviceError | None:
    """What to say of an import that failed for lack of memory though its trial went well, for places are drawn by lot.

    Nothing is imported to say it. `None` for other errors, without a limit, and outside an import.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    importing = any(frame.f_code.co_name == "<module>" for frame, _ in walk_tb(error.__traceback__))
    if limit == resource.RLIM_INFINITY or not importing or not _for_lack_of_memory(error):
        return None
    return _too_little("the libraries were", limit)


def _for_lack_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in TOO_LITTLE)


def _too_little(what: str, limit: int) -> DeviceError:
    return DeviceError(
        f"out of memory while {what} loaded: this shell lets a process address {limit / 2**30:.1f} GiB. "
        "Allow more (`ulimit -v unlimited`)."
    )


class _Trial(MetaPathFinder):
    """Asked first for every module. Leaves all to the others, large ones as soon as they are known to load."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.untried = set(LARGE)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Never finds anything.

        Raises:
            DeviceError: a module would not load.
        """
        if fullname not in self.untried:
            return
        self.untried.remove(fullname)
        process = os.fork()
        if process == 0:
            _load(fullname)
        _, status = os.waitpid(process, 0)
        if status:
            raise _too_little(f"{fullname} was", self.limit)
        if fullname == "torch":
            self.untried.discard("numpy")  # which it loads: there a failure would be torch's to handle


def _load(module: str) -> Never:
    """In a process of its own: what torch's libraries do without memory is to abort."""
    status = 0
    # What the module loads itself is part of this trial, not one of its own, of which the module might make light.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Trial)]
    signal.alarm(LONGEST)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        import_module(module)
        mmap.mmap(-1, TO_SPARE)
    except (ImportError, OSError) as error:  # what is not installed well comes again, where it is seen
        status = _for_lack_of_memory(error)
    except BaseException:  # without memory libraries say all kinds of things
        status = 1
    os._exit(status)
