"""Where the files of each dataset lie, below the folder of the datasets or in the dataset's own folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from pisr_core.errors import DataError

ROOT_VARIABLES = ("PISR_DATASETS", "DETECTRON2_DATASETS")


@dataclass(frozen=True)
class SplitPaths:
    """Where an annotated split lies.

    Attributes:
        json_path: panoptic JSON.
        png_dir: folder of the panoptic PNGs.
        images_dir: folder of the images.
    """

    json_path: Path
    png_dir: Path
    images_dir: Path


@dataclass(frozen=True)
class ImageListPaths:
    """Where a split without annotations lies that has a JSON of its images.

    Attributes:
        json_path: JSON with a list of images.
        images_dir: folder of the images.
    """

    json_path: Path
    images_dir: Path


@dataclass(frozen=True)
class ImageFolder:
    """Where a split without annotations lies that is only a folder.

    Attributes:
        images_dir: folder of the images, at any depth below.
    """

    images_dir: Path


Paths = TypeVar("Paths", SplitPaths, ImageListPaths, ImageFolder)

ADE20K_FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
"""What ADE20K calls its splits."""


def dataset_root(root: Path | None) -> Path:
    """The given folder, else `$PISR_DATASETS`, else `$DETECTRON2_DATASETS`, else `./datasets`."""
    named = (os.environ[variable] for variable in ROOT_VARIABLES if os.environ.get(variable))
    return (root or Path(next(named, "datasets"))).expanduser()


def bases(root: Path, folder: str) -> tuple[Path, Path]:
    """The folders that a dataset may be: `root/folder`, or `root` itself."""
    return root / folder, root


def custom_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where a user's own dataset may lie."""
    json_path = root / "annotations" / f"panoptic_{split}.json"
    folders = (root / split, root / "images" / split, root / "images")
    return [SplitPaths(json_path, json_path.with_suffix(""), folder) for folder in folders]


def coco_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where COCO may lie: the PNGs among the annotations or beside them."""
    name = f"panoptic_{split}2017"
    return [
        SplitPaths(base / "annotations" / f"{name}.json", png_dir, base / f"{split}2017")
        for base in bases(root, "coco")
        for png_dir in (base / "annotations" / name, base / name)
    ]


def coco_test_paths(root: Path, split: str) -> list[ImageListPaths]:
    """Where COCO's `test` and `test-dev` may lie. They share one folder of images."""
    name = f"image_info_{split}2017.json"
    return [ImageListPaths(base / "annotations" / name, base / "test2017") for base in bases(root, "coco")]


def cityscapes_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where Cityscapes may lie."""
    name = f"cityscapes_panoptic_{split}"
    return [
        SplitPaths(base / "gtFine" / f"{name}.json", base / "gtFine" / name, base / "leftImg8bit" / split)
        for base in bases(root, "cityscapes")
    ]


def cityscapes_test_paths(root: Path, split: str) -> list[ImageFolder]:
    """Where the test images of Cityscapes may lie."""
    return [ImageFolder(base / "leftImg8bit" / split) for base in bases(root, "cityscapes")]


def cityscapes_image_path(images_dir: Path, file_name: str) -> Path:
    """Where Cityscapes' image of a JSON's `file_name` lies."""
    name = Path(file_name).name.replace("_gtFine_leftImg8bit", "_leftImg8bit")
    return images_dir / name.split("_", maxsplit=1)[0] / name


def ade20k_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where ADE20K may lie."""
    name = f"ade20k_panoptic_{split}"
    folder = ADE20K_FOLDERS.get(split, split)
    return [
        SplitPaths(base / f"{name}.json", base / name, base / "images" / folder)
        for base in bases(root, "ADEChallengeData2016")
    ]


def ade20k_test_paths(root: Path, split: str) -> list[ImageFolder]:
    """Where the test images of ADE20K may lie: among the others, or in the folder of their own download."""
    folder = ADE20K_FOLDERS[split]
    return [
        ImageFolder(base / name / folder)
        for base in bases(root, "ADEChallengeData2016")
        for name in ("images", "release_test")
    ]


def nuclei_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where BBBC038's nuclei may lie."""
    name = f"nuclei_panoptic_{split}"
    return [SplitPaths(base / f"{name}.json", base / name, base / "stage1_train") for base in bases(root, "nuclei")]


def first_complete(candidates: Sequence[Paths], split: str) -> Paths:
    """The first place where every file and folder is.

    Raises:
        DataError: there is none; the message lists what is missing in each.
    """
    missing: list[Path] = []
    for paths in candidates:
        gaps = [path for field in fields(paths) if not (path := getattr(paths, field.name)).exists()]
        if not gaps:
            return paths
        missing += gaps
    tried = "\n  ".join(str(path) for path in dict.fromkeys(missing))
    raise DataError(
        f"The split '{split}' was not found. These paths are missing (one layout's would do):\n  {tried}\n"
        "Give the folder of the datasets with --data or the environment variable PISR_DATASETS. Downloads of "
        "Cityscapes, ADE20K, COCO and BBBC038's nuclei become readable with 'pisr data prepare'."
    )
