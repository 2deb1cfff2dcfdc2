"""Training views a second that one core makes: how many cores feed which card.

python benchmarks/feeding.py
python benchmarks/feeding.py --views 9 --scale 0.25

Random pictures with grain and annotations with 30 instances on disk, as Cityscapes and COCO have them. Each is read,
scaled, cut out, mirrored and turned into targets, with the public settings, in one thread, as a loading process does.
Medians of the processor's time, in which work beside it does not count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from training import CATEGORIES, scene

from pisr_core import presets
from pisr_core.data.augmentation import Augmentation
from pisr_core.data.coco.dataset import CocoPanopticDataset
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.models.queries.targets import MaskTargetGenerator
from pisr_core.runtime.devices.allocation import keep_freed_memory
from pisr_core.structures import thing_ids

KINDS = {
    "1024×2048 PNG": ("cityscapes-pdl-r50", (1024, 2048), "png"),
    "480×640 JPEG": ("coco-pdl-r50", (480, 640), "jpg"),
}


def main() -> None:
    """Prints a row for each kind of dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=25)
    parser.add_argument("--scale", type=float, default=1.0, help="of the images' sides")
    parser.add_argument("--device", choices=["cpu"], help="views are made there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()
    print(f"{'ms of':16} {'read':>7} {'cut out':>8} {'targets':>8} {'masks':>7} {'views/s':>9} {'with masks':>11}")
    for name, (preset, size, suffix) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            sides = int(size[0] * arguments.scale), int(size[1] * arguments.scale)
            read, cut, targets, masks = measure(Path(folder), preset, sides, suffix, arguments.views)
        rates = 1000 / (read + cut + targets), 1000 / (read + cut + masks)
        print(f"{name:16} {read:7.1f} {cut:8.1f} {targets:8.1f} {masks:7.1f} {rates[0]:9.1f} {rates[1]:11.1f}")


def measure(root: Path, preset: str, size: tuple[int, int], suffix: str, views: int) -> list[float]:
    """Milliseconds of reading, of cutting out, of Panoptic-DeepLab's targets and of masks."""
    config = presets.load(preset)
    dataset = write_image(root, size, suffix)
    sample, augmentation = dataset[0], Augmentation(config.data)
    samples = [augmentation(sample, seed).panoptic for seed in range(views)]
    targets = CenterOffsetTargetGenerator(config.targets, thing_ids(CATEGORIES))
    masks = MaskTargetGenerator()
    works: list[Callable[[int], Any]] = [
        lambda view: dataset[0],
        lambda view: augmentation(sample, view),
        lambda view: targets(samples[view]),
        lambda view: masks(samples[view]),
    ]
    return [milliseconds(work, views) for work in works]


def milliseconds(work: Callable[[int], Any], views: int) -> float:
    """The median over the views, after a first one."""
    work(0)
    times = []
    for view in range(views):
        start = time.thread_time()
        work(view)
        times.append(1000 * (time.thread_time() - start))
    return statistics.median(times)


def write_image(root: Path, size: tuple[int, int], suffix: str) -> CocoPanopticDataset:
    """A dataset of one picture: smooth patches with the grain of a camera, which a PNG packs as badly as a photo."""
    json_path, file_name = root / "panoptic.json", f"0.{suffix}"
    with CocoPanopticWriter(json_path, root / "panoptic", CATEGORIES) as writer:
        writer.add(0, file_name, scene(0, size))
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3)).astype(np.uint8))
    grain = rng.integers(-3, 4, (*size, 3))
    picture = (np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC)) + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(picture).save(root / file_name, **({"quality": 92} if suffix == "jpg" else {}))
    return CocoPanopticDataset(root, json_path, root / "panoptic")


if __name__ == "__main__":
    main()
