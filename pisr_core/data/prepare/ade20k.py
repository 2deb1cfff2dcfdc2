"""ADE20K as it is downloaded: the scene parsing benchmark's classes and its separate instances."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Int

from pisr_core.data.categories import TABLES, known_categories
from pisr_core.data.layouts import ADE20K_FOLDERS
from pisr_core.data.prepare.raw import (
    Label,
    LabelledMap,
    check_image,
    check_known,
    check_size,
    read_label_map,
    read_rgb_map,
)
from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID

INSTANCES_PER_CLASS = 1000
"""A stuff segment's id is class id + 1, an instance's 1000 · (class id + 1) + its number, much as in Cityscapes."""


@dataclass(frozen=True)
class Ade20kImage:
    """One image of ADE20K.

    Attributes:
        image: the photo.
        semantic: greyscale PNG, class id + 1, 0 for void.
        instances: RGB PNG, R the instance benchmark's number of the class (1–100), G the number of the instance.
    """

    image: Path
    semantic: Path
    instances: Path

    @property
    def image_id(self) -> str:
        """Its name without ending."""
        return self.image.stem

    @property
    def file_name(self) -> str:
        """Its name."""
        return self.image.name

    @property
    def png_name(self) -> str:
        """As the other annotations are named."""
        return f"{self.image.stem}.png"

    def read(self) -> LabelledMap:
        """The panoptic map.

        Raises:
            DataError: a file is missing or broken, sizes differ, or an id is unknown.
        """
        semantic, instances = read_label_map(self.semantic), read_rgb_map(self.instances)
        size = (semantic.shape[0], semantic.shape[1])
        check_size(self.instances, (instances.shape[0], instances.shape[1]), size, self.semantic)
        check_image(self.image, size, self.semantic)
        classes, numbers = instances[..., 0], instances[..., 1]
        present = np.unique(semantic)
        check_known(self.semantic, present[present > len(known_categories("ade20k"))], "classes")
        used = np.unique(classes[numbers > 0])
        check_known(self.instances, used[~np.isin(used, list(instance_classes()))], "classes")
        pairs = np.unique(instances[numbers > 0][:, :2], axis=0)
        if len(np.unique(pairs[:, 1])) < len(pairs):
            raise DataError(f"{self.instances}: an instance has two classes. Download it again.")
        return panoptic(semantic, classes, numbers)


@cache
def instance_classes() -> dict[int, int]:
    """Class ids by the instance benchmark's numbers, 1 to 100."""
    with (TABLES / "ade20k.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["instance"]): int(row["id"]) for row in csv.DictReader(file) if row["instance"]}


def panoptic(
    semantic: Int[np.ndarray, "H W"], classes: Int[np.ndarray, "H W"], numbers: Int[np.ndarray, "H W"]
) -> LabelledMap:
    """Stuff from the semantic map with the instances on top, as the two overlap in places.

    Pixels of a thing class that belong to no instance are void.

    Args:
        semantic: class id + 1, 0 for void.
        classes: the instance benchmark's number of the class, where there is an instance.
        numbers: the number of the instance, 0 for none.
    """
    stuff = [category.id for category in known_categories("ade20k") if not category.isthing]
    table = np.zeros(len(known_categories("ade20k")) + 1, np.int32)
    table[[i + 1 for i in stuff]] = [i + 1 for i in stuff]
    class_ids = np.zeros(256, np.int32)
    class_ids[list(instance_classes())] = list(instance_classes().values())
    instance_ids = (class_ids[classes] + 1) * INSTANCES_PER_CLASS + numbers
    ids = np.where(numbers > 0, instance_ids, table[semantic])
    labels = {
        int(i): Label(int(i) // INSTANCES_PER_CLASS - 1 if i >= INSTANCES_PER_CLASS else int(i) - 1)
        for i in np.unique(ids)
        if i != VOID_ID
    }
    return LabelledMap(ids, labels)


def find_images(base: Path, split: str) -> list[Ade20kImage]:
    """The images of a split, by name."""
    folder = ADE20K_FOLDERS[split]
    return [
        Ade20kImage(
            path,
            base / "annotations" / folder / f"{path.stem}.png",
            base / "annotations_instance" / folder / f"{path.stem}.png",
        )
        for path in sorted((base / "images" / folder).glob("*.jpg"))
    ]
