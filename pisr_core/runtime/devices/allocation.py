"""How memory is given back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
LARGEST_KEPT = (64 * 2**20, 32 * 2**20)
"""Bytes of one allocation; that and no more free memory is kept for the next one. Of these the first is taken that the
system's version of glibc allows: many end at 32 MiB."""

MAPPED_AT_ONCE = 1 << 16
"""Allocations that glibc takes from the system one by one, and gives back, by default."""

NEVER = -1
"""As a threshold: the largest."""


def keep_freed_memory() -> None:
    """Lets arrays that come and go, such as images, use the same memory again.

    By default glibc returns each large one's pages to the system, which clears new ones for the next: for a map of
    480×640 that takes longer than the work on it. Elsewhere than with glibc nothing is done.
    """
    mallopt = _mallopt()
    if mallopt is None:
        return
    for size in LARGEST_KEPT:
        # The second setting alone would do harm: it ends the adjusting that glibc does by itself.
        if mallopt(M_MMAP_THRESHOLD, size):
            mallopt(M_TRIM_THRESHOLD, size)
            return


def keep_network_memory(keep: bool = True) -> None:
    """Lets the maps of a network on the CPU, which are larger than what `keep_freed_memory` keeps, use memory again.

    A step or a pass asks for as many as the one before it, and of 1024×2048 the system would clear pages for a fifth of
    the time. Free memory has gaps, though, so that more is held than with each map for itself (docs/speed.md).

    Args:
        keep: whether maps to come do; `False` takes it back for them.
    """
    mallopt = _mallopt()
    if mallopt is None:
        return
    keep_freed_memory()
    mallopt(M_MMAP_MAX, 0 if keep else MAPPED_AT_ONCE)
    if keep:
        mallopt(M_TRIM_THRESHOLD, NEVER)


def _mallopt() -> Callable[[int, int], int] | None:
    """Of glibc; musl and other systems have none."""
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
