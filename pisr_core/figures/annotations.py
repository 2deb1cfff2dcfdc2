"""Annotations of images that are given by their paths, found by file name."""

from __future__ import annotations

from pathlib import Path

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import read_panoptic_json, read_segmentation
from pisr_core.errors import DataError
from pisr_core.structures import Category, PanopticSegmentation, Sample


class Annotations:
    """A panoptic JSON in which an image is looked up by the name of its file, without folder and suffix.

    Args:
        json_path: in COCO's panoptic format.
        png_dir: folder of the PNGs; the JSON's path without `.json` by default.

    Attributes:
        categories: the file's.

    Raises:
        DataError: the JSON is missing or broken.
    """

    def __init__(self, json_path: Path, png_dir: Path | None = None) -> None:
        file = read_panoptic_json(json_path)
        self.categories: tuple[Category, ...] = file.categories
        self._pngs = FileFinder(png_dir or json_path.with_suffix(""), json_path, file.annotations.file_names)
        self._records = {
            _stem(image.file_name): file.annotations[image.id] for image in file.images if image.id in file.annotations
        }

    def of(self, sample: Sample) -> PanopticSegmentation | None:
        """The image's annotation, `None` where there is none.

        Raises:
            DataError: it is broken or of another size than the image.
        """
        record = self._records.get(_stem(sample.file_name))
        if record is None:
            return None
        png_path = self._pngs.path(record.file_name)
        panoptic = read_segmentation(png_path, record)
        annotated, size = panoptic.ids.shape, tuple(sample.image.shape[1:])
        if annotated != size:
            raise DataError(
                f"{png_path}: {annotated[0]}×{annotated[1]} pixels for "
                f"{sample.file_name} of {size[0]}×{size[1]}. Use the image that was annotated, at the same size."
            )
        return panoptic


def _stem(file_name: str) -> str:
    """Cityscapes' JSON puts a word into the names that the images lack."""
    return Path(file_name).stem.replace("_gtFine_leftImg8bit", "_leftImg8bit")
