"""Which device computes, and what its faults mean."""

from __future__ import annotations

import logging

import torch

from pisr_core.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""In the messages of CUDA and MPS, of the CPU's allocator, and of cuDNN and cuBLAS."""

FAILED = ("CUDA error", "NCCL error", "HIP error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS")

OWN_FAULT = "device-side assert"
"""A wrong index in a kernel: a bug, whose traceback is wanted."""


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


def warn_of_emulation(device: torch.device, precision: str) -> None:
    """Warns where low precision takes longer than float32 does.

    A CPU with AVX2 alone has no instructions for bf16; its convolutions then run many times slower (docs/speed.md).

    Args:
        device: what computes.
        precision: as in `train.precision`.
    """
    if precision == "bf16" and device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        log.warning("bf16: this CPU has no instructions for it; float32 (precision 'no') is several times as fast")


def device_error(error: BaseException, memory_cure: str) -> DeviceError | None:
    """What an error says about the device: it ran out of memory, or it failed; `None` where it says nothing.

    Args:
        error: what torch or Python raised.
        memory_cure: what to change for less memory.
    """
    if not isinstance(error, (RuntimeError, MemoryError)) or OWN_FAULT in str(error):
        return None
    words = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        return DeviceError(f"out of memory ({words}). {memory_cure}")
    if any(sign in str(error) for sign in FAILED):
        return DeviceError(
            f"the GPU failed ({words}). Look at `nvidia-smi` and the system's log (`dmesg`); it may need a reset or "
            "another --device."
        )
    return None
