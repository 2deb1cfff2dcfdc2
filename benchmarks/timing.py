"""How the other benchmarks take time and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from pisr_core.profiling.speed import timed
from pisr_core.runtime.devices.memory import PeakMemory


def milliseconds(device: torch.device, runs: int, *works: Callable[[], object], processor: bool = False) -> list[float]:
    """Medians of some works that run in turn, after a warm-up of each.

    Args:
        device: where they compute.
        runs: of each.
        *works: what to time.
        processor: count this process's processor time: on a CPU that others use too, with one thread.
    """
    times: list[list[float]] = [[] for _ in works]
    for run in range(runs + 1):
        for work, measured in zip(works, times, strict=True):
            taken = processor_time(work) if processor else timed(work, device)[0]
            measured += [taken][: run > 0]
    return [statistics.median(measured) for measured in times]


def processor_time(work: Callable[[], object]) -> float:
    """Milliseconds of this process's processor time."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def megabytes(device: torch.device, work: Callable[[], object]) -> float:
    """Most memory in use beyond that before: of torch on a GPU, of the process on the CPU."""
    peak = PeakMemory(device)
    before = peak.now() or 0
    work()
    return ((peak.bytes() or 0) - before) / 1e6


def live_megabytes(work: Callable[[], object]) -> float:
    """Most memory that torch's tensors on the CPU hold at once beyond what they held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    held = most = 0
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 1e6
