"""BBBC038's `stage1_train` as it is downloaded: a folder for each image, with one PNG for the mask of each nucleus."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pisr_core.data.categories import known_categories
from pisr_core.data.pictures.images import image_size
from pisr_core.data.prepare.overlaps import Piece, paint
from pisr_core.data.prepare.raw import Label, LabelledMap, check_size, read_label_map
from pisr_core.errors import DataError

OVERLAP = "smaller-on-top"
"""The masks share no pixels, but for a few at the rims of some."""

SHARES = {"train": range(14), "val": range(14, 17), "test": range(17, 20)}
"""The twentieths of the images that are each split."""


@dataclass(frozen=True)
class NucleiImage:
    """One image with its nuclei.

    Attributes:
        image_id: the name of its folder.
        image: the picture.
        masks: of each nucleus, above zero where it is.
        file_name: the picture's path below the folder of all.
    """

    image_id: str
    image: Path
    masks: tuple[Path, ...]
    file_name: str

    @property
    def png_name(self) -> str:
        """The image's name, without its folders."""
        return f"{self.image_id}.png"

    def read(self) -> LabelledMap:
        """The nuclei on their background.

        Raises:
            DataError: the image has no mask, or a file is missing or broken, or sizes differ.
        """
        if not self.masks:
            raise DataError(f"{self.image.parent.parent}: no masks. Unpack stage1_train.zip again.")
        nucleus, background = known_categories("nuclei")
        size = image_size(self.image)
        nuclei = []
        for path in self.masks:
            mask = read_label_map(path) > 0
            check_size(path, (mask.shape[0], mask.shape[1]), size, self.image)
            nuclei.append(Piece(mask, Label(nucleus.id)))
        ground = Piece(np.ones(size, bool), Label(background.id))
        return paint(size, [[ground], nuclei], OVERLAP)


def split_of(image_id: str) -> str:
    """The split of an image, which its name alone decides: what others are there changes nothing."""
    place = zlib.crc32(image_id.encode()) % 20
    return next(split for split, places in SHARES.items() if place in places)


def find_images(base: Path, split: str) -> list[NucleiImage]:
    """The images of a split, by name; their folders may lie at any depth, as tools that unpack archives differ."""
    root = base / "stage1_train"
    images = []
    for image in sorted(root.rglob("images/[!.]*.png")):
        folder = image.parent.parent
        if split_of(folder.name) == split:
            masks = tuple(sorted((folder / "masks").glob("[!.]*.png")))
            images.append(NucleiImage(folder.name, image, masks, image.relative_to(root).as_posix()))
    return images
