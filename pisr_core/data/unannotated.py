"""Images without annotations, as the test splits are: to predict and submit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pisr_core.data.coco.json_files import load_json_lists
from pisr_core.data.coco.panoptic_json import read_images
from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.images import image_size
from pisr_core.errors import DataError
from pisr_core.structures import Category, Sample

SUFFIXES = (".jpg", ".png")
"""Of the images that are taken from a folder."""


class ImageListDataset:
    """The images that a JSON lists, with their ids, as COCO's `image_info_*.json` do.

    Args:
        images_dir: folder of the images.
        json_path: JSON with a list of images.
        categories: the dataset's classes; those of the JSON are not read, for COCO's lack the stuff.
        value_range: see `read_image`.

    Raises:
        DataError: the JSON is missing or broken, or lists no image.
    """

    def __init__(
        self, images_dir: Path, json_path: Path, categories: Sequence[Category], value_range: ValueRange = ()
    ) -> None:
        self.images_dir = images_dir
        self.value_range = value_range
        self.categories = tuple(categories)
        content = load_json_lists(json_path)
        if not isinstance(content, dict) or not isinstance(content.get("images"), Sequence) or not content["images"]:
            raise DataError(f"{json_path}: has no list of images. Download the file again.")
        self.images = read_images(content, json_path)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        pixels = read_image(self.images_dir / image.file_name, image.size, self.value_range)
        return Sample(pixels, None, image.id, image.file_name)

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image in pixels, from the JSON."""
        return self.images.size(index)

    def file_name(self, index: int) -> str:
        """The name of an image in the JSON."""
        return self.images[index].file_name


class ImageFolderDataset:
    """All JPEG and PNG images below a folder, in the order of their paths; an id is the name without its ending.

    Args:
        images_dir: the folder.
        categories: the dataset's classes.
        suffix: what follows the id in a name, such as Cityscapes' `_leftImg8bit`; other images are left out.
        value_range: see `read_image`.

    Raises:
        DataError: the folder holds no image.
    """

    def __init__(
        self, images_dir: Path, categories: Sequence[Category], suffix: str = "", value_range: ValueRange = ()
    ) -> None:
        self.images_dir = images_dir
        self.value_range = value_range
        self.categories = tuple(categories)
        self.suffix = suffix
        self.paths = sorted(path for end in SUFFIXES for path in images_dir.rglob(f"*{suffix}{end}"))
        if not self.paths:
            raise DataError(f"{images_dir}: holds no image of the kind *{suffix}.png or .jpg. Unpack them there.")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        path = self.paths[index]
        pixels = read_image(path, value_range=self.value_range)
        return Sample(pixels, None, path.stem.removesuffix(self.suffix), self.file_name(index))

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image in pixels, from its header."""
        return image_size(self.paths[index])

    def file_name(self, index: int) -> str:
        """The path of an image in the folder."""
        return self.paths[index].relative_to(self.images_dir).as_posix()
