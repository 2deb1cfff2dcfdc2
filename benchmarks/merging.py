"""Merging: time and memory, against the straightforward way, as ratios of one run.

python benchmarks/merging.py --size 1024x2048 --instances 60
python benchmarks/merging.py --device cuda
python benchmarks/merging.py --boxes

Panoptic-DeepLab: class map, centre heatmap and offsets at full size in, planted; the panoptic label of each pixel out.
The other way holds a K×H×W table of distances, as the method is written down, and visits one instance after another;
both must give the same labels. Panoptic FPN (`--boxes`): detections in, pasted one after another within their boxes;
the other way pastes all of them over the whole image first. Memory is what is held at most beyond the inputs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.boxes.instances import paste_masks
from pisr_core.models.boxes.merging import Placed, confident_first, merge_fpn, placement
from pisr_core.models.center_offset.merging.grouping import LABEL_DIVISOR
from pisr_core.models.center_offset.merging.panoptic import panoptic_labels
from pisr_core.models.exportable import VOID
from pisr_core.runtime.devices.device import choose_device
from pisr_core.runtime.devices.memory import PeakMemory

STUFF, THINGS = (0, 1), tuple(range(2, 10))
SETTINGS = {"center_threshold": 0.1, "nms_kernel": 7, "top_k": 400, "stuff_area": 2048}

Scene = tuple[Tensor, Tensor, Tensor]


def main() -> None:
    """Prints a row for each share of thing pixels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1024x2048", help="height x width, pixels")
    parser.add_argument("--instances", type=int, default=60)
    parser.add_argument("--noise", type=float, default=5.0, help="standard deviation of the offsets, pixels")
    parser.add_argument("--device")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--boxes", action="store_true", help="Panoptic FPN's")
    parser.add_argument("--no-reference", action="store_true", help="ours alone")
    arguments = parser.parse_args()
    size = tuple(map(int, arguments.size.split("x")))
    device = choose_device(arguments.device)
    print(f"{arguments.instances} instances, {size[0]}×{size[1]}, {device}, {torch.get_num_threads()} threads")
    if arguments.boxes:
        compare_boxes(size, arguments.instances, device, arguments.runs)
        return
    print(f"{'things':>7} {'ours ms':>9} {'best':>8} {'MB':>6} {'reference ms':>13} {'MB':>6} {'ratio':>7}  labels")
    for share in (0.15, 1.0):
        scene = plant(size, arguments.instances, share, arguments.noise, device)
        ours, times, memory = measured(lambda s=scene: panoptic_labels(*s, THINGS, **SETTINGS), device, arguments.runs)
        row = f"{share:7.0%} {statistics.median(times):9.1f} {min(times):8.1f} {memory / 1e6:6.0f}"
        if arguments.no_reference:
            print(row)
            continue
        theirs, slow, table = measured(lambda s=scene: straightforward(*s), device, 1)
        ratio = min(slow) / statistics.median(times)
        labels = "equal" if torch.equal(ours, theirs) else f"{float((ours != theirs).float().mean()):.2e} differ"
        print(f"{row} {min(slow):13.0f} {table / 1e6:6.0f} {ratio:7.0f}  {labels}", flush=True)


def compare_boxes(size: tuple[int, int], instances: int, device: torch.device, runs: int) -> None:
    """Prints a row for each way to paste masks; boxes have a third of the image's sides on average."""
    rng = torch.Generator().manual_seed(0)
    corners, sides = torch.rand(instances, 2, generator=rng), 0.1 + 0.5 * torch.rand(instances, 2, generator=rng)
    limits = torch.tensor(size[::-1])
    boxes = torch.cat((corners * (1 - sides) * limits, (corners * (1 - sides) + sides) * limits), dim=1)
    masks = torch.rand(instances, 28, 28, generator=rng).to(device) ** 0.5
    order = confident_first(torch.rand(instances, generator=rng), 0.0)
    semantic = torch.ones(size, dtype=torch.int64).to(device)

    def merge(place: Callable[[int], Placed]) -> Tensor:
        return merge_fpn(semantic, map(place, order), labels=2, overlap=0.5, stuff_area=4096)[0]

    def windows() -> Tensor:
        return merge(placement(masks, boxes, size, size))

    def whole() -> Tensor:
        pasted = paste_masks(masks, boxes.to(device), size) >= 0.5
        return merge(lambda index: ((slice(0, size[0]), slice(0, size[1])), pasted[index]))

    (ours, times, memory), (theirs, slow, table) = (measured(work, device, runs) for work in (windows, whole))
    print(f"within boxes {statistics.median(times):8.1f} ms {memory / 1e6:6.0f} MB")
    print(f"whole masks  {statistics.median(slow):8.1f} ms {table / 1e6:6.0f} MB", end=", ")
    print("equal" if torch.equal(ours, theirs) else "NOT EQUAL")


def plant(size: tuple[int, int], instances: int, share: float, noise: float, device: torch.device) -> Scene:
    """Class map, heatmap and offsets of rectangles on a grid that cover a share of the image."""
    height, width = size
    columns = max(1, round((instances * width / height) ** 0.5))
    rows = -(-instances // columns)
    y, x = torch.arange(height, dtype=torch.float32)[:, None], torch.arange(width, dtype=torch.float32)
    semantic = (y > height / 2).long().expand(size).clone()
    heatmap, offset = torch.zeros(size), torch.zeros(2, *size)
    side = share**0.5
    for instance in range(instances):
        row, column = divmod(instance, columns)
        step_y, step_x = height / rows, width / columns
        # The last row is stretched, so that all pixels can be things.
        step_x = width / (instances - row * columns) if row == rows - 1 else step_x
        center = int((row + 0.5) * step_y), int((column + 0.5) * step_x)
        window = tuple(
            slice(round((place + 0.5 - side / 2) * step), round((place + 0.5 + side / 2) * step))
            for place, step in ((row, step_y), (column, step_x))
        )
        semantic[window] = THINGS[instance % len(THINGS)]
        offset[0][window], offset[1][window] = center[0] - y[window[0]], center[1] - x[window[1]]
        bump = 0.9 * torch.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / 128)
        heatmap = torch.maximum(heatmap, bump)
    offset += noise * torch.randn(offset.shape, generator=torch.Generator().manual_seed(0))
    return semantic.to(device), heatmap.to(device), offset.to(device)


def straightforward(semantic: Tensor, heatmap: Tensor, offset: Tensor) -> Tensor:
    """The labels, the way that the method reads: a table of all distances, and a loop over the instances."""
    heatmap = F.threshold(heatmap, SETTINGS["center_threshold"], -1)
    kernel = SETTINGS["nms_kernel"]
    pooled = F.max_pool2d(heatmap[None, None], kernel, stride=1, padding=kernel // 2)[0, 0]
    heatmap = heatmap.where(heatmap == pooled, -1)
    lowest = heatmap.flatten().topk(SETTINGS["top_k"]).values[-1].clamp(min=0)
    centers = (heatmap > lowest).nonzero()
    height, width = semantic.shape
    y, x = torch.meshgrid(*(torch.arange(n, device=offset.device) for n in (height, width)), indexing="ij")
    pointed = torch.stack((y + offset[0], x + offset[1]))
    distance = torch.linalg.vector_norm(pointed[None] - centers[:, :, None, None], dim=1)
    instance = distance.argmin(dim=0)
    is_thing = torch.isin(semantic, torch.tensor(THINGS, device=semantic.device))
    labels = torch.full_like(semantic, VOID)
    numbers = dict.fromkeys(THINGS, 0)
    for index in range(len(centers)):
        mask = is_thing & (instance == index)
        if mask.any():
            category = int(semantic[mask].mode().values)
            numbers[category] += 1
            labels[mask] = category * LABEL_DIVISOR + numbers[category]
    for category in STUFF:
        mask = semantic == category
        if mask.sum() >= SETTINGS["stuff_area"]:
            labels[mask] = category * LABEL_DIVISOR
    return labels


def measured(work: Callable[[], Tensor], device: torch.device, runs: int) -> tuple[Tensor, list[float], int]:
    """The result, milliseconds of each run after one to warm up, and bytes at most in a run beyond those before it."""
    if runs > 1:
        work()
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    memory = PeakMemory(device)
    times = []
    for _ in range(runs):
        result = torch.empty(0)  # lets go of the one before
        synchronize(device)
        start = time.perf_counter()
        result = work()
        synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return result, times, (memory.bytes() or 0) - held


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
