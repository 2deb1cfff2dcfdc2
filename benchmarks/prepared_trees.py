"""Cityscapes and ADE20K from raw files to scores: generates tiny trees, prepares them, trains a few steps, evaluates.

python benchmarks/prepared_trees.py [--images 4] [--steps 2]

The images are built-in scenes whose segments get classes of the dataset, written as the datasets' downloads are; the
commands are those of a user. The presets are made small: ResNet-18 without public weights and crops of 64×64.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from pisr_core.config import ScenesConfig
from pisr_core.data.categories import known_categories
from pisr_core.data.prepare.ade20k import instance_classes
from pisr_core.data.scenes import SCENE_CATEGORIES, SceneDataset
from pisr_core.structures import Sample

SIZE = (96, 128)

LAST_LINES = 14
"""Of each command's output; tables of 150 classes are long."""

SMALLER = {
    "backbone.name": '"resnet18"',
    "backbone.pretrained": "false",
    "data.crop": "[64, 64]",
    "data.short_side": "[]",
    "data.eval_short_side": "0",
    "data.workers": "0",
    "train.batch_size": "2",
    "train.log_every": "1",
}

PRESETS = {
    "cityscapes": ("cityscapes-pdl-r50", {"backbone.multi_grid": "[]", "deeplab.pool_window": "[64, 64]"}),
    "ade20k": ("ade20k-maskformer-r50", {}),
}


def main() -> None:
    """Runs everything in a temporary folder, and prints each command with the end of its output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="of each split")
    parser.add_argument("--steps", type=int, default=2, help="of training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split in ("train", "val"):
            write_cityscapes(root / "datasets/cityscapes", split, arguments.images)
            write_ade20k(root / "datasets/ADEChallengeData2016", split, arguments.images)
        for name, (preset, own) in PRESETS.items():
            pisr(root, "data", "prepare", name, "datasets")
            settings = [part for key, value in (SMALLER | own).items() for part in ("--set", f"{key}={value}")]
            options = ("--preset", preset, "--data", "datasets", "--max-steps", str(arguments.steps), "--device", "cpu")
            pisr(root, "train", *options, "--out", name, *settings)
            pisr(root, "eval", "--checkpoint", f"{name}/last.safetensors", "--data", "datasets", "--device", "cpu")


def pisr(root: Path, *arguments: str) -> None:
    """Prints and runs a command; ends the program with its code when it fails."""
    print(f"\n$ pisr {shlex.join(arguments)}", flush=True)
    result = subprocess.run(
        [sys.executable, "-m", "pisr_cli", *arguments], cwd=root, check=False, text=True, capture_output=True
    )
    print("\n".join(f"{result.stderr}{result.stdout}".splitlines()[-LAST_LINES:]), flush=True)
    if result.returncode:
        raise SystemExit(result.returncode)


def scenes(split: str, count: int) -> Iterator[Sample]:
    """The first scenes of a split."""
    dataset = SceneDataset(ScenesConfig(size=SIZE), split)
    yield from (dataset[index] for index in range(count))


def pixels_of(sample: Sample) -> Image.Image:
    """The photo."""
    return Image.fromarray(sample.image.permute(1, 2, 0).contiguous().numpy())


def class_of(position: int, dataset: str) -> int:
    """The id of the class that stands for a scene's: things for things, stuff for stuff, as many as there are."""
    isthing = SCENE_CATEGORIES[position].isthing
    ids = [category.id for category in known_categories(dataset) if category.isthing == isthing]
    return ids[position % len(ids)]


def write_cityscapes(base: Path, split: str, count: int) -> None:
    """Photos and instance ids, as `leftImg8bit` and `gtFine` have them."""
    for number, sample in enumerate(scenes(split, count)):
        assert sample.panoptic is not None
        name = f"town_{number:06d}_000019"
        ids = np.zeros(SIZE, np.uint16)
        for counted, segment in enumerate(sample.panoptic.segments):
            thing = SCENE_CATEGORIES[segment.category].isthing
            class_id = class_of(segment.category, "cityscapes")
            ids[sample.panoptic.ids == segment.id] = 1000 * class_id + counted if thing else class_id
        save(Image.fromarray(ids), base / f"gtFine/{split}/town/{name}_gtFine_instanceIds.png")
        save(pixels_of(sample), base / f"leftImg8bit/{split}/town/{name}_leftImg8bit.png")


def write_ade20k(base: Path, split: str, count: int) -> None:
    """Photos, classes and instances, as `ADEChallengeData2016` and `annotations_instance` have them."""
    numbers = {class_id: number for number, class_id in instance_classes().items()}
    folder = {"train": "training", "val": "validation"}[split]
    for number, sample in enumerate(scenes(split, count), start=1):
        assert sample.panoptic is not None
        name = f"ADE_{split}_{number:08d}"
        semantic: Int[np.ndarray, "H W"] = np.zeros(SIZE, np.uint8)
        instances = np.zeros((*SIZE, 3), np.uint8)
        for counted, segment in enumerate(sample.panoptic.segments, start=1):
            mask, class_id = sample.panoptic.ids == segment.id, class_of(segment.category, "ade20k")
            semantic[mask] = class_id + 1
            if class_id in numbers:
                instances[mask] = (numbers[class_id], counted, 0)
        save(pixels_of(sample), base / f"images/{folder}/{name}.jpg")
        save(Image.fromarray(semantic), base / f"annotations/{folder}/{name}.png")
        save(Image.fromarray(instances), base / f"annotations_instance/{folder}/{name}.png")


def save(image: Image.Image, path: Path) -> None:
    """Saves it, with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


if __name__ == "__main__":
    main()
