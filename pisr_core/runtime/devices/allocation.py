"""How memory is given back to the system."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = (64 * 2**20, 32 * 2**20)
"""Bytes of one allocation; that and no more free memory is kept for the next one. Of these the first is taken that the
system's version of glibc allows: many end at 32 MiB."""


def keep_freed_memory() -> None:
    """Lets arrays that come and go, such as images, use the same memory again.

    By default glibc returns each large one's pages to the system, which clears new ones for the next: for a map of
    480×640 that takes longer than the work on it. Elsewhere than with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return
    for size in LARGEST_KEPT:
        # The second setting alone would do harm: it ends the adjusting that glibc does by itself.
        if mallopt(M_MMAP_THRESHOLD, size):
            mallopt(M_TRIM_THRESHOLD, size)
            return
