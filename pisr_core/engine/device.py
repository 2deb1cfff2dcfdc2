"""Which device computes."""

from __future__ import annotations

import torch

from pisr_core.errors import ConfigError


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the fastest that is here: CUDA, else Apple's MPS, else the CPU.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`, or `None` to choose.

    Raises:
        ConfigError: the name means no device, or that device is not here.
    """
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present[:0] = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name is None:
        return torch.device(present[0])
    if name not in present:
        raise ConfigError(f"device {name!r} is not available here: choose one of {', '.join(present)}.")
    return torch.device(name)
