"""Imports of torch and what stands on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Looks for no garbage while modules are imported, nor later among what they leave.

    Those of torch, torchvision and timm are a million objects that stay. Python would go through them again and again
    as they come, which takes a quarter of the time, and then now and then until it ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
