"""Datasets in COCO's panoptic format: COCO itself, Cityscapes, or a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pisr_core.data.coco_files import AnnotationRecord, ImageRecord, read_panoptic_json, read_segmentation
from pisr_core.data.images import read_image
from pisr_core.errors import DataError
from pisr_core.structures import Category, PanopticSegmentation, Sample


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
        annotation = self.file.annotations.of_image(index)
        return Sample(pixels, self._panoptic(image, annotation), image.id, image.file_name)

    def _panoptic(self, image: ImageRecord, annotation: AnnotationRecord | None) -> PanopticSegmentation | None:
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
        return self.file.images.size(index)

    def file_name(self, index: int) -> str:
        """The name of an image in the JSON."""
        return self.file.images[index].file_name

    def image_path(self, image: ImageRecord) -> Path:
        """Where an image lies."""
        return self.images_dir / image.file_name

    def check_annotated(self) -> None:
        """Raises `DataError` when an image has no annotation, as training needs."""
        bare = np.flatnonzero(~self.file.annotations.annotated()).tolist()
        if bare:
            first = self.file.images[bare[0]].file_name
            raise DataError(
                f"{self.json_path}: {len(bare)} images have no annotation, {first} first. "
                "Annotate them or take them out of the list of images."
            )


class CityscapesDataset(CocoPanopticDataset):
    """Cityscapes, whose JSON names `…_gtFine_leftImg8bit.png` what is stored as `city/…_leftImg8bit.png`."""

    def image_path(self, image: ImageRecord) -> Path:
        """Where an image lies, below the folder of its city."""
        return cityscapes_image_path(self.images_dir, image.file_name)


def cityscapes_image_path(images_dir: Path, file_name: str) -> Path:
    """Where Cityscapes' image of a JSON's `file_name` lies."""
    name = Path(file_name).name.replace("_gtFine_leftImg8bit", "_leftImg8bit")
    return images_dir / name.split("_", maxsplit=1)[0] / name
