"""How memory is given back to the system."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 64 * 2**20
"""Bytes of one allocation; that and no more free memory is kept for the next one."""


def keep_freed_memory() -> None:
    """Lets arrays that come and go, such as images, use the same memory again.

    By default glibc returns each large one's pages to the system, which clears new ones for the next: for a map of
    480×640 that takes longer than the work on it. Elsewhere than with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, LARGEST_KEPT)
