"""How much memory work takes."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

CONTROL_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container reads its limit and what it uses; of the two versions one is there."""


def available_memory() -> int | None:
    """Bytes that this process may still take before the system ends something; `None` where nobody tells."""
    left = []
    if (meminfo := Path("/proc/meminfo")).exists():
        left += [1024 * int(line.split()[1]) for line in meminfo.read_text().splitlines() if "MemAvailable" in line]
    for group, limit, used in CONTROL_GROUPS:
        numbers = [Path(group, name).read_text().strip() for name in (limit, used) if Path(group, name).exists()]
        if len(numbers) == 2 and all(map(str.isdecimal, numbers)):  # "max" is no limit
            left.append(int(numbers[0]) - int(numbers[1]))
    return min(left, default=None)


@dataclass(frozen=True)
class TrainingMemory:
    """What a process needs to train; bytes, counted as `PeakMemory` does.

    Attributes:
        peak: at most, evaluations included.
        image: what each image of a micro-batch adds, beyond what is held between steps; it tells how many more fit.
            `None` of a single step.
    """

    peak: int
    image: int | None


class PeakMemory:
    """The most memory in use since it was made. One at a time: the next one sets the peak back.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu" and Path("/proc/self/clear_refs").exists():
            _give_back()
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is in use now
            self.before = _resident("VmRSS")

    def bytes(self) -> int | None:
        """Of torch on a GPU, of the process beyond its start on Linux' CPU; `None` elsewhere."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _resident("VmHWM") - self.before if self.before else None

    def now(self) -> int | None:
        """What is in use at this moment, counted as `bytes` counts."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        _give_back()
        return _resident("VmRSS") - self.before if self.before else None


def _give_back() -> None:
    """Has the C library return what was freed to the system, for it would count as in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc alone has it
    if trim is not None:
        trim(0)


def _resident(kind: str) -> int:
    """Bytes of memory that the process holds (VmRSS), or held at most (VmHWM)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return 1024 * int(line.split()[1])


class TrainingMeter:
    """Watches what training takes, from now on. See `PeakMemory`.

    Args:
        device: where.
        images: that a process trains on at once.
    """

    def __init__(self, device: torch.device, images: int) -> None:
        self._memory, self._images = PeakMemory(device), images
        self._held: int | None = None
        self._image: int | None = None

    def step_done(self) -> None:
        """To be called after each step: the first one makes what stays, the second one tells what an image takes."""
        peak = self._memory.bytes()
        if peak is None or self._image is not None:
            return
        if self._held is not None:
            self._image = (peak - self._held) // self._images
        self._held = self._memory.now()

    def result(self) -> TrainingMemory | None:
        """`None` before the first step, and where nobody tells."""
        peak = self._memory.bytes()
        return None if peak is None or self._held is None else TrainingMemory(peak, self._image)
