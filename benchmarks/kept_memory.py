"""What it brings, and costs, that memory which a network on the CPU frees is kept for its next maps.

python benchmarks/kept_memory.py --work step --size 512x1024 --batch-size 2
python benchmarks/kept_memory.py --work prediction --size 1024x2048
python benchmarks/kept_memory.py --work varied --runs 80
python benchmarks/kept_memory.py --work rates

step        training steps of cityscapes-pdl-r50-baseline
prediction  its forward passes, norms folded
varied      those of scenes-pdl-r18 for images of sizes drawn by lot
rates       GFLOP/s of a matrix product and of the kinds of convolutions that a ResNet has, the best of some runs

Each way has a process of its own with one thread. Printed: processor time, of the user and of the system, and cleared
pages of the median run; the largest resident size of the process in the end. Images and weights are random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import torch
from torch.nn import functional as F
from training import CATEGORIES, batches, build_learner, random_dataset, settings, step_of

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.inference.fast_model import FastModel
from pisr_core.models import build_model
from pisr_core.runtime.devices.allocation import keep_network_memory

CPU = torch.device("cpu")

CONVOLUTIONS = ((64, 64, 3, 128, 256), (256, 64, 1, 128, 256), (256, 256, 3, 64, 128), (2048, 512, 1, 32, 64))
"""Channels in and out, side of the kernel, height and width."""


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=("step", "prediction", "varied", "rates"), default="step")
    parser.add_argument("--size", default="512x1024", help="height x width")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="after a first one")
    arguments = parser.parse_args()
    if arguments.work == "rates":
        rates()
        return
    print(f"{'':14} {'user s':>8} {'system s':>9} {'pages':>9} {'largest MB':>11}")
    for name, keep in (("given back", False), ("kept", True)):
        context = multiprocessing.get_context("spawn")
        end, other = context.Pipe()
        process = context.Process(target=measure, args=(other, keep, arguments))
        process.start()
        other.close()  # so that a process that fails ends the waiting
        user, system, pages, largest = end.recv()
        process.join()
        print(f"{name:14} {user:8.2f} {system:9.2f} {pages:9.0f} {largest:11.0f}", flush=True)


def measure(end: Connection, keep: bool, arguments: argparse.Namespace) -> None:
    """Sends seconds, pages and megabytes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if keep:
        keep_network_memory()
    height, width = map(int, arguments.size.split("x"))
    works = WORKS[arguments.work]((height, width), arguments.batch_size)
    next(works)()
    taken = []
    for _, work in zip(range(arguments.runs), works, strict=False):
        before = resource.getrusage(resource.RUSAGE_SELF)
        work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        pages = after.ru_minflt - before.ru_minflt
        taken.append((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, pages))
    median = sorted(taken, key=lambda row: row[0] + row[1])[len(taken) // 2]
    end.send((*median, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3))


def steps(size: tuple[int, int], batch_size: int) -> Iterator[Callable[[], object]]:
    """Training steps."""
    config = settings("cityscapes-pdl-r50-baseline", size, batch_size)
    with random_dataset(config, batch_size) as dataset:
        batch = next(batches(config, dataset))
    step = step_of(build_learner(config, CPU), batch)
    while True:
        yield step


def predictions(size: tuple[int, int], batch_size: int) -> Iterator[Callable[[], object]]:
    """Forward passes."""
    config = presets.load("cityscapes-pdl-r50-baseline", ["backbone.pretrained=false"])
    model, images = FastModel(build_model(config, CATEGORIES)), torch.rand(batch_size, 3, *size) * 255
    while True:
        yield lambda: _without_gradients(model, images)


def varied(_: tuple[int, int], batch_size: int) -> Iterator[Callable[[], object]]:
    """Forward passes of sizes that photos have."""
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false"])
    model, lot = FastModel(build_model(config, SCENE_CATEGORIES)), random.Random(0)
    while True:
        height, width = lot.randrange(384, 832, 32), lot.randrange(640, 1344, 32)
        images = torch.rand(batch_size, 3, height, width) * 255
        yield lambda images=images: _without_gradients(model, images)


WORKS = {"step": steps, "prediction": predictions, "varied": varied}


def _without_gradients(model: FastModel, images: torch.Tensor) -> None:
    with torch.inference_mode():
        model(images)


def rates() -> None:
    """Prints what the processor reaches with one thread."""
    torch.set_num_threads(1)
    square = torch.rand(2048, 2048)
    print(f"{'product of 2048³':34} {_rate(lambda: square @ square, 2 * 2048**3):6.0f} GFLOP/s")
    for inputs, outputs, side, height, width in CONVOLUTIONS:
        images = torch.rand(1, inputs, height, width).contiguous(memory_format=torch.channels_last)
        weight = torch.rand(outputs, inputs, side, side).contiguous(memory_format=torch.channels_last)
        operations = 2 * inputs * outputs * side**2 * height * width
        rate = _rate(lambda: F.conv2d(images, weight, padding=side // 2), operations)  # noqa: B023
        print(f"{f'{inputs} to {outputs}, {side}×{side}, {height}×{width}':34} {rate:6.0f} GFLOP/s")


def _rate(work: Callable[[], object], operations: int) -> float:
    taken = []
    for _ in range(6):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return operations / min(taken) / 1e9


if __name__ == "__main__":
    main()
