"""How exactly a GPU computes: with TF32 or without, and twice the same or not."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

log = logging.getLogger(__name__)

TF32 = {"none": (False, False), "convolutions": (True, False), "all": (True, True)}
"""Whether float32 convolutions, and matrix products, are computed in TF32, whose mantissa has 10 bits in place of 23;
`convolutions` is what torch does by itself."""

UNREPEATABLE = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def arithmetic(tf32: str, deterministic: bool = False) -> Iterator[None]:
    """Sets how the process computes, and in the end back what was set before.

    Args:
        tf32: a name of `TF32`.
        deterministic: take algorithms that give the same bits each time. An operation that has none is named in the
            log when it is first used.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = TF32[tf32]
    try:
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself with this alone
            torch.use_deterministic_algorithms(True, warn_only=True)
            with warnings.catch_warnings():
                warnings.filterwarnings("always", message=f".*{UNREPEATABLE.pattern}")
                warnings.showwarning = _naming_once(warnings.showwarning)
                yield
        else:
            yield
    finally:
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _naming_once(others: Callable[..., None]) -> Callable[..., None]:
    """Shows warnings as before, but those of operations that cannot be repeated once each, in the log."""
    named: set[str] = set()

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        found = UNREPEATABLE.search(str(message))
        if found is None:
            others(message, *where, **more)
        elif found[1] not in named:
            named.add(found[1])
            log.warning("%s cannot be repeated to the bit on this device: equal runs may differ by rounding.", found[1])

    return show


def describe_arithmetic(device: torch.device, dtype: str) -> str:
    """What matrix products and convolutions are computed in, for a table of speeds.

    Args:
        device: where.
        dtype: `fp32`, or what autocast computes in.
    """
    if dtype != "fp32" or device.type != "cuda":
        return dtype
    names = {values: name for name, values in TF32.items()}
    chosen = names.get((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32), "all")
    return {
        "none": "fp32 without TF32",
        "convolutions": "fp32, convolutions in TF32, matrix products without",
        "all": "fp32, convolutions and matrix products in TF32",
    }[chosen]
