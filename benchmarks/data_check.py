"""Speed of `pisr data check` on one core: generated pairs of a 480×640 JPEG and its panoptic PNG.

python benchmarks/data_check.py --images 300

Prints images a second for a full and a quick check, for the parts of the full one, and for the obvious way to count
segments, a sort of all pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pisr_core.data.categories import known_categories
from pisr_core.data.checking.check import check_data
from pisr_core.data.checking.reading.splits import find_splits
from pisr_core.data.checking.segments import measure_segments
from pisr_core.data.coco.files import CocoPanopticWriter, read_panoptic_png
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.structures import PanopticSegmentation, Segment

SIZE = (480, 640)
COCO_IMAGES = 118_287


def main() -> None:
    """Prints the speeds and what they mean for COCO's training split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate(root, count)
        images = sorted((root / "train").iterdir())
        pngs = sorted((root / "annotations/panoptic_train").iterdir())
        maps = [read_panoptic_png(path) for path in pngs[:50]]
        sources = find_splits(root)
        report("whole check", count, lambda: check_data(sources, workers=1))
        report("quick check", count, lambda: check_data(sources, workers=1, quick=True))
        report("  reading images for training", count, lambda: [read_image(path) for path in images])
        report("  reading PNGs", count, lambda: [read_panoptic_png(path) for path in pngs])
        report("  measuring segments", len(maps), lambda: [measure_segments(ids) for ids in maps])
        report(
            "  np.unique of all pixels instead",
            len(maps),
            lambda: [np.unique(ids, return_inverse=True, return_counts=True) for ids in maps],
        )


def report(name: str, count: int, work: Callable[[], object]) -> None:
    """Prints the median speed of three runs, by the time of the core, whatever else runs on it."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    speed = count / sorted(times)[1]
    print(f"{name:34} {speed:7.0f} images/s on one core; COCO train: {COCO_IMAGES / speed / 60:5.1f} core minutes")


def generate(root: Path, count: int) -> None:
    """Smooth noise as images; a dozen segments with wavy borders in each map."""
    rng = np.random.default_rng(0)
    categories = known_categories("coco")
    json_path = root / "annotations" / "panoptic_train.json"
    (root / "train").mkdir()
    with CocoPanopticWriter(json_path, json_path.with_suffix(""), categories) as writer:
        for number in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8))
            pixels = np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC)).astype(int)
            noisy = (pixels + rng.integers(-8, 9, pixels.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / "train" / f"{number:06d}.jpg", quality=90)
            writer.add(number, f"{number:06d}.jpg", segmentation(rng))


def segmentation(rng: np.random.Generator, segments: int = 12) -> PanopticSegmentation:
    """Cells of the nearest of some random points, their borders shaken."""
    points = rng.uniform(0, 1, (segments, 2)) * SIZE
    y, x = np.indices(SIZE)
    y, x = y + 6 * np.sin(x / 11), x + 6 * np.cos(y / 7)
    nearest = np.argmin([(y - py) ** 2 + (x - px) ** 2 for py, px in points], axis=0)
    ids = np.sort(rng.choice(2**24 - 2, segments, replace=False) + 1).astype(np.int32)
    present = np.unique(nearest).tolist()
    return PanopticSegmentation(ids[nearest], tuple(Segment(int(ids[i]), i, 0) for i in present))


if __name__ == "__main__":
    main()
