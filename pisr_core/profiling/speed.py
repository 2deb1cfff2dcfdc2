"""Seconds and memory of a model, forward pass and merging apart."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from pisr_core.errors import ConfigError
from pisr_core.inference.mode import inference
from pisr_core.models import PanopticModel
from pisr_core.profiling.card import Card, look_at_card
from pisr_core.runtime.devices.arithmetic import TF32, arithmetic, describe_arithmetic
from pisr_core.runtime.devices.memory import PeakMemory
from pisr_core.structures import PanopticResult

Result = TypeVar("Result")

DTYPES = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Types that autocast computes in; `None` for none."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a batch over all runs: the median and its spread.

    Attributes:
        median: half of the runs take less.
        low: the first quartile.
        high: the third quartile.
    """

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles."""
        return (self.high - self.low) / 2

    @classmethod
    def of(cls, milliseconds: list[float]) -> Timing:
        """From two runs or more."""
        low, median, high = statistics.quantiles(milliseconds, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Speed:
    """How fast a model is.

    Attributes:
        device: its name.
        dtype: `fp32`, `fp16` or `bf16`.
        batch: images at once.
        runs: measured ones, after those that warm up.
        forward: of the forward pass, from the images on the device to the predictions there.
        merging: from there to the panoptic maps on the host.
        total: of both.
        segments: in the panoptic map of an image, on average; merging takes longer for more.
        peak_memory: bytes that torch held at most on a GPU, weights included; on the CPU what the process grew by at
            most; `None` where nobody tells.
        arithmetic: what convolutions and matrix products are computed in.
        card: what else tells of a GPU's speed; `None` of other devices.
    """

    device: str
    dtype: str
    batch: int
    runs: int
    forward: Timing
    merging: Timing
    total: Timing
    segments: float
    peak_memory: int | None
    arithmetic: str = ""
    card: Card | None = None

    @property
    def fps(self) -> float:
        """Images a second, merging included."""
        return 1000 * self.batch / self.total.median

    @property
    def forward_fps(self) -> float:
        """Images a second of the forward pass alone."""
        return 1000 * self.batch / self.forward.median


def measure_speed(
    model: PanopticModel,
    images: Shaped[Tensor, "b 3 H W"],
    dtype: str = "fp32",
    compiled: bool = False,
    channels_last: bool = False,
    runs: int = 20,
    warmup: int = 3,
    progress: Callable[[int, int], None] | None = None,
    tf32: str = "convolutions",
) -> Speed:
    """Times a model on a batch of images, which lie on its device already.

    Args:
        model: with trained weights, if merging shall be representative: random ones find hardly any instance.
        images: RGB, 0–255, with sides that the model takes.
        dtype: a name of `DTYPES`.
        compiled: pass the forward pass through `torch.compile` first.
        channels_last: keep images and convolutions' weights with their channels last.
        runs: at least two.
        warmup: runs before, which are not measured: kernels are chosen and compiled there.
        progress: called with (done, total) runs.
        tf32: what is computed in TF32, see `arithmetic`.

    Raises:
        ConfigError: the device cannot compute in this type.
    """
    device = images.device
    check_dtype(device, dtype, tf32)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    forward = torch.compile(model) if compiled else model
    memory = PeakMemory(device)
    autocast = torch.autocast(device.type, dtype=DTYPES[dtype], enabled=DTYPES[dtype] is not None)
    with arithmetic(tf32), inference(model), autocast:
        times, maps = _run(model, forward, images, warmup + runs, progress)
        forward_times, merging_times = (list(column) for column in zip(*times[warmup:], strict=True))
        return Speed(
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            dtype=dtype,
            batch=len(images),
            runs=runs,
            forward=Timing.of(forward_times),
            merging=Timing.of(merging_times),
            total=Timing.of([sum(both) for both in times[warmup:]]),
            segments=statistics.fmean(len(result.panoptic.segments) for result in maps),
            peak_memory=memory.bytes(),
            arithmetic=describe_arithmetic(device, dtype),
            card=look_at_card(device, os.getpid()),
        )


def _run(
    model: PanopticModel,
    forward: Callable[..., Any],
    images: Shaped[Tensor, "b 3 H W"],
    runs: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[tuple[float, float]], list[PanopticResult]]:
    """Milliseconds of each run's forward pass and merging, and the last run's maps."""
    times: list[tuple[float, float]] = []
    sizes = [(images.shape[2], images.shape[3])] * len(images)
    for run in range(runs):
        milliseconds, output = timed(lambda: forward(images), images.device)
        start = time.perf_counter()
        maps = model.panoptic(output, sizes, sizes)
        _synchronize(images.device)
        times.append((milliseconds, 1000 * (time.perf_counter() - start)))
        if progress is not None:
            progress(run + 1, runs)
    return times, maps


def check_dtype(device: torch.device, dtype: str, tf32: str = "convolutions") -> None:
    """Raises `ConfigError` for an unknown type, one that the device does not compute in, or an unknown use of TF32."""
    if tf32 not in TF32:
        raise ConfigError(f"tf32 {tf32!r}: choose one of {', '.join(TF32)}.")
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}.")
    if dtype == "fp16" and device.type == "cpu":
        raise ConfigError("dtype 'fp16': the CPU has none; take bf16 or fp32.")


def timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Milliseconds of some work, by the device's own clock where it has one, and its result."""
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)  # an event by itself would stand on the first GPU's
        begin, end = stream.record_event(torch.cuda.Event(enable_timing=True)), torch.cuda.Event(enable_timing=True)
        result = work()
        stream.record_event(end).synchronize()
        return begin.elapsed_time(end), result
    start = time.perf_counter()
    result = work()
    _synchronize(device)
    return 1000 * (time.perf_counter() - start), result


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
