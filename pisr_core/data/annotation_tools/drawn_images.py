"""Images with a tool's shapes, as panoptic maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from pisr_core.data.annotation_tools.shapes import Drawing, Shape
from pisr_core.data.prepare.raw import Label, LabelledMap
from pisr_core.errors import DataError
from pisr_core.structures import Category


@dataclass(frozen=True)
class DrawnImage:
    """One image with its shapes.

    Attributes:
        image_id: its number.
        file_name: its path in the folder of images.
        size: (H, W).
        drawing: what the tool's file says.
        categories: the classes by name; shapes of others are void.
        overlap: a name of `OVERLAPS`.
    """

    image_id: int
    file_name: str
    size: tuple[int, int]
    drawing: Drawing
    categories: Mapping[str, Category]
    overlap: str

    @property
    def png_name(self) -> str:
        """The image's with its ending replaced."""
        return Path(self.file_name).with_suffix(".png").as_posix()

    @property
    def segments(self) -> dict[Hashable, int]:
        """The number of each segment: all shapes of a stuff class, those of one group, and each other shape."""
        return {key: number for number, key in enumerate(dict.fromkeys(self._keys().values()), start=1)}

    def read(self) -> LabelledMap:
        """Shape upon shape, by level and then by the overlap rule.

        With `smaller-on-top` things lie on crowds, crowds on stuff, and the segment that is smaller as a whole is on
        top; with `later-on-top` the file's order alone decides.

        Raises:
            DataError: a shape is broken.
        """
        keys, numbers = self._keys(), self.segments
        ids = np.zeros(self.size, np.int32)
        labels = {}
        for place in self._order(keys):
            shape, number = self.drawing.shapes[place], numbers[keys[place]]
            ids[self._mask(shape)] = number
            labels[number] = Label(self.categories[shape.name].id, shape.iscrowd)
        return LabelledMap(ids, labels)

    def _order(self, keys: Mapping[int, Hashable]) -> list[int]:
        """Places of the shapes from the bottom up. Masks are made twice, so that few of a large image are kept."""
        shapes = self.drawing.shapes
        if self.overlap == "later-on-top":
            return sorted(keys, key=lambda place: shapes[place].level)
        areas: dict[Hashable, int] = {}
        for place, key in keys.items():
            areas[key] = areas.get(key, 0) + int(self._mask(shapes[place]).sum())

        def height(place: int) -> tuple[int, bool, bool, int]:
            shape = shapes[place]
            return shape.level, self.categories[shape.name].isthing, not shape.iscrowd, -areas[keys[place]]

        return sorted(keys, key=height)

    def _keys(self) -> dict[int, Hashable]:
        """What the shapes that are not void are parts of, by their places."""
        return {
            place: self._key(place, shape)
            for place, shape in enumerate(self.drawing.shapes)
            if shape.name in self.categories
        }

    def _key(self, place: int, shape: Shape) -> Hashable:
        if not self.categories[shape.name].isthing:
            return shape.name
        return place if shape.group is None else (shape.name, shape.group)

    def _mask(self, shape: Shape) -> Bool[np.ndarray, "H W"]:
        try:
            return shape.region.mask(self.size)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise DataError(
                f"{self.drawing.path}: a shape of class {shape.name} of {self.file_name} is broken: {error}. "
                "Draw it again."
            ) from error
