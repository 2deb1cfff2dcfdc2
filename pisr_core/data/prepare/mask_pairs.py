"""A semantic and an instance PNG for each image, as panoptic maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from pisr_core.data.prepare.raw import Label, LabelledMap, check_image, check_known, check_size, read_label_map


@dataclass(frozen=True)
class MaskPair:
    """One image with its two maps.

    Attributes:
        image_id: its number.
        file_name: its path in the folder of images.
        image: the photo.
        semantic: PNG of one channel, the category id of each pixel.
        instances: PNG of one channel, the number of the instance, 0 for none.
        things: category ids of the things.
        stuff: those of the stuff.
        void: numbers of the semantic map that mean no class.
    """

    image_id: int
    file_name: str
    image: Path
    semantic: Path
    instances: Path
    things: frozenset[int]
    stuff: frozenset[int]
    void: frozenset[int]

    @property
    def png_name(self) -> str:
        """The image's with its ending replaced."""
        return Path(self.file_name).with_suffix(".png").as_posix()

    def read(self) -> LabelledMap:
        """The panoptic map.

        Raises:
            DataError: a file is missing or broken, sizes differ, or a category id is unknown.
        """
        semantic, instances = read_label_map(self.semantic), read_label_map(self.instances)
        size = (semantic.shape[0], semantic.shape[1])
        check_size(self.instances, (instances.shape[0], instances.shape[1]), size, self.semantic)
        check_image(self.image, size, self.semantic)
        present = np.unique(semantic)
        known = list(self.things | self.stuff | self.void)
        check_known(self.semantic, present[~np.isin(present, known)], "category ids")
        return panoptic(semantic, instances, self.things, self.stuff)


def panoptic(
    semantic: Int[np.ndarray, "H W"],
    instances: Int[np.ndarray, "H W"],
    things: frozenset[int],
    stuff: frozenset[int],
) -> LabelledMap:
    """One segment for each stuff class and each pair of a thing class and an instance number.

    The semantic map decides the class of every pixel. Pixels of a thing without a number are one crowd of its class.
    Numbers on stuff are of no account.
    """
    is_thing = np.isin(semantic, list(things))
    classed = is_thing | np.isin(semantic, list(stuff))
    numbers = np.where(is_thing, instances, 0)[classed]
    base = int(numbers.max(initial=0)) + 1
    pairs, positions = np.unique(semantic[classed].astype(np.int64) * base + numbers, return_inverse=True)
    ids = np.zeros(semantic.shape, np.int32)
    ids[classed] = positions + 1
    labels = {}
    for segment_id, pair in enumerate(pairs.tolist(), start=1):
        category_id, number = divmod(pair, base)
        labels[segment_id] = Label(category_id, iscrowd=category_id in things and number == 0)
    return LabelledMap(ids, labels)
