"""Datasets in COCO's panoptic format: COCO itself, Cityscapes, or a user's own."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Int

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import (
    AnnotationRecord,
    ImageRecord,
    read_panoptic_json,
    read_panoptic_png,
    read_segmentation,
)
from pisr_core.data.coco.listed_share import FEWEST_IMAGES, ListedShare
from pisr_core.data.layouts import cityscapes_image_path
from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.value_range import MOST_IMAGES, find_value_range
from pisr_core.data.sampling import spread_over
from pisr_core.errors import DataError
from pisr_core.pixel_runs import find_runs
from pisr_core.structures import Category, PanopticSegmentation, Sample

log = logging.getLogger(__name__)


class CocoPanopticDataset:
    """Images with panoptic annotations, read when asked for. Where some have none, they are left out.

    Args:
        images_dir: folder of the images.
        json_path: panoptic JSON.
        png_dir: folder of the panoptic PNGs; by default the JSON's path without `.json`.
        value_range: see `read_image`; by default what the images use.

    Raises:
        DataError: the JSON is missing or broken, names no image, or a folder is missing.
    """

    def __init__(
        self, images_dir: Path, json_path: Path, png_dir: Path | None = None, value_range: ValueRange = ()
    ) -> None:
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
        self._images = FileFinder(self.images_dir, json_path, self.file.images.file_names)
        self._pngs = FileFinder(self.png_dir, json_path, self.file.annotations.file_names)
        self._positions = self._usable_positions()
        self._listed = ListedShare(json_path)
        self.value_range = value_range or self._found_range()

    def _found_range(self) -> ValueRange:
        positions = spread_over(self._positions.tolist(), MOST_IMAGES)
        return find_value_range([self.image_path(self.file.images[position]) for position in positions])

    def _usable_positions(self) -> Int[np.ndarray, " usable"]:
        """Of the annotated images in the JSON's list, or of all if none is annotated."""
        annotated = self.file.annotations.annotated()
        if annotated.all() or not annotated.any():
            return np.arange(len(annotated))
        bare = np.flatnonzero(~annotated)
        log.info(
            "%s: left out %d of %d images, which have no annotation, %s first.",
            self.json_path,
            len(bare),
            len(annotated),
            self.file.images.file_names[int(bare[0])],
        )
        return np.flatnonzero(annotated)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Sample:
        position = int(self._positions[index])
        image = self.file.images[position]
        pixels = read_image(self.image_path(image), image.size, self.value_range)
        annotation = self.file.annotations.of_image(position)
        return Sample(pixels, self._panoptic(image, annotation), image.id, image.file_name)

    def _panoptic(self, image: ImageRecord, annotation: AnnotationRecord | None) -> PanopticSegmentation | None:
        if annotation is None:
            return None
        path = self._pngs.path(annotation.file_name)
        panoptic = read_segmentation(path, annotation, self._listed)
        if panoptic.ids.shape != image.size:
            raise DataError(
                f"{path}: the PNG has the size {panoptic.ids.shape}, but "
                f"{image.file_name} has {image.size} (height, width). Export the annotation again."
            )
        return panoptic

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image in pixels, from the JSON; reading the image checks it."""
        return self.file.images.size(int(self._positions[index]))

    def file_name(self, index: int) -> str:
        """The name of an image in the JSON."""
        return self.file.images.file_names[int(self._positions[index])]

    def classes(self, index: int) -> Int[np.ndarray, " segments"]:
        """The class of each segment that the JSON lists of an annotated image."""
        return self.file.annotations.listed_classes(int(self._positions[index]))

    def image_path(self, image: ImageRecord) -> Path:
        """Where an image lies."""
        return self._images.path(image.file_name)

    def check_annotated(self) -> None:
        """Looks at the annotations of a few images, spread over the dataset, before training starts.

        Raises:
            DataError: there are none, or most of what they hold is not in the JSON.
        """
        if not self.file.annotations:
            raise DataError(f"{self.json_path}: no image has an annotation to learn from. Annotate them.")
        listed = ListedShare(self.json_path)
        for position in spread_over(self._positions.tolist(), FEWEST_IMAGES):
            annotation = self.file.annotations.of_image(position)
            assert annotation is not None
            path = self._pngs.path(annotation.file_name)
            listed.add(path, annotation, find_runs(read_panoptic_png(path)))
        listed.check()


class CityscapesDataset(CocoPanopticDataset):
    """Cityscapes, whose JSON names `…_gtFine_leftImg8bit.png` what is stored as `city/…_leftImg8bit.png`."""

    def image_path(self, image: ImageRecord) -> Path:
        """Where an image lies, below the folder of its city."""
        return cityscapes_image_path(self.images_dir, image.file_name)
