"""Datasets in COCO's panoptic format: COCO itself, Cityscapes, or a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pisr_core.data.coco_files import ImageRecord, read_panoptic_json, read_segmentation
from pisr_core.data.images import read_image
from pisr_core.errors import DataError
from pisr_core.structures import Category, PanopticSegmentation, Sample


@dataclass(frozen=True)
class SplitPaths:
    """Where one split lies.

    Attributes:
        images_dir: folder of the images.
        json_path: panoptic JSON.
        png_dir: folder of the panoptic PNGs.
    """

    images_dir: Path
    json_path: Path
    png_dir: Path


class CocoPanopticDataset:
    """Images with panoptic annotations, read when asked for.

    Args:
        images_dir: folder of the images.
        json_path: panoptic JSON.
        png_dir: folder of the panoptic PNGs; by default the JSON's path without `.json`.

    Raises:
        DataError: the JSON is missing or broken, names no image, or a folder is missing.
    """

    def __init__(self, images_dir: Path, json_path: Path, png_dir: Path | None = None) -> None:
        self.images_dir = images_dir
        self.json_path = json_path
        self.png_dir = png_dir or json_path.with_suffix("")
        self.file = read_panoptic_json(json_path)
        self.categories: tuple[Category, ...] = self.file.categories
        if not self.file.images:
            raise DataError(f"{json_path}: its list of images is empty. Add the images of the split.")
        for folder in (self.images_dir, self.png_dir):
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder, which {json_path.name} needs. Put it there.")

    def __len__(self) -> int:
        return len(self.file.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.file.images[index]
        pixels = read_image(self.image_path(image), image.size)
        return Sample(pixels, self._panoptic(image), image.id, image.file_name)

    def _panoptic(self, image: ImageRecord) -> PanopticSegmentation | None:
        annotation = self.file.annotations.get(image.id)
        if annotation is None:
            return None
        panoptic = read_segmentation(self.png_dir, annotation)
        if panoptic.ids.shape != image.size:
            raise DataError(
                f"{self.png_dir / annotation.file_name}: the PNG has the size {panoptic.ids.shape}, but "
                f"{image.file_name} has {image.size} (height, width). Export the annotation again."
            )
        return panoptic

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image in pixels, from the JSON; reading the image checks it."""
        return self.file.images[index].size

    def image_path(self, image: ImageRecord) -> Path:
        """Where an image lies."""
        return self.images_dir / image.file_name

    def check_annotated(self) -> None:
        """Raises `DataError` when an image has no annotation, as training needs."""
        bare = [image.file_name for image in self.file.images if image.id not in self.file.annotations]
        if bare:
            raise DataError(
                f"{self.json_path}: {len(bare)} images have no annotation, {bare[0]} first. "
                "Annotate them or take them out of the list of images."
            )


class CityscapesDataset(CocoPanopticDataset):
    """Cityscapes, whose JSON names `…_gtFine_leftImg8bit.png` what is stored as `city/…_leftImg8bit.png`."""

    def image_path(self, image: ImageRecord) -> Path:
        """Where an image lies, below the folder of its city."""
        name = Path(image.file_name).name.replace("_gtFine_leftImg8bit", "_leftImg8bit")
        city = name.split("_", maxsplit=1)[0]
        return self.images_dir / city / name


def custom_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where a user's own dataset may lie below the root."""
    json_path = root / "annotations" / f"panoptic_{split}.json"
    folders = (root / split, root / "images" / split, root / "images")
    return [SplitPaths(folder, json_path, json_path.with_suffix("")) for folder in folders]


def coco_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where COCO may lie: in `coco/` or directly below the root, PNGs among the annotations or beside."""
    name = f"panoptic_{split}2017"
    return [
        SplitPaths(base / f"{split}2017", base / "annotations" / f"{name}.json", png_dir)
        for base in (root / "coco", root)
        for png_dir in (base / "annotations" / name, base / name)
    ]


def cityscapes_paths(root: Path, split: str) -> list[SplitPaths]:
    """Where Cityscapes may lie below the root: in `cityscapes/` or directly."""
    name = f"cityscapes_panoptic_{split}"
    return [
        SplitPaths(base / "leftImg8bit" / split, base / "gtFine" / f"{name}.json", base / "gtFine" / name)
        for base in (root / "cityscapes", root)
    ]


def first_complete(candidates: list[SplitPaths], split: str) -> SplitPaths:
    """The first place where the JSON and both folders are.

    Raises:
        DataError: there is none; the message lists what is missing in each.
    """
    missing = []
    for paths in candidates:
        gaps = [path for path in (paths.json_path, paths.png_dir, paths.images_dir) if not path.exists()]
        if not gaps:
            return paths
        missing += gaps
    tried = "\n  ".join(str(path) for path in dict.fromkeys(missing))
    raise DataError(
        f"The split '{split}' was not found. These paths are missing (one layout's would do):\n  {tried}\n"
        "Give the folder of the datasets with --data or the environment variable PISR_DATASETS."
    )
