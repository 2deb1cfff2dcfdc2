"""What all tools' annotations have in common, before they are read and before they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from pisr_core.data.annotation_tools.regions import Region
from pisr_core.data.coco.entries import size_is_usable
from pisr_core.data.pictures.images import IMAGE_SUFFIXES


def pixels(height: Any, width: Any) -> tuple[int, int]:
    """An image's (H, W) as a file says it.

    Raises:
        ValueError: it is no size.
    """
    if type(height) is not int or type(width) is not int or not size_is_usable(height, width):
        raise ValueError(f"an image of {height}×{width} pixels")
    return height, width


def with_any_ending(stem: str) -> tuple[str, ...]:
    """The names that an image may have of which a file gives the stem only."""
    return tuple(stem + suffix for suffix in sorted(IMAGE_SUFFIXES))


@dataclass(frozen=True)
class Shape:
    """One thing that somebody drew.

    Attributes:
        name: of its class.
        region: what it covers.
        group: shapes of one class with the same one are parts of one instance; `None` for a whole one.
        level: those of higher ones cover those of lower ones.
        iscrowd: whether it is a group of instances that could not be told apart.
    """

    name: str
    region: Region
    group: Hashable | None = None
    level: int = 0
    iscrowd: bool = False


@dataclass
class Drawing:
    """All that a tool's file says of one image.

    Attributes:
        path: the file.
        names: that the image may have, the most probable first.
        size: (H, W); `None` where the file does not say it.
        shapes: in the file's order.
        left_out: shapes that cannot be regions, such as points, by kind.
    """

    path: Path
    names: tuple[str, ...]
    size: tuple[int, int] | None
    shapes: list[Shape] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class LabelledSegment:
    """A segment of a panoptic map, for a tool.

    Attributes:
        id: in the map; of a film the same thing has it in all frames.
        name: of its class.
        isthing: whether that is a thing.
        mask: the pixels of its box.
        left: column of the box.
        top: row of it.
        score: confidence in [0, 1].
    """

    id: int
    name: str
    isthing: bool
    mask: Bool[np.ndarray, "h w"]
    left: int
    top: int
    score: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height."""
        return self.left, self.top, self.mask.shape[1], self.mask.shape[0]

    def whole_mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """Its pixels in the image."""
        whole = np.zeros(size, bool)
        whole[self.top : self.top + self.mask.shape[0], self.left : self.left + self.mask.shape[1]] = self.mask
        return whole


@dataclass(frozen=True)
class LabelledImage:
    """An image's segments, for a tool.

    Attributes:
        file_name: its path in its folder.
        path: where it lies; the name alone where nobody knows.
        size: (H, W).
        segments: of its panoptic map.
    """

    file_name: str
    path: Path
    size: tuple[int, int]
    segments: tuple[LabelledSegment, ...]
